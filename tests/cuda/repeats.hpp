// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The same call gives the same bits, time after time: called and replayed in turn, each time in a
// workspace and over outputs of other bytes.
#pragma once

#include "contract.hpp"
#include "scale.hpp"
#include "topk_rows.hpp"

namespace suite {

/// Repeats a call and returns what it gave first.
/// @param with_scores  whether it writes scores; else their bytes stay as they are
/// @param call         call(stream) enqueues it, with its outputs to `out`
template <class Call>
Result repeat(const std::string& what, int times, Outputs& out, bool with_scores,
              Device<std::uint8_t>& workspace, const Call& call) {
  Stream const stream;
  call(stream.stream);
  synchronize("call");
  Result const first = out.host();
  Graph const graph(stream, call);
  std::int64_t const rows = std::int64_t(first.counts.size());
  for (int i = 0; i < times; ++i) {
    workspace.fill(i * 37 & 0xff), out.indices.fill(i * 73 & 0xff), out.counts.fill(i & 0xff);
    if (with_scores)
      out.scores.fill(i * 59 & 0xff);
    synchronize("fill");
    if (i % 2 != 0)
      graph.replay();
    else
      call(stream.stream);
    synchronize("repeat");
    Result const again = out.host();
    bool same = out.intact();
    for (std::int64_t t = 0; t < rows; ++t)
      same = same && same_row(again, t, first, t);
    expect(same, what + ": repeat " + std::to_string(i));
  }
  return first;
}

inline void repeats(const Scale& scale) {
  std::string const times = std::to_string(scale.repeats) + " repeats: ";
  int const k = scale.topk;
  for (Data data : {Data::ties, Data::random, Data::zeros}) { // zeros of both signs
    std::int64_t const M = std::min<std::int64_t>(scale.M, 130), N = scale.N * 2;
    std::vector<Case> const cases = {
        {.M = M, .N = N, .topk = k, .data = data},
        {.M = M, .N = N, .levels = {{128, k / 128 + 4}}, .topk = k, .data = data},
        {.M = M,
         .N = N,
         .levels = {{128, k / 128 + 4}},
         .topk = k,
         .data = data,
         .arithmetic = Arithmetic::precise},
        {.M = M, .N = N, .levels = {{128, k / 128 + 8}, {16, k / 16 + 4}}, .topk = k, .data = data},
        by_flat_kernel({.M = std::min<std::int64_t>(M, 16), .N = N, .topk = k, .data = data}, 2),
        by_sift_kernel({.M = std::min<std::int64_t>(M, 16), .N = N, .topk = k, .data = data},
                       M < 16 ? 1 : 3), // of four groups one is divided
        {.M = M,
         .N = N,
         .H = 32,
         .levels = {{16, k / 16}},
         .topk = k / 16 * 16,
         .data = data,
         .indexing = Indexing::block_sparse},
        {.M = M,
         .N = N,
         .levels = {{16, k / 8}},
         .topk = k,
         .data = data,
         .indexing = Indexing::refine}};
    for (const Case& c : cases)
      for (bool with_scores : {true, false})
        item(times + c.text() + (with_scores ? "" : ", without scores"), [&] {
          Problem const p(c, 41);
          Inputs const in(p, c.levels);
          Indexer indexer(c);
          Outputs out(c.M, c.topk);
          Result const first =
              repeat(c.text(), scale.repeats, out, with_scores, indexer.workspace(),
                     [&](cudaStream_t stream) { indexer(stream, in, out.view(with_scores)); });
          Result const right = indexer.select(in);
          check_contract(c, p, in, right);
          expect(first.indices == right.indices && first.counts == right.counts,
                 c.text() + ": the first of the repeats");
        });
  }
  for (bool ties : {true, false})
    for (std::int64_t rows : {2, 40}) {
      std::int64_t const n = std::min<std::int64_t>(scale.row, 100003);
      std::string const what = "top-k, " + std::to_string(rows) + " rows of " + std::to_string(n) +
                               (ties ? ", ties" : ", random");
      item(times + what, [&] {
        Random random(43);
        ScoreRows const table(rows, n, 0, 0, [&](std::int64_t, std::int64_t) {
          return ties ? float(random.below(3)) : random.normal();
        });
        Device<float> const scores(table.scores);
        Device<std::uint8_t> none(1);
        Outputs out(rows, k);
        repeat(what, scale.repeats, out, true, none, [&](cudaStream_t stream) {
          cuda::topk(stream, {scores.data, n, nullptr, n, k, out.view()}, rows);
        });
        check_topk(what, table, {k});
      });
    }
}

} // namespace suite
