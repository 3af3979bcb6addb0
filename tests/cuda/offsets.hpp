// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Large strides, and offsets beyond 2^31 in every array that can have them.
#pragma once

#include "contract.hpp"
#include "scale.hpp"
#include "topk_rows.hpp"

namespace suite {

/// Keys so far apart that the last begins beyond 2^31.
inline void far_keys(const Scale& scale, std::int64_t N, std::int64_t stride) {
  item("keys " + std::to_string(stride) + " apart", [&] {
    if (!affordable(scale, std::size_t(N * stride)))
      return;
    for (const auto& levels : std::vector<std::vector<reference::LevelSize>>{{}, {{16, 40}}}) {
      Case c{.M = 6, .N = N, .levels = levels, .topk = 301};
      Problem const near(c, 71);
      Inputs in(near, {});
      Device<e4m3fn> k(std::size_t(N * stride));
      for (std::int64_t i = 0; i < N; ++i)
        cuda::check(cudaMemcpy(k.data + i * stride, near.k.data() + i * D, D, cudaMemcpyDefault),
                    "copy");
      in.k = std::move(k), in.stride = stride; // the host's rows stay close together
      for (const auto& l : levels)
        in.levels.emplace_back(near, in.keys(), int(l.block_size));
      c.stride = stride;
      check_contract(c, near, in, Indexer(c).select(in));
    }
  });
}

/// Rows of scores `stride` apart, by `score` and by `topk`.
inline void far_scores(const Scale& scale, std::int64_t stride) {
  item("rows of scores " + std::to_string(stride) + " apart", [&] {
    Case const c{.M = 3, .N = 3001};
    std::int64_t const k = 511;
    if (!affordable(scale, std::size_t(2 * stride + c.N) * 4))
      return;
    Problem const p(c, 72);
    Inputs const in(p, {});
    Device<std::int32_t> const ks{std::vector<std::int32_t>(3, 0)};
    Device<std::int32_t> const ke{std::vector<std::int32_t>(3, std::int32_t(c.N))};
    ScoreTable const near(in, {0, 3}, in.keys());
    Device<float> const far{std::size_t(2 * stride + c.N)};
    cuda::score(nullptr, in.queries(), in.keys(), {ks.data, ke.data}, far.data, stride);
    Outputs const out(3, k);
    cuda::topk(nullptr, {far.data, stride, nullptr, c.N, std::int32_t(k), out.view()}, 3);
    synchronize("topk");
    Result const got = out.host();
    for (std::int64_t t = 0; t < 3; ++t) {
      auto const row = far.host(std::size_t(t * stride), std::size_t(c.N));
      expect(std::memcmp(row.data(), &near.values[std::size_t(t * c.N)], row.size() * 4) == 0,
             "score of query " + std::to_string(t));
      expect(same_row(got, t, best(row, ranked(row), k), 0), "top-k of row " + std::to_string(t));
    }
  });
}

/// So many rows of top-k that the last output begins beyond 2^31 elements.
inline void far_outputs(const Scale& scale, std::int64_t k) {
  std::int64_t const rows = (std::int64_t(1) << 31) / k + 5, n = 8;
  item("outputs of " + std::to_string(rows) + " rows of " + std::to_string(k), [&] {
    if (!affordable(scale, std::size_t(rows * (k + n)) * 4))
      return;
    Random random(73);
    ScoreRows const table(rows, n, 0, 0,
                          [&](std::int64_t, std::int64_t) { return random.normal(); });
    Device<float> const scores(table.scores);
    Device<std::int32_t> const indices{std::size_t(rows * k)};
    cuda::topk(nullptr, {scores.data, n, nullptr, n, std::int32_t(k), {indices.data}}, rows);
    synchronize("topk");
    for (std::int64_t t : {std::int64_t(0), rows / 2, rows - 5, rows - 1}) {
      auto const got = indices.host(std::size_t(t * k), std::size_t(k));
      expect(got == best(table.row(t), ranked(table.row(t)), k).indices,
             "row " + std::to_string(t));
    }
    expect(indices.intact(), "nothing is written behind the outputs");
  });
}

/// A workspace of more than 2^31 scores.
inline void far_workspace(const Scale& scale) {
  Case const c{.M = 2200, .N = 1000003, .topk = 2048, .limit = std::size_t(9) << 30};
  item("a workspace of 2200 x 1000003 scores", [&] {
    if (!affordable(scale, c.limit + (std::size_t(1) << 29)))
      return;
    Problem const p(c, 74);
    Inputs const in(p, {});
    Indexer const indexer(c);
    expect(indexer.workspace_bytes() > std::size_t(2200) * 1000003 * 4, "all queries in one pass");
    check_contract(c, p, in, indexer.select(in));
  });
}

inline void offsets(const Scale& scale) {
  far_keys(scale, 1001, 4096);
  far_keys(scale, 70001, 32768); // 2.3e9 elements
  far_scores(scale, 100004);
  far_scores(scale, (std::int64_t(1) << 29) + 4); // beyond 2^31 bytes
  far_scores(scale, (std::int64_t(1) << 30) + 1); // beyond 2^31 elements
  far_outputs(scale, 2048);
  far_workspace(scale);
}

} // namespace suite
