// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls captured in a graph while no query sees anything, replayed with lengths that are set on the
// device. The mode of the capture makes an allocation or a wait inside a call an error.
#pragma once

#include "contract.hpp"
#include "scale.hpp"
#include "topk_rows.hpp"

namespace suite {

inline void expect_same(const std::string& what, const Result& a, const Result& b) {
  for (std::int64_t t = 0; t < std::int64_t(a.counts.size()); ++t)
    expect(same_row(a, t, b, t), what + ": query " + std::to_string(t));
}

/// A plan's call, with and without scores in one graph.
inline void capture_call(const Case& c) {
  Problem const p(c, 51);
  Problem shorter = p;
  for (auto& end : shorter.ke)
    end = end * 2 / 3;
  Inputs in(p, c.levels);
  Indexer indexer(c);
  Result const expected = indexer.select(in);
  check_contract(c, p, in, expected);

  in.ks.fill(0), in.ke.fill(0);
  Outputs out(c.M, c.topk), short_of_scores(c.M, c.topk);
  Stream const stream;
  Graph const graph(stream, [&](cudaStream_t s) {
    indexer(s, in, out.view());
    indexer(s, in, short_of_scores.view(false));
  });
  auto const replay = [&] {
    out.fill(0x5a), short_of_scores.fill(0x5a), indexer.workspace().fill(0xff);
    synchronize("fill");
    graph.replay();
    synchronize("replay");
    Result const r = out.host(), indices = short_of_scores.host();
    expect(indices.indices == r.indices && indices.counts == r.counts,
           c.text() + ": replayed without scores");
    return r;
  };
  Result const empty = replay();
  std::vector<float> const none(std::size_t(c.topk), minus_infinity);
  for (std::int64_t t = 0; t < c.M; ++t) {
    auto const row = empty.indices.begin() + std::ptrdiff_t(empty.at(t));
    expect(empty.counts[std::size_t(t)] == 0 &&
               std::all_of(row, row + c.topk, [](std::int32_t i) { return i == -1; }) &&
               std::memcmp(&empty.scores[empty.at(t)], none.data(), none.size() * 4) == 0,
           c.text() + ": a row of nothing");
  }
  in.ks.set(p.ks), in.ke.set(p.ke);
  expect_same(c.text() + ": replayed with lengths", replay(), expected);
  in.ke.set(shorter.ke);
  Result const again = replay();
  expect_same(c.text() + ": replayed with other lengths", again, indexer.select(in));
}

inline void capture_topk(const Scale& scale) {
  std::int64_t const n = std::min<std::int64_t>(scale.row, 70000), rows = 3;
  int const k = scale.topk;
  Random random(52);
  ScoreRows table(rows, n, 0, 0, [&](std::int64_t, std::int64_t) { return random.normal(); });
  Device<float> const scores(table.scores);
  Device<std::int32_t> lengths(std::size_t{rows});
  Outputs out(rows, k);
  Stream const stream;
  auto const call = [&](cudaStream_t s) {
    cuda::topk(s, {scores.data, n, lengths.data, n, k, out.view()}, rows);
  };
  lengths.fill(0);
  call(stream.stream);
  synchronize("topk");
  Graph const graph(stream, call);
  for (std::int64_t length : {std::int64_t(0), n, n / 2, std::int64_t(k) + 1}) {
    table.lengths.assign(std::size_t{rows}, std::int32_t(length));
    lengths.set(table.lengths), out.fill(0x5a);
    synchronize("fill");
    graph.replay();
    synchronize("replay");
    Result const got = out.host();
    for (std::int64_t i = 0; i < rows; ++i)
      expect(same_row(got, i, best(table.row(i), ranked(table.row(i)), k), 0),
             "top-k replayed, length " + std::to_string(length));
  }
}

/// Scores and pooled rows, with a range and a length that are set later.
inline void capture_parts(const Scale& scale) {
  Case const c{.M = 5, .N = scale.N / 2 + 1};
  Problem const p(c, 53);
  Inputs in(p, {{64, 1}});
  PooledLevel& level = in.levels[0];
  auto const rows = level.values.host();
  ScoreTable const expected(in, {0, c.M}, in.keys());
  Device<float> out(std::size_t(c.M * c.N));
  Device<std::int32_t> old_length(std::vector<std::int32_t>{0}), length(old_length.host());
  Stream const stream;
  in.ks.fill(0), in.ke.fill(0);
  Graph const graph(stream, [&](cudaStream_t s) {
    cuda::score(s, in.queries(), in.keys(), in.ranges(), out.data, c.N);
    cuda::pool_append<MeanPool>(
        s, in.keys(), {level.values.data, level.scales.data, level.blocks, 64, D, nullptr},
        {1, old_length.data, length.data, nullptr});
  });
  auto const replay = [&] {
    out.fill(0x5a), level.values.set(std::vector(rows.size(), e4m3fn{0x7e}));
    synchronize("fill");
    graph.replay();
    synchronize("replay");
  };
  replay();
  auto const bits = out.host();
  expect(std::all_of(bits.begin(), bits.end(),
                     [](float x) { return std::bit_cast<std::uint32_t>(x) == 0x5a5a5a5au; }),
         "score of nothing writes nothing");
  in.ke.set(std::vector(std::size_t(c.M), std::int32_t(c.N)));
  length.set({std::int32_t(c.N)});
  replay();
  auto const scores = out.host();
  expect(std::memcmp(scores.data(), expected.values.data(), scores.size() * 4) == 0,
         "scores replayed with lengths");
  auto const pooled = level.values.host();
  expect(std::memcmp(pooled.data(), rows.data(), rows.size()) == 0,
         "pooled rows replayed with lengths");
}

inline void capture(const Scale& scale) {
  std::int64_t const M = std::min<std::int64_t>(scale.M, 130);
  int const k = scale.topk;
  for (const Case& c :
       std::vector<Case>{{.M = M, .N = scale.N, .topk = k},
                         by_flat_kernel({.M = M, .N = scale.N, .topk = k}, 2),
                         by_sift_kernel({.M = M, .N = scale.N, .topk = k}, 2),
                         {.M = M, .N = scale.N, .levels = {{128, k / 128 + 3}}, .topk = k},
                         {.M = M,
                         .N = scale.N,
                         .H = 32,
                         .levels = {{16, k / 16 + 3}},
                         .topk = k,
                         .boundary = Boundary::none},
                         {.M = M,
                         .N = scale.N,
                         .levels = {{128, k / 128 + 6}, {16, k / 16 + 4}},
                         .topk = k,
                         .limit = 1},
                         {.M = M,
                         .N = scale.N,
                         .levels = {{16, k / 16}},
                         .topk = k / 16 * 16,
                         .indexing = Indexing::block_sparse},
                         {.M = M,
                         .N = scale.N,
                         .levels = {{16, k / 8}},
                         .topk = k,
                         .limit = 1,
                         .indexing = Indexing::refine}})
    item("zero lengths at capture, real lengths at replay (" + c.text() + ")",
         [&] { capture_call(c); });
  item("zero lengths at capture, real lengths at replay (top-k)", [&] { capture_topk(scale); });
  item("zero lengths at capture, real lengths at replay (score, pool_append)",
       [&] { capture_parts(scale); });
}

} // namespace suite
