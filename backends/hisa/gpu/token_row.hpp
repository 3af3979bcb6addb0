// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A query's row of the caller's selection: what its tokens are chosen by, where they go and from
/// what key on they are counted.
#pragma once

#include <hisa/gpu/choice.hpp>
#include <hisa/shape.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// What a query's tokens are chosen by, and where they go.
struct TokenRow {
  ChoiceRow row;
  ChosenRows out = {nullptr};

  HISA_FUNCTION TokenRow() {}
  /// @param i  the query, counted from the level's first
  HISA_FUNCTION TokenRow(const Level& level, const ScoreRows& scores, const Selection& selection,
                         IndexBase base, std::int64_t i) {
    Visible const v = level.visible(i);
    row = ChoiceRow(level, v, scores, i);
    std::int64_t const at = (level.first + i) * level.budget;
    out.rows = selection.indices + at;
    out.scores = selection.scores == nullptr ? nullptr : selection.scores + at;
    out.shift = static_cast<std::int32_t>(v.anchor - (base == IndexBase::relative ? v.begin : 0));
  }
};

/// What is left of an output row behind its winners, and their count.
template <Group G>
HISA_FUNCTION void end_row(const G& g, const Selection& out, std::int64_t row, std::int64_t topk,
                           std::int32_t winners) {
  for (std::int64_t rank = winners + g.lane(); rank < topk; rank += g.size()) {
    out.indices[row * topk + rank] = -1;
    if (out.scores != nullptr)
      out.scores[row * topk + rank] = minus_infinity;
  }
  if (g.lane() == 0 && out.counts != nullptr)
    out.counts[row] = winners;
}

} // namespace gpu
HISA_NAMESPACE_END
