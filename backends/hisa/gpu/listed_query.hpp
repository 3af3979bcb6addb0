// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What a query that kept some blocks of a level has scored on the level below.
#pragma once

#include <hisa/gpu/level.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// A query's blocks as the source of its candidates on the next level.
struct ListedQuery {
  const std::int32_t* blocks = nullptr; ///< null: all from `first`
  std::int32_t first = 0;
  std::int32_t count = 0;  ///< 0 where nothing has to be scored
  std::int32_t origin = 0; ///< the next level's row 0 in its buffer
  std::int32_t skip = 0;   ///< rows of the first block that come before position 0
  std::int32_t limit = 0;  ///< candidates

  HISA_FUNCTION std::int32_t block(std::int32_t i) const {
    return blocks == nullptr ? first + i : blocks[i];
  }
};

/// A query that kept some blocks of the level above.
/// @param next  the level below, whose candidates come from what is kept
HISA_FUNCTION inline ListedQuery listed_query(const Level& next, const Visible& v,
                                              const KeptBlocks& kept) {
  ListedQuery q;
  Candidates const c = next.candidates(v, kept);
  if (!next.must_score(next.contest(c, v), v))
    return q;
  q.origin = static_cast<std::int32_t>(next.origin(v));
  q.skip = static_cast<std::int32_t>(c.skip);
  q.limit = static_cast<std::int32_t>(c.count);
  if (next.takes_all(v)) {
    auto const ratio =
        static_cast<std::int32_t>(detail::quotient(kept.block_size, next.block_size));
    q.first = static_cast<std::int32_t>(v.first_row(kept.block_size));
    q.count = static_cast<std::int32_t>(v.end_row(kept.block_size)) - q.first;
    q.skip -= q.first * ratio;
  } else {
    q.blocks = kept.blocks;
    q.count = static_cast<std::int32_t>(kept.count);
  }
  return q;
}

} // namespace gpu
HISA_NAMESPACE_END
