// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The block-sparse baseline against the contract, by the device's own block scores.
#pragma once

#include "contract.hpp"
#include "scale.hpp"

namespace suite {

/// Plans of about k tokens: every block size and boundary option, and a level above the finest.
inline std::vector<Case> block_sparse_cases(const Scale& scale) {
  std::vector<Case> all;
  std::int64_t const M = std::min<std::int64_t>(scale.M, 37);
  for (Boundary b : {Boundary::counted, Boundary::none})
    for (int size : {128, 64, 32, 16}) {
      int const m = scale.topk / size + 1, k = m * size;
      std::int64_t const N = 2 * k + 5 * size + 3;
      auto const add = [&](Case c) {
        c.boundary = b, c.indexing = Indexing::block_sparse;
        all.push_back(c);
      };
      add({.M = M, .N = N, .levels = {{size, m}}, .topk = k});
      add({.M = M / 2,
           .N = N,
           .H = 32,
           .levels = {{size, m}},
           .topk = k,
           .data = Data::ties,
           .first = 21,
           .anchor = 10});
      add({.M = 3,
           .N = N,
           .levels = {{size, 1}}, // one block
           .topk = size,
           .packed = true,
           .base = IndexBase::absolute});
      if (size == 16)
        add({.M = M / 2, .N = N, .levels = {{128, k / 128 + 2}, {size, m}}, .topk = k});
    }
  return all;
}

inline void block_sparse(const Scale& scale) {
  unsigned seed = 90;
  for (const Case& c : block_sparse_cases(scale))
    item(c.text(), [&] { run(c, ++seed); });
}

} // namespace suite
