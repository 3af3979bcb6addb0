// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What a hierarchy selects when all its scores are known: the same as a plan, from scores that
/// are computed once for many settings.
#pragma once

#include <hisa/candidates.hpp>

#include <cstdint>
#include <vector>

namespace hisa::tools {

/// One pooled level of one query.
struct LevelScores {
  int block_size = 0;
  int keep = 0;
  const float* scores = nullptr; ///< [blocks]; read where a block is wholly visible
};

/// A query's selection.
struct Choice {
  std::vector<std::int32_t> tokens; ///< ascending
  /// Kept on each level, coarse to fine, ascending; of no level where a query takes all it sees.
  std::vector<std::vector<std::int32_t>> blocks;
};

/// Selects the best `topk` tokens inside the blocks kept on every level, coarse to fine. Boundary
/// blocks are `counted`; scores of tokens are read where they may be selected. O(candidates).
Choice choose(const Visible& visible, const std::vector<LevelScores>& levels, const float* tokens,
              int topk);

} // namespace hisa::tools
