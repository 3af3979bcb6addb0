# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Spack recipe for hisa. Copy it to packages/hisa/package.py of a repository of your own, and say
there where the sources are: `git`, or `url` with versions and hashes."""

from spack.package import *


class Hisa(CMakePackage):
    """Header-only C++20 library for the indexer of DeepSeek-style sparse attention: flat,
    block-sparse and hierarchical, on any Kokkos execution space."""

    license("Apache-2.0 WITH LLVM-exception")

    version("main", branch="main")

    variant("kokkos", default=True, description="The library on Kokkos, not only what lies below it")

    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("kokkos@4.7:", when="+kokkos")

    conflicts("%gcc@:11", msg="hisa is written in C++20")
    conflicts("%clang@:13", msg="hisa is written in C++20")

    def cmake_args(self):
        parts = ("TESTS", "TOOLS", "EXAMPLES", "BENCHMARKS")
        return [self.define("HISA_BUILD_" + part, False) for part in parts]
