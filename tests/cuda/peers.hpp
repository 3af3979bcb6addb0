// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What users of other indexers and top-k kernels report, each as a test that is named after it.
#pragma once

#include "contract.hpp"
#include "pooling.hpp"
#include "regimes.hpp"
#include "scale.hpp"
#include "topk_rows.hpp"

namespace suite {

/// Rows of `n` scores, `score(position)`, a long and a short stride.
template <class Score>
void peer_rows(const Scale& scale, const std::string& what, std::int64_t n,
               const std::vector<std::int64_t>& ks, const Score& score) {
  if (n > scale.row)
    return skip(what + ": rows of " + std::to_string(n));
  for (std::int64_t rows : {1, 5})
    check_topk(what + ", n=" + std::to_string(n),
               ScoreRows(rows, n, rows - 1, 0,
                         [&](std::int64_t r, std::int64_t p) { return score((p + r) % n); }),
               ks);
}

/// A call against the contract, if the scale reaches so far.
inline void peer_call(const Scale& scale, const Case& c) {
  if (c.M * c.N > scale.most)
    return skip(c.text());
  run(c, 61);
}

inline void concentrated_bins(const Scale& scale) {
  item("more than 4096 candidates in a bin", [&] {
    // 2000 above the bin, 6000 different scores in it, the rest below.
    peer_rows(scale, "a bin of 6000", 20000, {1999, 2000, 2048, 2049, 4096, 6001}, [](auto p) {
      auto const q = p * 7919 % 20000;
      return q < 2000 ? 3.0f + float(q) : q < 8000 ? just_above_one(std::uint64_t(q)) : 0.5f;
    });
    peer_call(scale, {.M = 5, .N = 9001, .topk = 2048, .data = Data::one_bin});
    peer_call(scale,
              {.M = 5, .N = 20001, .levels = {{128, 64}}, .topk = 2048, .data = Data::one_bin});
    peer_call(scale, {.M = 2, .N = 900, .topk = 300, .data = Data::one_bin});
  });
  item("winners behind more equals than any buffer holds", [&] {
    peer_rows(scale, "16384 equals first", 20000, {1, 1807, 1808, 2048, 4096}, [](auto p) {
      return p < 16384 ? 1.0f : p % 2 != 0 ? 2.0f : 0.5f;
    });
  });
  item("16384/16385 scores in one bin", [&] {
    for (std::int64_t n : {16384, 16385}) {
      peer_rows(scale, "all in one bin", n, {2048, 8192, 16383},
                [](auto p) { return just_above_one(std::uint64_t(p * 7919 % 4096)); });
      peer_rows(scale, "all equal", n, {2047, 2048}, [](auto) { return 0.25f; });
      peer_rows(scale, "one bin and others", n + 3000, {1000, 2048, 3001}, [n](auto p) {
        return p % 8 == 3 && p < 16000 ? 2.0f
               : p < n + 2000          ? just_above_one(std::uint64_t(p % 4096))
                                       : -1.0f;
      });
      peer_call(scale, {.M = 3, .N = n, .topk = 2048, .data = Data::one_bin});
    }
  });
  item("tie-heavy rows", [&] {
    peer_rows(scale, "three values", 2049, {1, 700, 1366, 1367, 2048},
              [](auto p) { return float(p % 3); });
    peer_rows(scale, "two values, equal low bits", 40000, {2048},
              [](auto p) { return p % 1000 == 7 ? 2.0f : 1.0f; });
    peer_call(scale, {.M = 4, .N = 600, .topk = 300, .data = Data::ties});
  });
}

inline void plateaus(const Scale& scale) {
  item("a zero plateau at the boundary keeps the lowest index", [&] {
    for (std::int64_t n : {1000, 9000, 30000})
      peer_rows(scale, "+-0", n, {300, n / 10 + 1, n / 2}, [](auto p) {
        return p % 10 == 9 ? 1.0f + float(p) : p % 3 != 0 ? 0.0f : -0.0f;
      });
    std::vector<std::int32_t>
        lowest; // said without the library's order: 100 and the first 50 zeros
    for (std::int32_t p = 0; p < 1000; ++p)
      if (p % 10 == 9 || p - p / 10 < 50)
        lowest.push_back(p);
    ScoreRows const table(1, 1000, 0, 0, [](std::int64_t, std::int64_t p) {
      return p % 10 == 9 ? 1.0f : p % 3 != 0 ? 0.0f : -0.0f;
    });
    Device<float> const scores(table.scores);
    Outputs const out(1, 150);
    cuda::topk(nullptr, {scores.data, 1000, nullptr, 1000, 150, out.view()}, 1);
    synchronize("topk");
    expect(out.host().indices == lowest, "the 50 lowest zeros");
    // A third of the keys has scores of either sign: the k-th best is one of the zeros.
    for (Case c : std::vector<Case>{{.M = 4, .N = 600, .topk = 300},
                                    {.M = 13, .N = 9001, .topk = 2999},
                                    {.M = 13, .N = 9001, .levels = {{16, 400}}, .topk = 2047}}) {
      c.data = Data::zeros;
      peer_call(scale, c);
    }
  });
  item("weights below zero: the plateau is the best there is", [&] {
    Case const c{.M = 4, .N = 601, .levels = {{16, 12}}, .topk = 150, .data = Data::zeros};
    Problem p(c, 62);
    for (float& w : p.w)
      w = -std::abs(w);
    run(c, p);
  });
}

/// Every index is one of a visible token, or -1.
inline void check_indices(const Case& c, const Problem& p) {
  Result const got = Indexer(c).select(Inputs(p, c.levels));
  for (std::int64_t t = 0; t < p.M; ++t) {
    std::int64_t const visible = p.ranges().visible(t, p.N).count();
    bool right = true;
    for (std::int64_t i = 0; i < c.topk; ++i) {
      std::int32_t const index = got.indices[got.at(t) + std::size_t(i)];
      right =
          right && (i < got.counts[std::size_t(t)] ? index >= 0 && index < visible : index == -1);
    }
    expect(right, c.text() + ": indices of query " + std::to_string(t));
  }
}

inline void nothing_finite(const Scale& scale) {
  float const nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<Case> const cases = {{.M = 4, .N = 600, .topk = 101},
                                   {.M = 4, .N = 600, .levels = {{16, 9}}, .topk = 101}};
  item("NaN bits are never an index", [&] {
    for (std::int64_t n : {2049, 20000})
      peer_rows(scale, "rows of NaN", n, {511, 2048}, [](auto p) {
        return std::bit_cast<float>(p % 2 != 0 ? 0xffffffffu : 0x7f800001u + unsigned(p));
      });
    for (const Case& c : cases) {
      Problem scales(c, 63), weights(c, 63), values(c, 63);
      for (float& s : scales.scale)
        s = nan;
      for (float& w : weights.w)
        w = nan;
      for (e4m3fn& x : values.q)
        x = Element<e4m3fn>::nan();
      for (const Problem& p : {scales, weights, values}) {
        check_indices(c, p);
        run(c, p);
      }
    }
  });
  item("rows of -inf", [&] {
    for (std::int64_t n : {513, 2049, 20000})
      peer_rows(scale, "-inf", n, {511, 2048}, [](auto) { return minus_infinity; });
    for (std::int64_t n : {513, 9000})
      peer_rows(scale, "-inf but for a few", n, {511},
                [](auto p) { return p % 100 == 99 ? float(p) : minus_infinity; });
    for (const Case& c : cases) {
      Problem p(c, 64);
      for (float& s : p.scale)
        s = std::numeric_limits<float>::infinity();
      for (float& w : p.w)
        w = -std::abs(w) - 0.001f;
      check_indices(c, p);
      run(c, p);
    }
  });
}

inline void odd_sizes(const Scale& scale) {
  item("odd k", [&] {
    for (std::int64_t n : {101, 2049, 33333})
      peer_rows(scale, "odd k", n, {1, 3, 7, 101, 511, 1023, 2047, 4095},
                [](auto p) { return float(p * 7919 % 1009); });
    for (int k : {1, 3, 7, 77, 255})
      peer_call(scale, {.M = 3, .N = 701, .levels = {{64, 5}}, .topk = k});
  });
  item("k < candidates < 2k", [&] {
    for (std::int64_t n : {2049, 2500, 3000, 3500, 4095})
      peer_rows(scale, "k=2048", n, {2048}, [](auto p) { return float(p * 7919 % 5003); });
  });
  item("more than 262144 and 325000 scores, odd lengths", [&] {
    for (std::int64_t n : {262143, 262145, 325001, 400001})
      peer_rows(scale, "long", n, {2048}, [n](auto p) { return float(p * 7919 % n); });
    if (!scale.large)
      return skip("calls of 325001 keys");
    run({.M = 5, .N = 325001, .topk = 2048}, 65);
    run({.M = 5, .N = 400001, .levels = {{128, 64}}, .topk = 2048}, 66);
  });
}

inline void lengths(const Scale& scale) {
  item("lengths beyond the buffer are clamped", [&] {
    std::vector<reference::LevelSize> const none, one = {{16, 9}};
    for (const auto& levels : {none, one}) {
      Case const c{.M = 8, .N = 500, .levels = levels, .topk = 101};
      Problem p(c, 67);
      constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
      p.ks = {0, -5, 480, 0, 501, most, -most - 1, 300};
      p.ke = {501, 490, most, -7, 600, most, most, 200}; // and one that ends before it begins
      for (auto& s : p.ks)                               // the grid of all is the buffer's
        p.anchor.push_back(s < 0 ? s : 0);
      run(c, p);
      std::vector<std::int32_t> const counts = {101, 101, 20, 0, 0, 0, 101, 0};
      expect(Indexer(c).select(Inputs(p, levels)).counts == counts, c.text() + ": clamped counts");
    }
  });
  item("the identity while kv <= k, with no score computed", [&] {
    Case const c{.M = 9, .N = 300, .topk = 300};
    Problem const p(c, 68);
    Inputs const in(p, {});
    Indexer indexer(c);
    indexer.workspace().fill(0x3c);
    Outputs const out(c.M, c.topk);
    indexer(nullptr, in, {out.indices.data, nullptr, out.counts.data});
    synchronize("plan");
    Result const got = out.host();
    for (std::int64_t t = 0; t < c.M; ++t)
      expect(identity_row(got, t, p.ranges().visible(t, c.N), false), "the identity");
    auto const bytes = indexer.workspace().host();
    expect(std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0x3c; }),
           "no score is computed for the identity");
  });
  item("the workspace keeps within its limit", [&] {
    for (std::size_t limit : {std::size_t(1) << 25, std::size_t(1) << 28}) {
      auto const plan = cuda::make_plan<Levels<>>(
          Shape<>{.max_queries = 8192, .max_keys = 1 << 20, .heads = 64, .head_dim = D},
          {.topk = 2048}, {.workspace_limit = limit});
      expect(plan.workspace_bytes() <= limit, "workspace of 8192 queries and 2^20 keys");
    }
  });
  item("parts of ranks are those of the whole call", [&] {
    Case const c{.M = 13, .N = 600, .levels = {{16, 9}}, .topk = 101, .data = Data::ties};
    Problem const p(c, 69);
    Inputs const in(p, c.levels);
    Indexer const indexer(c);
    Result const whole = indexer.select(in);
    for (int rank = 0; rank < 4; ++rank) {
      QueryRows const rows = QueryRows::of_rank(rank, 4, c.M);
      Result const part = indexer.select(in, rows);
      for (std::int64_t t = rows.first; t < rows.end; ++t)
        expect(same_row(part, t, whole, t), "rank " + std::to_string(rank));
    }
  });
  if (scale.M * scale.N > scale.most)
    skip("decode and verify agree: section batch");
}

/// Of ports of the paper's code.
inline void blocks_of_others() {
  item("pooling below B=64 reads nothing behind the buffer", [] { // memcheck looks
    for (int size : {8, 16, 32})
      PoolingTest<MeanPool>(211, Data::random, size, D).run();
  });
  item("a first block that is among the best is kept once", [] {
    for (Boundary b : {Boundary::counted, Boundary::extra})
      for (int m : {1, 2, 5}) {
        Case const c{.M = 5, .N = 300, .levels = {{16, m}}, .topk = 16, .boundary = b};
        Problem p(c, 77);
        for (float& w : p.w)
          w = std::abs(w);
        for (std::size_t i = 0; i < 16; ++i)
          p.scale[i] *= 100;
        run(c, p);
        Result const got = Indexer(c).select(Inputs(p, c.levels));
        for (std::int64_t t = 0; t < c.M; ++t)
          for (std::int64_t i = 0; i < 16 && (m > 1 || b == Boundary::extra); ++i)
            expect(got.indices[got.at(t) + std::size_t(i)] == i, c.text() + ": the first block");
      }
  });
}

inline void peers(const Scale& scale) {
  blocks_of_others();
  concentrated_bins(scale);
  plateaus(scale);
  nothing_finite(scale);
  odd_sizes(scale);
  lengths(scale);
}

} // namespace suite
