// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Which rows of a level a query chooses among, and which of them need a score. Plain arithmetic
/// that every backend shares: no data is touched but the list of kept parents.
#pragma once

#include <hisa/shape.hpp>
#include <hisa/visibility.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN

/// The blocks that one query kept on the level above: ascending, unique, each holding at least one
/// visible token. `blocks == nullptr` stands for all of them.
struct KeptBlocks {
  const std::int32_t* blocks = nullptr;
  std::int64_t count = 0;
  std::int64_t block_size = 0;
};

/// The candidates of one query on one level: the visible children of the kept parents, numbered by
/// consecutive *positions* 0 .. count-1 in ascending order of their rows.
///
/// Only the first and the last kept parent can be partly visible, so the visible children are one
/// window of the concatenated children, and position p is a division away from its row.
struct Candidates {
  const std::int32_t* parents = nullptr; ///< null: the window is all visible rows
  std::int64_t ratio = 1;                ///< children of a parent
  std::int64_t skip = 0;                 ///< invisible children before position 0
  std::int64_t count = 0;

  HISA_FUNCTION constexpr Candidates(const Visible& visible, const KeptBlocks& kept,
                                     std::int64_t row_size) {
    std::int64_t const first = visible.first_row(row_size);
    std::int64_t const end = visible.end_row(row_size);
    if (kept.blocks == nullptr) {
      skip = first;
      count = end - first;
      return;
    }
    parents = kept.blocks;
    ratio = detail::quotient(kept.block_size, row_size);
    if (kept.count == 0)
      return;
    std::int64_t const window_begin = kept.blocks[0] * ratio;
    std::int64_t const window_end = (kept.blocks[kept.count - 1] + 1) * ratio;
    skip = first > window_begin ? first - window_begin : 0;
    count = kept.count * ratio - skip - (window_end > end ? window_end - end : 0);
  }

  /// The row of the level, counted from the anchor, at a position.
  HISA_FUNCTION constexpr std::int64_t row(std::int64_t position) const {
    std::int64_t const p = position + skip;
    if (parents == nullptr)
      return p;
    std::int64_t const parent = detail::quotient(p, ratio);
    return parents[parent] * ratio + p - parent * ratio;
  }
};

/// What is left to decide among the candidates once boundary blocks are taken: the best `need` of
/// the positions [first, end). Where all or none of these are kept, nothing has to be scored.
struct Contest {
  std::int64_t first = 0;
  std::int64_t end = 0;
  std::int64_t need = 0;
  bool takes_first = false; ///< position 0 is kept without a contest
  bool takes_last = false;  ///< position count - 1 is kept without a contest

  HISA_FUNCTION constexpr std::int64_t size() const { return end - first; }
  /// How many positions win the contest.
  HISA_FUNCTION constexpr std::int64_t winners() const { return size() < need ? size() : need; }
  HISA_FUNCTION constexpr bool decided() const { return winners() == 0 || size() <= need; }
  /// How many positions are kept in all.
  HISA_FUNCTION constexpr std::int64_t kept() const { return winners() + takes_first + takes_last; }

  /// The contest among tokens: nothing is forced.
  HISA_FUNCTION static constexpr Contest tokens(const Candidates& candidates, std::int64_t topk) {
    Contest c;
    c.end = candidates.count;
    c.need = topk;
    return c;
  }

  /// The contest among the blocks of a pooled level with budget `keep`.
  HISA_FUNCTION static constexpr Contest blocks(const Candidates& candidates,
                                                const Visible& visible, std::int64_t block_size,
                                                std::int64_t keep, Boundary boundary) {
    Contest c;
    std::int64_t const n = candidates.count;
    c.end = n;
    c.need = keep;
    if (n == 0 || boundary == Boundary::none)
      return c;
    // A boundary block stands in a kept parent exactly when it is an end of the window.
    c.takes_last = candidates.row(n - 1) == visible.end_row(block_size) - 1;
    c.takes_first = candidates.row(0) == visible.first_row(block_size) && !(n == 1 && c.takes_last);
    if (boundary == Boundary::counted) {
      if (keep == 1 && c.takes_last)
        c.takes_first = false; // m = 1 keeps the last
      c.need -= c.takes_first + c.takes_last;
    }
    c.first = c.takes_first;
    c.end = n - c.takes_last;
    return c;
  }
};

/// Blocks that a level may hand on at most, given its budget.
constexpr std::int64_t kept_capacity(std::int64_t keep, Boundary boundary) {
  return keep + (boundary == Boundary::extra ? 2 : 0);
}

HISA_NAMESPACE_END
