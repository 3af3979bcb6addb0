// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A level of the hierarchy as all kernels take it.
#pragma once

#include <hisa/candidates.hpp>
#include <hisa/tensors.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// One level for consecutive queries.
struct Level {
  Ranges visibility;
  std::int64_t first = 0;      ///< row of the first query in the call
  std::int64_t count = 0;      ///< queries
  std::int64_t max_keys = 0;   ///< keys that a query may see
  std::int64_t block_size = 1; ///< 1: the tokens
  std::int64_t budget = 0;     ///< m or k
  Boundary boundary = Boundary::counted;
  /// A query that sees no more keys than this takes them all, whatever the levels above kept.
  std::int64_t identity = 0;
  bool scores_wanted = false;                  ///< score even where the choice is decided without
  const std::int32_t* parents = nullptr;       ///< [count, parent_pitch] kept above; null: all
  const std::int32_t* parent_counts = nullptr; ///< [count]
  std::int64_t parent_pitch = 0;
  std::int64_t parent_size = 0;            ///< block size of the level above
  const std::int32_t* row_begin = nullptr; ///< [M] first pooled row of a query's sequence, or null

  HISA_FUNCTION Visible visible(std::int64_t i) const {
    return visibility.visible(first + i, max_keys);
  }
  HISA_FUNCTION Candidates candidates(const Visible& v, std::int64_t i) const {
    if (parents == nullptr)
      return Candidates(v, {}, block_size);
    // Read at once, so that the load overlaps those of the visible range.
    return candidates(v, {parents + i * parent_pitch, parent_counts[i], parent_size});
  }
  HISA_FUNCTION Candidates candidates(const Visible& v, const KeptBlocks& kept) const {
    return Candidates(v, takes_all(v) ? KeptBlocks{} : kept, block_size);
  }
  HISA_FUNCTION Contest contest(const Candidates& c, const Visible& v) const {
    return block_size == 1 ? Contest::tokens(c, budget)
                           : Contest::blocks(c, v, block_size, budget, boundary);
  }
  HISA_FUNCTION bool takes_all(const Visible& v) const { return v.count() <= identity; }
  HISA_FUNCTION bool must_score(const Contest& c, const Visible& v) const {
    return scores_wanted || (!takes_all(v) && !c.decided());
  }
  /// The level's row 0 of a query, as a row of the buffer.
  HISA_FUNCTION std::int64_t origin(const Visible& v) const {
    if (block_size == 1)
      return v.anchor;
    return row_begin == nullptr ? 0 : row_begin[v.query];
  }
};

} // namespace gpu
HISA_NAMESPACE_END
