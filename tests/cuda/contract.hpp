// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One call against the contract: scores within their bound, pooled rows and selections to the bit,
// the selections from the scores that the device's own `score` gives.
#pragma once

#include "indexer.hpp"

namespace suite {

inline double worst_error[2] = {}; ///< of each arithmetic, in parts of what is allowed

/// Scores of consecutive queries for all of some keys.
struct ScoreTable {
  QueryRows rows;
  std::int64_t keys = 0;
  std::vector<float> values;

  ScoreTable(const Inputs& in, const QueryRows& r, const ContiguousKeys<e4m3fn>& k,
             Arithmetic arithmetic = Arithmetic::native)
      : rows(r), keys(k.count) {
    std::int64_t const M = rows.end - rows.first;
    Device<std::int32_t> const ks{std::vector<std::int32_t>(std::size_t(M), 0)};
    Device<std::int32_t> const ke{std::vector<std::int32_t>(std::size_t(M), std::int32_t(keys))};
    Device<float> const out{std::size_t(M * keys)};
    Queries<e4m3fn> q = in.queries();
    q.values += rows.first * q.heads * D, q.weights += rows.first * q.heads, q.count = M;
    if (q.heads == 32)
      cuda::score<32>(nullptr, q, k, {ks.data, ke.data}, out.data, keys, arithmetic);
    else
      cuda::score(nullptr, q, k, {ks.data, ke.data}, out.data, keys, arithmetic);
    synchronize("score");
    values = out.host();
  }
  float of(std::int64_t t, std::int64_t key) const {
    return values[std::size_t((t - rows.first) * keys + key)];
  }
};

/// The queries of a call that are looked at, in pieces: all of them, or neighbours here and there
/// in a large call, the first and the last included.
inline std::vector<QueryRows> windows(std::int64_t M, std::int64_t N) {
  constexpr std::int64_t pairs = 1 << 22;
  bool const all = M * N <= pairs;
  std::int64_t const width = all ? 64 : 4;
  std::int64_t const count =
      all ? (M + width - 1) / width : std::max<std::int64_t>(2, pairs / (width * N));
  std::vector<QueryRows> list;
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t const first = all ? i * width : (M - width) * i / (count - 1);
    list.push_back({std::max<std::int64_t>(first, 0), std::min(first + width, M)});
  }
  return list;
}

/// What a score's error is bounded by where values are NaN: a head with such a product counts 0.
inline double magnitude_without_nan(const Problem& p, std::int64_t t, const KeyRow<e4m3fn>& key) {
  auto const numbers = [](const e4m3fn* values, std::int64_t n) {
    std::vector<e4m3fn> copy(values, values + n);
    for (e4m3fn& x : copy)
      x = std::isnan(Element<e4m3fn>::to_float(x)) ? e4m3fn{0} : x;
    return copy;
  };
  auto const q = numbers(p.q.data() + t * p.H * D, p.H * D), k = numbers(key.values, D);
  return reference::magnitude(Queries<e4m3fn>{q.data(), p.w.data() + t * p.H, 1, p.H, D}, 0,
                              KeyRow<e4m3fn>{k.data(), key.scale});
}

/// Some of the scores are within their bound, or NaN or infinite where they have to be.
inline void check_scores(const Case& c, const Problem& p, const ScoreTable& scores) {
  double& worst = worst_error[int(c.arithmetic)];
  Random random(7);
  for (int i = 0; i < 100 && scores.keys > 0; ++i) {
    std::int64_t const t = scores.rows.first + random.below(scores.rows.end - scores.rows.first);
    std::int64_t const s = random.below(scores.keys);
    KeyRow<e4m3fn> const row{p.k.data() + s * p.stride, p.scale[std::size_t(s)]};
    double const exact = reference::score<double>(p.queries(), t, row);
    double const sum = magnitude_without_nan(p, t, row);
    if (!std::isfinite(exact)) {
      KeyRow<e4m3fn> const unscaled{row.values, 1.0f};
      bool const sign =
          std::abs(reference::score<double>(p.queries(), t, unscaled)) >
          magnitude_without_nan(p, t, unscaled) * reference::tolerance(c.arithmetic, c.H, D);
      double const got = scores.of(t, s);
      expect(std::isnan(exact) ? std::isnan(got) : std::isinf(got) && (!sign || got == exact),
             c.text() + ": what is not finite, of query " + std::to_string(t) + ", key " +
                 std::to_string(s));
      continue;
    }
    bool const no_product = std::any_of(row.values, row.values + D, [](e4m3fn x) {
      return std::isnan(Element<e4m3fn>::to_float(x));
    });
    expect(!no_product || scores.of(t, s) == 0, c.text() + ": a key that is not a number counts 0");
    double const error = std::abs(double(scores.of(t, s)) - exact);
    double const bound = sum * reference::tolerance(c.arithmetic, c.H, D);
    worst = bound > 0 ? std::max(worst, error / bound) : worst;
    expect(error <= bound,
           c.text() + ": score of query " + std::to_string(t) + ", key " + std::to_string(s));
  }
}

/// The rows of a window are what the contract makes of the device's scores.
inline void check_rows(const Case& c, const Problem& p, const Inputs& in, const Result& got,
                       const QueryRows& rows) {
  ScoreTable const tokens(in, rows, in.keys(), c.arithmetic);
  check_scores(c, p, tokens);
  std::vector<ScoreTable> blocks;
  for (const PooledLevel& l : in.levels)
    blocks.emplace_back(in, rows, l.rows(), c.arithmetic);
  for (std::int64_t t = rows.first; t < rows.end; ++t) {
    Visible const v = p.ranges().visible(t, p.N);
    auto const block_score = [&](std::size_t l, std::int64_t b) {
      return blocks[l].of(t, in.levels[l].begin[std::size_t(t)] + b);
    };
    auto const token_score = [&](std::int64_t i) { return tokens.of(t, v.anchor + i); };
    reference::Result row;
    reference::Choice const choice{c.topk, c.boundary, c.base};
    if (c.indexing == Indexing::refine) {
      auto const list = p.listed(t);
      reference::keep_tokens(p.keys(), v, reference::children(v, 1, &list, c.levels[0].block_size),
                             choice, token_score, row);
    } else {
      reference::keep_row(p.keys(), v, c.levels, choice, block_score, token_score, row);
    }
    Result const expected{c.topk, row.indices, row.counts, row.scores};
    expect(same_row(got, t, expected, 0), c.text() + ": query " + std::to_string(t));
  }
}

/// Queries of the calls that were compared with the contract, and those of all their queries that
/// were: of large calls some.
inline std::int64_t called_rows = 0, compared_rows = 0;

inline void check_contract(const Case& c, const Problem& p, const Inputs& in, const Result& got) {
  for (const PooledLevel& l : in.levels)
    check_pooled(c.text(), p, l);
  for (const QueryRows& rows : windows(p.M, p.N)) {
    check_rows(c, p, in, got, rows);
    compared_rows += rows.end - rows.first;
  }
  called_rows += p.M;
  c.cover();
}

/// A problem's call against the contract, and again in a workspace full of other bytes.
inline void run(const Case& c, const Problem& p) {
  Inputs const in(p, c.levels);
  Indexer indexer(c);
  Result const got = indexer.select(in);
  check_contract(c, p, in, got);
  Outputs const out(c.M, c.topk);
  for (int byte : {0xff, 0}) {
    indexer.workspace().fill(byte);
    indexer(nullptr, in, {out.indices.data}); // counts too are optional
    synchronize("plan");
    expect(out.indices.host() == got.indices, c.text() + ": the same indices again");
  }
  Case other = c;
  other.pair_queries = 0;
  Indexer const stay(other);
  if (stay.path() == indexer.path())
    return; // the same kernels
  Result const same = stay.select(in);
  for (std::int64_t t = 0; t < c.M; ++t)
    expect(same_row(got, t, same, t), c.text() + ": the same where queries stay, not keys");
}

inline void run(const Case& c, unsigned seed = 1) {
  run(c, Problem(c, seed));
}

} // namespace suite
