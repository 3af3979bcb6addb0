// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The portable scores of blocks pooled by a head rule: sum_j w_j relu(value_j), with the rule's
/// own value_j, over the queries that prepare() has laid out for hisa/score.hpp.
#pragma once

#include <hisa/score.hpp>

HISA_NAMESPACE_BEGIN
namespace detail {
inline namespace HISA_HOST_ISA {

/// A level's rows by a head rule: the scores of a tile of blocks. 16 heads pass at a time, one to
/// each chain of the head sum; a query's value is loaded once for all blocks of the tile.
template <ScorePolicy P, class DescentType>
struct HeadTile {
  using Rule = typename DescentType::rows_type::head_rule;
  using Sums = float[P.keys][Rule::sums][head_chains];

  HISA_FUNCTION static void score(const DescentType& descent, const PreparedQueries& prepared,
                                  const Visible& visible, std::int64_t i,
                                  const std::int64_t (&level_row)[P.keys],
                                  float (&scores)[P.keys]) {
    const float* blocks[P.keys];
    for (int j = 0; j < P.keys; ++j)
      blocks[j] = visible.covers(level_row[j], descent.rows.block_size())
                      ? descent.rows.block(visible, level_row[j])
                      : nullptr;
    float chains[P.keys][head_chains] = {};
    for (int head = 0; head < prepared.padded_heads; head += head_chains) {
      Sums sums = {};
      for (int d = 0; d < prepared.head_dim; ++d) {
        const float* const q = prepared.query(i) + std::int64_t(d) * prepared.padded_heads + head;
        for (int j = 0; j < P.keys; ++j)
          accumulate(q, blocks[j], d, prepared.head_dim, sums[j]);
      }
      const float* const w = prepared.weight(i) + head;
      for (int j = 0; j < P.keys; ++j)
        add_heads(w, sums[j], chains[j]);
    }
    for (int j = 0; j < P.keys; ++j)
      scores[j] = sum_chains(chains[j]);
  }

private:
  /// Dimension d of one block, for 16 heads. A block that cannot be read stands for zeros.
  HISA_FUNCTION static void accumulate(const float* q, const float* block, int d, int dims,
                                       float (&sums)[Rule::sums][head_chains]) {
    float row[Rule::rows];
    for (int r = 0; r < Rule::rows; ++r)
      row[r] = block == nullptr ? 0.0f : block[std::int64_t(r) * dims + d];
    for (int h = 0; h < head_chains; ++h) {
      float mine[Rule::sums];
      for (int s = 0; s < Rule::sums; ++s)
        mine[s] = sums[s][h];
      Rule::accumulate(q[h], row, mine);
      for (int s = 0; s < Rule::sums; ++s)
        sums[s][h] = mine[s];
    }
  }

  HISA_FUNCTION static void add_heads(const float* w, const float (&sums)[Rule::sums][head_chains],
                                      float (&chains)[head_chains]) {
    for (int h = 0; h < head_chains; ++h) {
      float mine[Rule::sums];
      for (int s = 0; s < Rule::sums; ++s)
        mine[s] = sums[s][h];
      float const value = Rule::value(mine, w[h]);
      chains[h] = multiply_add(w[h], value > 0 ? value : 0.0f, chains[h]);
    }
  }
};

/// What scores the rows of a level.
template <ScorePolicy P, class DescentType>
struct TileOf {
  using type = RowTile<P, DescentType>;
};
template <ScorePolicy P, class DescentType>
requires requires {
  typename DescentType::rows_type::head_rule;
}
struct TileOf<P, DescentType> {
  using type = HeadTile<P, DescentType>;
};

} // namespace HISA_HOST_ISA
} // namespace detail
HISA_NAMESPACE_END
