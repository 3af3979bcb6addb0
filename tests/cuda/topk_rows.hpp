// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rows of scores for top-k alone, and what the contract makes of them.
#pragma once

#include "indexer.hpp"
#include "scale.hpp"

#include <numeric>

namespace suite {

/// Rows of scores, NaN between and behind them, in memory that starts `offset` floats behind a
/// 16-byte boundary.
struct ScoreRows {
  std::int64_t rows = 0, columns = 0, stride = 0, offset = 0;
  std::vector<float> scores;         ///< offset + rows * stride
  std::vector<std::int32_t> lengths; ///< empty: all `columns`

  /// @param score  score(row, column)
  template <class Score>
  ScoreRows(std::int64_t r, std::int64_t c, std::int64_t gap, std::int64_t o, const Score& score)
      : rows(r), columns(c), stride(c + gap), offset(o),
        scores(std::size_t(o + r * (c + gap)), std::numeric_limits<float>::quiet_NaN()) {
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j)
        scores[std::size_t(offset + i * stride + j)] = score(i, j);
  }
  std::span<const float> row(std::int64_t i) const {
    std::int64_t const length =
        lengths.empty() ? columns : hisa::detail::clamp(lengths[std::size_t(i)], 0, columns);
    return {scores.data() + offset + i * stride, std::size_t(length)};
  }
};

/// A row's positions in the contract's order, from which its best for any k are taken.
inline std::vector<std::int32_t> ranked(std::span<const float> row) {
  std::vector<std::int32_t> positions(row.size());
  std::iota(positions.begin(), positions.end(), 0);
  std::sort(positions.begin(), positions.end(), [&](std::int32_t a, std::int32_t b) {
    return precedes(row[std::size_t(a)], a, row[std::size_t(b)], b);
  });
  return positions;
}

/// The row of a Result that the contract wants.
inline Result best(std::span<const float> row, const std::vector<std::int32_t>& ranking,
                   std::int64_t k) {
  Result r;
  r.topk = k;
  r.indices.assign(ranking.begin(), ranking.begin() + std::min(k, std::int64_t(ranking.size())));
  std::sort(r.indices.begin(), r.indices.end());
  r.counts = {std::int32_t(r.indices.size())};
  for (std::int32_t i : r.indices)
    r.scores.push_back(row[std::size_t(i)]);
  r.indices.resize(std::size_t(k), -1);
  r.scores.resize(std::size_t(k), minus_infinity);
  return r;
}

/// cuda::topk of all rows, for each k, against the contract.
inline void check_topk(const std::string& what, const ScoreRows& table,
                       const std::vector<std::int64_t>& ks) {
  Device<float> const scores(table.scores);
  Device<std::int32_t> const lengths(table.lengths);
  std::vector<Result> results;
  for (std::int64_t k : ks) {
    Outputs const out(table.rows, k);
    cuda::topk(nullptr,
               {scores.data + table.offset, table.stride,
                table.lengths.empty() ? nullptr : lengths.data, table.columns, std::int32_t(k),
                out.view()},
               table.rows);
    synchronize("topk");
    results.push_back(out.host());
    expect(out.intact(), what + ": nothing is written behind the outputs");
    cover("top-k, k", k);
  }
  for (std::int64_t i = 0; i < table.rows; ++i) {
    auto const ranking = ranked(table.row(i));
    for (const Result& r : results)
      expect(same_row(r, i, best(table.row(i), ranking, r.topk), 0),
             what + ", k=" + std::to_string(r.topk) + ": row " + std::to_string(i));
  }
}

/// A float that is `steps` representable numbers above 1: up to 2^13 share their leading 19 bits.
inline float just_above_one(std::uint64_t steps) {
  return std::bit_cast<float>(0x3f800000u + std::uint32_t(steps));
}

} // namespace suite
