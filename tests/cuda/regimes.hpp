// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The three regimes: the identity while a query sees no more than k keys; flat to the bit while it
// sees no more than m blocks; pruned. And the lengths at which one becomes the other.
#pragma once

#include "contract.hpp"
#include "scale.hpp"

namespace suite {

/// The paths of a sweep for k tokens: m as small as k allows, or twice that.
inline std::vector<std::vector<reference::LevelSize>> sweep_paths(int k) {
  auto const least = [k](int size) { return (k + size - 1) / size; };
  std::vector<std::vector<reference::LevelSize>> paths = {{}};
  for (int size : {128, 64, 32, 16})
    for (int times : {1, 2})
      paths.push_back({{size, least(size) * times}});
  paths.push_back({{128, least(128)}, {16, least(16)}});
  paths.push_back({{128, least(128) + 3}, {16, least(16) + 1}});
  return paths;
}

/// Whether a query sees no more blocks of any level than are kept.
inline bool keeps_all(const Case& c, const Visible& v) {
  return std::all_of(c.levels.begin(), c.levels.end(), [&](const reference::LevelSize& l) {
    return v.end_row(l.block_size) - v.first_row(l.block_size) <= l.keep;
  });
}

/// A row in regime 1: all that is visible, with scores.
inline bool identity_row(const Result& r, std::int64_t t, const Visible& v, bool absolute) {
  bool right = r.counts[std::size_t(t)] == v.count();
  for (std::int64_t i = 0; i < r.topk; ++i)
    right = right && r.indices[r.at(t) + std::size_t(i)] ==
                         (i < v.count() ? i + (absolute ? v.begin : 0) : -1);
  return right;
}

/// A call and the same flat: the contract, the identity, and flat's bits where they are due.
inline void check_regimes(const Case& c, const Problem& p) {
  Inputs const in(p, c.levels);
  Result const got = Indexer(c).select(in);
  check_contract(c, p, in, got);
  Case flat = c;
  flat.levels.clear();
  Result const all = Indexer(flat).select(in);
  for (std::int64_t t = 0; t < p.M; ++t) {
    Visible const v = p.ranges().visible(t, p.N);
    std::string const query = c.text() + ": query " + std::to_string(t);
    if (v.count() <= c.topk)
      expect(identity_row(got, t, v, c.base == IndexBase::absolute), query + ": the identity");
    if (v.count() <= c.topk || keeps_all(c, v))
      expect(same_row(got, t, all, t), query + ": flat to the bit");
  }
}

/// A call with a query for each visible length k - 1, k, k + step, .. 2k.
inline void sweep(int k, int step, std::int32_t first, std::int32_t anchor) {
  std::int64_t const M = (k - 1) / step + 3;
  for (const auto& levels : sweep_paths(k)) {
    Case c{.M = M,
           .N = 2 * k + first + 9,
           .levels = levels,
           .topk = k,
           .first = first,
           .anchor = anchor};
    c.data = k % 2 != 0 ? Data::ties : Data::random;
    c.base = first != 0 ? IndexBase::absolute : IndexBase::relative;
    item("visible = k-1, k .. 2k by " + std::to_string(step) + " (" + c.text() + ")", [&] {
      for (Boundary b : all_boundaries) {
        c.boundary = b;
        Problem p(c, unsigned(k));
        for (std::int64_t t = 0; t < M; ++t)
          p.ke[std::size_t(t)] = std::int32_t(first + (t == 0       ? k - 1
                                                       : t == M - 1 ? 2 * k
                                                                    : k + (t - 1) * step));
        check_regimes(c, p);
        if (levels.empty()) { // no blocks, no boundary
          check_regimes(by_flat_kernel(c, int(M + 3) / 4), p);
          check_regimes(by_sift_kernel(c, int(M + 3) / 4), p);
          break;
        }
      }
    });
  }
}

inline void regimes(const Scale& scale) {
  int const k = scale.topk;
  sweep(k, scale.large ? 1 : k / 4, 0, -1);
  sweep(k / 32 * 16, scale.large ? 1 : k / 8, 21, 10); // k keys in one block more than k / B
  sweep(k / 2 + 1, scale.large ? 3 : k / 4, 0, -1);
  if (scale.large) {
    sweep(2047, 97, 0, -1);
    sweep(2048, 97, 300, 0);
  }
  for (auto const& [size, arithmetic] : {std::pair(128, Arithmetic::native),
                                         {16, Arithmetic::native},
                                         {32, Arithmetic::precise}}) // every number around m
    item("visible blocks around m, B=" + std::to_string(size) +
             (arithmetic == Arithmetic::precise ? ", precise" : ""),
         [&, size = size, a = arithmetic] {
           int const m = 5, keys = (m + 2) * size;
           Case const c{.M = scale.large ? keys : keys / (size / 4),
                        .N = keys,
                        .levels = {{size, m}},
                        .topk = size / 2 + 1,
                        .arithmetic = a};
           Problem p(c, 31);
           for (std::int64_t t = 0; t < c.M; ++t)
             p.ke[std::size_t(t)] = std::int32_t((t + 1) * keys / c.M);
           check_regimes(c, p);
         });
}

} // namespace suite
