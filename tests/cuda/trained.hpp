// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls on a dump of a trained indexer (docs/dumps.md) against the contract.
#pragma once

#include "contract.hpp"

#include "../../bench/tensor.hpp"

namespace suite {

inline void trained(const std::string& dump) {
  for (Case c : {Case{.levels = {{128, 64}}}, Case{.levels = {{16, 512}}},
                 Case{.levels = {{128, 256}, {16, 512}}}, Case{},
                 Case{.levels = {{128, 64}}, .arithmetic = Arithmetic::precise},
                 Case{.levels = {{128, 16}}, .indexing = Indexing::block_sparse}}) {
    c.topk = 2048;
    item(dump + ": " + c.path() + (c.arithmetic == Arithmetic::precise ? ", precise" : ""), [&] {
      Problem p;
      p.q = bench::tensor<e4m3fn>(dump, "q"), p.k = bench::tensor<e4m3fn>(dump, "k");
      p.w = bench::tensor<float>(dump, "w"), p.scale = bench::tensor<float>(dump, "k_scale");
      for (std::int32_t last : bench::tensor<std::int32_t>(dump, "pos"))
        p.ks.push_back(0), p.ke.push_back(last + 1), p.sequence.push_back(0);
      p.M = c.M = std::int64_t(p.ks.size()), p.N = c.N = std::int64_t(p.scale.size());
      p.H = c.H = int(std::int64_t(p.w.size()) / p.M);
      p.sequences = {{0, std::int32_t(p.N)}};
      run(c, p);
    });
  }
}

} // namespace suite
