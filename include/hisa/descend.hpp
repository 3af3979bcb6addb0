// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// One descent: given a level's rows, the parents kept above it (or all) and a budget, score the
/// rows inside the parents and keep the best. Flat is one descent, HISA two. This header says what
/// a descent is; hisa/score.hpp and hisa/select.hpp are its two halves.
#pragma once

#include <hisa/candidates.hpp>
#include <hisa/order_key.hpp>
#include <hisa/pooling.hpp>
#include <hisa/tensors.hpp>

#include <cstddef>
#include <cstdint>

HISA_NAMESPACE_BEGIN

/// The tokens as the rows of a level: block size 1.
template <class Keys>
struct TokenRows {
  using keys_type = Keys;
  using element_type = typename Keys::element_type;
  static constexpr int rows = 1;        ///< key rows of a level row
  static constexpr bool blocks = false; ///< whether rows stand for blocks, which have boundaries

  Keys keys;

  HISA_FUNCTION constexpr std::int64_t block_size() const { return 1; }
  HISA_FUNCTION KeyRow<element_type> row(const Visible& visible, std::int64_t i, int) const {
    return keys.row(visible, TokenIndex(visible.anchor + i));
  }
};

/// Blocks pooled by a row rule, `Rows` rows a block, as the rows of a level.
template <class Keys, int Rows>
struct BlockRows {
  using keys_type = Keys;
  using element_type = typename Keys::element_type;
  static constexpr int rows = Rows;
  static constexpr bool blocks = true;

  Keys keys;
  PooledKeys<const element_type> pooled;

  HISA_FUNCTION constexpr std::int64_t block_size() const { return pooled.block_size; }
  HISA_FUNCTION KeyRow<element_type> row(const Visible& visible, std::int64_t b, int r) const {
    std::int64_t const i = pooled_row(keys, pooled, visible, BlockIndex(b)).value * rows + r;
    return {pooled.values + i * pooled.head_dim,
            pooled.scales == nullptr ? 1.0f : pooled.scales[i]};
  }
};

/// Blocks pooled by a head rule as the rows of a level: fp32, scored by the rule's own formula.
template <class Keys, HeadRule Rule>
struct HeadBlockRows {
  using keys_type = Keys;
  using element_type = typename Keys::element_type; ///< of the queries
  using head_rule = Rule;
  static constexpr bool blocks = true;

  Keys keys;
  PooledKeys<const float> pooled;

  HISA_FUNCTION constexpr std::int64_t block_size() const { return pooled.block_size; }
  /// The block's rows, [Rule::rows, head_dim].
  HISA_FUNCTION const float* block(const Visible& visible, std::int64_t b) const {
    return pooled.values +
           pooled_row(keys, pooled, visible, BlockIndex(b)).value * Rule::rows * pooled.head_dim;
  }
};

namespace detail {

template <class Keys, PoolingRule Rule>
struct LevelRowsOf;
template <class Keys, RowRule Rule>
struct LevelRowsOf<Keys, Rule> {
  using type = BlockRows<Keys, Rule::rows>;
};
template <class Keys, HeadRule Rule>
struct LevelRowsOf<Keys, Rule> {
  using type = HeadBlockRows<Keys, Rule>;
};

} // namespace detail

/// A pooled level's rows: BlockRows for a row rule, HeadBlockRows for a head rule.
template <class Keys, PoolingRule Rule>
using LevelRows = typename detail::LevelRowsOf<Keys, Rule>::type;

/// Lists of kept blocks in the workspace, one per query of the group that is being worked on.
struct KeptLists {
  std::int32_t* blocks = nullptr; ///< [queries, pitch] ascending; null: every block is kept
  std::int32_t* counts = nullptr; ///< [queries]
  std::int64_t pitch = 0;
  std::int64_t block_size = 0;

  HISA_FUNCTION constexpr KeptBlocks of(std::int64_t i) const {
    if (blocks == nullptr)
      return {};
    return {blocks + i * pitch, counts[i], block_size};
  }
};

/// Some consecutive queries of a call: queries.values[first] .. [first + count).
template <ElementType T>
struct QueryGroup {
  Queries<T> queries;
  std::int64_t first = 0;
  std::int64_t count = 0;
};

/// One level of the hierarchy as work for a group of queries.
///
/// @tparam Rows        TokenRows, BlockRows or HeadBlockRows
/// @tparam Visibility  Ranges, Lengths or Ragged
template <class Rows, class Visibility>
struct Descent {
  using rows_type = Rows;
  using element_type = typename Rows::element_type;

  QueryGroup<element_type> group;
  Visibility visibility;
  std::int64_t max_keys = 0; ///< keys that a query may see
  Rows rows;
  KeptLists parents;         ///< of the level above
  std::int64_t budget = 0;   ///< m or k
  std::int64_t capacity = 0; ///< candidates that a query may have
  Boundary boundary = Boundary::counted;
  /// A query that sees no more keys than this takes them all, whatever the levels above kept.
  std::int64_t identity = 0;
  bool scores_wanted = false; ///< score the candidates even where the choice is decided without

  /// The visible range of the group's i-th query.
  HISA_FUNCTION Visible visible(std::int64_t i) const {
    return visibility.visible(group.first + i, max_keys);
  }
  HISA_FUNCTION Candidates candidates(const Visible& visible, std::int64_t i) const {
    KeptBlocks const kept = visible.count() <= identity ? KeptBlocks{} : parents.of(i);
    return Candidates(visible, kept, rows.block_size());
  }
  HISA_FUNCTION Contest contest(const Candidates& candidates, const Visible& visible) const {
    if constexpr (Rows::blocks)
      return Contest::blocks(candidates, visible, rows.block_size(), budget, boundary);
    else
      return Contest::tokens(candidates, budget);
  }
  HISA_FUNCTION bool must_score(const Contest& contest, const Visible& visible) const {
    return scores_wanted || (visible.count() > identity && !contest.decided());
  }
};

/// Scores of a descent in the workspace: position p of the group's i-th query at [i * pitch + p].
struct ScoreRowsOut {
  float* values = nullptr;
  std::int64_t pitch = 0;
};

/// Scratch of a strategy in the workspace.
struct StrategyScratch {
  std::byte* memory = nullptr; ///< [slots, bytes]
  std::int64_t bytes = 0;      ///< of a slot, a multiple of 16

  HISA_FUNCTION std::byte* of(std::int64_t slot) const { return memory + slot * bytes; }
};

/// Where a pooled level's choice goes.
struct KeepBlocks {
  KeptLists lists;

  HISA_FUNCTION void put(const Visible&, std::int64_t i, std::int64_t rank, std::int64_t row,
                         float) const {
    lists.blocks[i * lists.pitch + rank] = static_cast<std::int32_t>(row);
  }
  HISA_FUNCTION void finish(std::int64_t i, std::int64_t count) const {
    lists.counts[i] = static_cast<std::int32_t>(count);
  }
  /// Ranks past the count that finish() leaves to pad().
  HISA_FUNCTION constexpr std::int64_t padded() const { return 0; }
  HISA_FUNCTION void pad(std::int64_t, std::int64_t) const {}
};

/// Where the tokens' choice goes: the caller's Selection.
template <class Keys>
struct KeepTokens {
  Keys keys;
  Selection selection;
  std::int64_t first = 0; ///< row of the group's first query
  std::int64_t topk = 0;
  IndexBase base = IndexBase::relative;

  HISA_FUNCTION void put(const Visible& visible, std::int64_t i, std::int64_t rank,
                         std::int64_t row, float score) const {
    TokenIndex const token(visible.anchor + row);
    std::int64_t index = token.value;
    if (base == IndexBase::relative)
      index -= visible.begin;
    if constexpr (requires { keys.slot(visible, token); })
      if (base == IndexBase::physical)
        index = keys.slot(visible, token).value;
    std::int64_t const at = (first + i) * topk + rank;
    selection.indices[at] = static_cast<std::int32_t>(index);
    if (selection.scores != nullptr)
      selection.scores[at] = score;
  }
  HISA_FUNCTION void finish(std::int64_t i, std::int64_t count) const {
    if (selection.counts != nullptr)
      selection.counts[first + i] = static_cast<std::int32_t>(count);
  }
  HISA_FUNCTION constexpr std::int64_t padded() const { return topk; }
  HISA_FUNCTION void pad(std::int64_t i, std::int64_t rank) const {
    std::int64_t const at = (first + i) * topk + rank;
    selection.indices[at] = -1;
    if (selection.scores != nullptr)
      selection.scores[at] = minus_infinity;
  }
};

HISA_NAMESPACE_END
