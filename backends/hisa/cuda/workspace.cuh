// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Levels and budgets of a plan, and how a call divides the caller's workspace.
#pragma once

#include <hisa/checks.hpp>
#include <hisa/cuda/pieces.cuh>

#include <algorithm>
#include <limits>
#include <string>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Block sizes and budgets of the pooled levels, coarse to fine.
struct LevelTable {
  int count = 0;
  LevelValues block_size;
  LevelValues keep;
  Boundary boundary = Boundary::counted;

  static constexpr const char* maker = "cuda::make_plan";

  /// @throws precondition_error when the levels and the budgets contradict each other
  static LevelTable checked(const LevelValues& fixed, int levels, const Budgets& budgets) {
    using hisa::detail::require;
    std::string const one_each = std::to_string(levels) + " values, one per level";
    require(budgets.keep.count == levels, maker, "budgets.keep", budgets.keep.count, one_each);
    require(budgets.block_size.count == 0 || budgets.block_size.count == levels, maker,
            "budgets.block_size", budgets.block_size.count, one_each);
    LevelTable table;
    table.count = levels;
    table.keep = budgets.keep;
    table.block_size = budgets.block_size.count == 0 ? fixed : budgets.block_size;
    std::int64_t handed_on = std::numeric_limits<std::int64_t>::max();
    int coarser = 0;
    for (int l = 0; l < levels; ++l) {
      int const size = table.block_size[l], keep = table.keep[l];
      require(fixed[l] == dynamic || fixed[l] == size, maker, "budgets.block_size", size,
              hisa::detail::exactly(fixed[l]) + ", its static value");
      require(size >= 1 && (coarser == 0 || (size < coarser && coarser % size == 0)), maker,
              "block size", size, "a proper divisor of the coarser level's");
      require(keep >= 1 && keep <= handed_on / size, maker, "budgets.keep", keep,
              "1 .. the blocks of the coarser level's budget");
      handed_on = std::int64_t(keep) * size;
      coarser = size;
    }
    require(budgets.topk >= 1 && budgets.topk <= handed_on, maker, "budgets.topk", budgets.topk,
            "1 .. the tokens of the kept blocks");
    return table;
  }

  void check(std::int64_t max_queries, std::int64_t max_keys, const Options& options) const {
    using hisa::detail::require;
    constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max() - 256;
    require(max_queries >= 1 && max_queries <= largest, maker, "shape.max_queries", max_queries,
            "1 .. " + std::to_string(largest));
    require(max_keys >= 1 && max_keys <= largest, maker, "shape.max_keys", max_keys,
            "1 .. " + std::to_string(largest));
    require(options.index_base != IndexBase::physical, maker, "options.index_base", "physical",
            "relative or absolute: contiguous keys have no cache slots");
  }

  /// Blocks that level `l` hands on at most.
  std::int64_t kept(int l, std::int64_t max_keys) const {
    return std::min(kept_capacity(keep[l], boundary), rows(block_size[l], max_keys));
  }
  /// Candidates that a query may have on level `l`; l == count is the tokens.
  std::int64_t candidates(int l, std::int64_t max_keys) const {
    std::int64_t const size = l == count ? 1 : block_size[l];
    std::int64_t const all = l == count ? max_keys : rows(size, max_keys);
    return l == 0 ? all : std::min(all, kept(l - 1, max_keys) * ratio(l - 1));
  }
  /// Rows of the level below that a block of level `l` holds.
  int ratio(int l) const { return block_size[l] / (l + 1 < count ? block_size[l + 1] : 1); }
  /// Neighbouring rows that go together in tiles: the largest power of two in the ratio, at
  /// most 64.
  int piece_log2(int l) const {
    int log2 = 0;
    while (log2 < 6 && ratio(l) % (2 << log2) == 0)
      ++log2;
    return log2;
  }

private:
  static std::int64_t rows(std::int64_t size, std::int64_t max_keys) {
    return (max_keys + size - 1) / size + 1;
  }
};

/// The parts of the workspace.
struct Parts {
  float* scores = nullptr;
  std::int32_t* blocks[2] = {}; ///< kept lists of alternating levels
  std::int32_t* counts[2] = {};
  PieceLists pieces[2];
};

/// The sizes that a workspace is laid out from.
struct Layout {
  std::int64_t queries = 0; ///< that are worked on at a time; whole groups
  std::int64_t scores = 0;  ///< pitch of the score rows
  std::int64_t kept = 0;    ///< pitch of the kept lists
  std::int64_t pieces = 0;  ///< pitch of the piece lists

  static constexpr std::size_t alignment = 128;

  /// For as many queries at a time as keep the workspace below `limit`.
  static Layout fitting(const LevelTable& levels, std::int64_t max_queries, std::int64_t max_keys,
                        std::size_t limit) {
    Layout layout;
    for (int l = 0; l <= levels.count; ++l)
      layout.scores = std::max(layout.scores, levels.candidates(l, max_keys));
    for (int l = 0; l < levels.count; ++l) {
      std::int64_t const kept = levels.kept(l, max_keys);
      layout.kept = std::max(layout.kept, kept);
      // A query that takes all it sees may have two blocks more than m.
      layout.pieces = std::max(layout.pieces, group_queries * (kept + 2) *
                                                  (levels.ratio(l) >> levels.piece_log2(l)));
    }
    layout.scores = (layout.scores + 31) / 32 * 32;
    layout.pieces = (layout.pieces + 7) / 8 * 8;
    layout.queries = group_queries;
    std::int64_t const groups = static_cast<std::int64_t>(limit / layout.bytes());
    std::int64_t const all = (max_queries + group_queries - 1) / group_queries;
    layout.queries = group_queries * std::max<std::int64_t>(1, std::min(groups, all));
    return layout;
  }

  /// Bytes of a workspace that is 16-byte aligned.
  std::size_t bytes() const {
    Cursor cursor{nullptr};
    place(cursor);
    return cursor.used + alignment;
  }
  /// Divides the caller's memory.
  Parts divide(void* data) const {
    auto const at = reinterpret_cast<std::uintptr_t>(data);
    Cursor cursor{reinterpret_cast<std::byte*>((at + alignment - 1) / alignment * alignment)};
    return place(cursor);
  }

private:
  struct Cursor {
    std::byte* base;
    std::size_t used = 0;

    template <class T>
    T* take(std::int64_t rows, std::int64_t columns) {
      auto const bytes = static_cast<std::size_t>(rows * columns) * sizeof(T);
      T* const here = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
      used += (bytes + alignment - 1) / alignment * alignment;
      return here;
    }
  };

  Parts place(Cursor& cursor) const {
    std::int64_t const groups = queries / group_queries;
    Parts p;
    p.scores = cursor.take<float>(queries, scores);
    for (int i = 0; i < 2; ++i) {
      p.blocks[i] = cursor.take<std::int32_t>(queries, kept);
      p.counts[i] = cursor.take<std::int32_t>(queries, 1);
      p.pieces[i].rows = cursor.take<std::int32_t>(groups, pieces);
      p.pieces[i].positions = cursor.take<Positions>(groups, pieces);
      p.pieces[i].masks = cursor.take<std::uint32_t>(groups, pieces);
      p.pieces[i].counts = cursor.take<std::int32_t>(groups, 1);
      p.pieces[i].pitch = pieces;
    }
    return p;
  }
};

} // namespace cuda
HISA_NAMESPACE_END
