#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Draws the time of a prefill against the length of the context.

Reads JSON lines as cuda_prefill prints them; a program of another library may print the same cases with its name
under "by". Of equal cases the last one counts.

    plot_prefill.py RESULTS... [-o FILE] [--queries M] [--data trained|random]
"""
import argparse
import json
from collections import defaultdict

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def label(by, kind, setting):
    """What the legend calls a curve; None for cases that are no whole indexer."""
    if kind == "hisa":
        return f"{by}, {setting[1]} blocks of {setting[0]}"
    return {"two": f"{by}, blocks of 128 and 16", "flat": f"{by}, flat"}.get(kind)


def read_curves(files, queries, data):
    """{label: {L: microseconds}}"""
    curves = defaultdict(dict)
    for name in files:
        with open(name, encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith("{"):
                    continue
                result = json.loads(line)
                kind, m, length, *setting = result["case"].split(":")
                curve = label(result.get("by", "hisa"), kind, setting)
                if curve and int(m) == queries and result["data"] == data:
                    curves[curve][int(length)] = result["us"]
    return curves


def draw(curves, queries, data, output):
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for curve in sorted(curves):
        points = sorted(curves[curve].items())
        own = curve.startswith("hisa")
        axes.plot(*zip(*points), label=curve, marker="o" if own else "s", linestyle="-" if own else "--")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    lengths = sorted({length for points in curves.values() for length in points})
    axes.set_xticks(lengths, [f"{n >> 20}M" if n >= 1 << 20 else f"{n >> 10}K" for n in lengths])
    axes.set_xlabel("keys (L)")
    axes.set_ylabel("time, µs")
    axes.set_title(f"Selecting for {queries} queries, {data} data")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", help="files of JSON lines")
    parser.add_argument("-o", "--output", default="prefill.svg")
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--data", default="trained", choices=["trained", "random"])
    options = parser.parse_args()
    curves = read_curves(options.results, options.queries, options.data)
    if not curves:
        parser.error(f"no indexer for {options.queries} queries on {options.data} data among the results")
    draw(curves, options.queries, options.data, options.output)


if __name__ == "__main__":
    main()
