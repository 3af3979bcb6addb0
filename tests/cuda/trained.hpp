// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls on a dump of a trained indexer (docs/dumps.md) against the contract.
#pragma once

#include "contract.hpp"

#include "../../bench/tensor.hpp"

namespace suite {

inline void trained(const std::string& dump) {
  for (const auto& levels : std::vector<std::vector<reference::LevelSize>>{
           {{128, 64}}, {{16, 512}}, {{128, 256}, {16, 512}}, {}}) {
    Case c{.levels = levels, .topk = 2048};
    item(dump + ": " + c.path(), [&] {
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
