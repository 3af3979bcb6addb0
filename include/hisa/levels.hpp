// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The pooled levels of a plan: checked sizes and budgets, and how much of the workspace they take.
#pragma once

#include <hisa/candidates.hpp>
#include <hisa/checks.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

HISA_NAMESPACE_BEGIN
namespace detail {

/// Block sizes and budgets of the pooled levels, and what follows from them.
struct LevelTable {
  int count = 0;
  LevelValues block_size; ///< B, coarse to fine
  LevelValues keep;       ///< m, coarse to fine
  Boundary boundary = Boundary::counted;

  /// The levels of a plan.
  /// @param maker      the function that the user called, for its sentences
  /// @param fixed      the sizes in the type of the levels; dynamic where budgets bring them
  /// @param parts      equal parts that the rule divides a block into
  /// @param own_lists  the blocks come from the caller, who may list fewer than topk needs
  /// @throws precondition_error when sizes and budgets contradict each other
  static LevelTable checked(const char* maker, const LevelValues& fixed, const Budgets& budgets,
                            Boundary boundary, int parts, bool own_lists) {
    LevelTable table;
    table.count = fixed.count;
    table.boundary = boundary;
    table.set_sizes(maker, fixed, budgets);
    std::int64_t handed_on = std::numeric_limits<std::int64_t>::max(); // tokens of kept parents
    int coarser = 0;
    for (int l = 0; l < table.count; ++l) {
      int const size = table.block_size[l], m = table.keep[l];
      require(size >= 1, maker, "block size", size, at_least(1));
      require(coarser == 0 || (size < coarser && coarser % size == 0), maker, "block size", size,
              "a proper divisor of the coarser level's " + std::to_string(coarser));
      require(size % parts == 0, maker, "block size", size,
              "a multiple of the rule's " + std::to_string(parts) + " rows");
      require(m >= 1, maker, "budgets.keep", m, at_least(1));
      require(m <= handed_on / size, maker, "budgets.keep", m,
              at_most(handed_on / size) + ", the blocks of the coarser level's budget");
      handed_on = std::int64_t(m) * size;
      coarser = size;
    }
    require(own_lists || budgets.topk <= handed_on, maker, "budgets.topk", budgets.topk,
            at_most(handed_on) + ", the tokens of the kept blocks");
    return table;
  }

  /// Blocks that level `l` hands on at most.
  std::int64_t kept(int l, std::int64_t max_keys) const {
    return std::min(kept_capacity(keep[l], boundary), rows(block_size[l], max_keys));
  }
  /// Rows of the level below, or tokens, that a block of level `l` holds.
  int ratio(int l) const { return block_size[l] / (l + 1 < count ? block_size[l + 1] : 1); }
  /// Candidates that a query may have on level `l`; l == count is the tokens.
  std::int64_t candidates(int l, std::int64_t max_keys) const {
    std::int64_t const all = l == count ? max_keys : rows(block_size[l], max_keys);
    return l == 0 ? all : std::min(all, kept(l - 1, max_keys) * ratio(l - 1));
  }

private:
  void set_sizes(const char* maker, const LevelValues& fixed, const Budgets& budgets) {
    std::string const one_each = std::to_string(count) + " values, one per level";
    require(budgets.keep.count == count, maker, "budgets.keep", budgets.keep.count, one_each);
    require(budgets.block_size.count == 0 || budgets.block_size.count == count, maker,
            "budgets.block_size", budgets.block_size.count, one_each);
    keep = budgets.keep;
    block_size = budgets.block_size.count == 0 ? fixed : budgets.block_size;
    for (int l = 0; l < count; ++l) {
      require(budgets.block_size.count != 0 || fixed[l] != dynamic, maker, "budgets.block_size",
              "empty", "the sizes of the dynamic levels");
      require(fixed[l] == dynamic || fixed[l] == block_size[l], maker, "budgets.block_size",
              block_size[l], exactly(fixed[l]) + ", its static value");
    }
  }

  /// Blocks that can hold visible tokens: one more than fit where a range starts inside a block.
  static std::int64_t rows(std::int64_t size, std::int64_t max_keys) {
    return (max_keys + size - 1) / size + 1;
  }
};

/// The budgets of the block-sparse indexer: m = topk / B on the finest level, whose own `budgets`
/// lack.
/// @param maker  the function that the user called, for its sentences
/// @param fixed  the sizes in the type of the levels; dynamic where budgets bring them
/// @throws precondition_error unless B divides topk and the boundary option is not `extra`
inline Budgets block_sparse_budgets(const char* maker, const LevelValues& fixed, Budgets budgets,
                                    Boundary boundary) {
  int const finest = fixed.count - 1;
  int const size = fixed[finest] == dynamic ? budgets.block_size[finest] : fixed[finest];
  require(size >= 1, maker, "block size", size, at_least(1));
  require(budgets.topk >= size && budgets.topk % size == 0, maker, "budgets.topk", budgets.topk,
          "a multiple of the block size " + std::to_string(size));
  require(boundary != Boundary::extra, maker, "options.boundary", "extra",
          "counted or none: the blocks must fit topk");
  require(budgets.keep.count == finest, maker, "budgets.keep", budgets.keep.count,
          std::to_string(finest) + " values, one per level above the finest");
  budgets.keep.push_back(budgets.topk / size);
  return budgets;
}

} // namespace detail

/// What a plan knows when it is made, checked.
struct Configuration {
  std::int64_t max_queries = 0;
  std::int64_t max_keys = 0;
  int heads = 0;
  int head_dim = 0;
  detail::LevelTable levels;
  int topk = 0;
  Options options;
};

HISA_NAMESPACE_END
