// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Refining block lists of the caller against the contract.
#pragma once

#include "contract.hpp"
#include "scale.hpp"

namespace suite {

inline std::vector<Case> refine_cases(const Scale& scale) {
  std::vector<Case> all;
  std::int64_t const M = std::min<std::int64_t>(scale.M + 3, 37);
  int const k = scale.topk;
  auto const add = [&](Case c) {
    c.indexing = Indexing::refine;
    all.push_back(c);
  };
  for (int size : {128, 64, 32, 16, 8}) {
    int const m = 2 * k / size + 2;
    std::int64_t const N = 3 * k + 5 * size + 3;
    add({.M = M, .N = N, .levels = {{size, m}}, .topk = k});
    add({.M = M - 1, .N = N, .H = 32, .levels = {{size, 1}}, .topk = k, .data = Data::ties});
    add({.M = M,
         .N = N,
         .levels = {{size, m}},
         .topk = k / 4, // most lists hold more
         .data = Data::nan_scales,
         .first = 77,
         .anchor = 40,
         .base = IndexBase::absolute});
    add({.M = M / 2 * 2,
         .N = N,
         .levels = {{size, m + 9}},
         .topk = k / 2,
         .packed = true,
         .limit = 1});
  }
  add({.M = M, .N = 5, .levels = {{16, 4}}, .topk = 3});     // some see nothing at all
  add({.M = 8, .N = 140, .levels = {{16, 4}}, .topk = 150}); // lists decide though k does not
  add({.M = 9, .N = 2000, .levels = {{24, 7}}, .topk = 60, .boundary = Boundary::extra});
  add({.M = 2, .N = 28003, .levels = {{8, 3968}}, .topk = 300}); // lists beyond the small kernel
  if (scale.large) {
    add({.M = 9, .N = 40000, .levels = {{8, 3968}}, .topk = 2048});  // the longest lists
    add({.M = 8, .N = 1200007, .levels = {{8, 600}}, .topk = 2048}); // three windows of blocks
    add({.M = 1023, .N = 131071, .levels = {{64, 128}}, .topk = 2048});
  }
  return all;
}

/// Lists of all visible blocks, in some order, give flat's rows to the bit.
inline void refine_all() {
  Case c{.M = 5, .N = 700, .levels = {{16, 50}}, .topk = 64};
  Case flat = c;
  flat.levels.clear();
  c.indexing = Indexing::refine;
  Problem p(c, 71);
  p.capacity = 50, p.lists.clear();
  for (std::int64_t t = 0; t < c.M; ++t)
    for (int j = 0; j < 50; ++j)
      p.lists.push_back(std::int32_t((j * 7 + t) % 50));
  Inputs const in(p, c.levels);
  Result const got = Indexer(c).select(in), all = Indexer(flat).select(in);
  for (std::int64_t t = 0; t < c.M; ++t)
    expect(same_row(got, t, all, t), "all blocks in some order: query " + std::to_string(t));
}

inline void refine(const Scale& scale) {
  unsigned seed = 70;
  for (const Case& c : refine_cases(scale))
    item(c.text(), [&] { run(c, ++seed); });
  item("lists of all blocks are flat to the bit", refine_all);
}

} // namespace suite
