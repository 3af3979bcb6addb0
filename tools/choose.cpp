// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "choose.hpp"

#include <hisa/order_key.hpp>

#include <algorithm>
#include <functional>

namespace hisa::tools {

namespace {

/// The rows that a level keeps, ascending.
/// @param score  score(row)
template <class Score>
std::vector<std::int32_t> keep(const Candidates& candidates, const Contest& contest,
                               const Score& score) {
  std::vector<std::int32_t> kept;
  kept.reserve(std::size_t(contest.kept()));
  auto const row = [&](std::int64_t position) {
    return static_cast<std::int32_t>(candidates.row(position));
  };
  if (contest.takes_first)
    kept.push_back(row(0));
  if (contest.decided()) {
    for (std::int64_t p = contest.first; p < contest.first + contest.winners(); ++p)
      kept.push_back(row(p));
  } else {
    std::vector<std::uint32_t> keys, sorted;
    for (std::int64_t p = contest.first; p < contest.end; ++p)
      keys.push_back(order_key(score(candidates.row(p))));
    sorted = keys;
    auto const last = sorted.begin() + (contest.need - 1);
    std::nth_element(sorted.begin(), last, sorted.end(), std::greater<>());
    std::uint32_t const threshold = *last;
    std::int64_t ties = 1 + std::count(sorted.begin(), last, threshold);
    for (std::int64_t i = 0; i < contest.size(); ++i) {
      std::uint32_t const key = keys[std::size_t(i)];
      if (key > threshold || (key == threshold && ties-- > 0))
        kept.push_back(row(contest.first + i));
    }
  }
  if (contest.takes_last)
    kept.push_back(row(candidates.count - 1));
  return kept;
}

} // namespace

Choice choose(const Visible& visible, const std::vector<LevelScores>& levels, const float* tokens,
              int topk) {
  Choice choice;
  KeptBlocks kept;
  if (visible.count() > topk) // else the identity
    for (const LevelScores& level : levels) {
      std::int64_t const size = level.block_size;
      Candidates const candidates(visible, kept, size);
      Contest const contest =
          Contest::blocks(candidates, visible, size, level.keep, Boundary::counted);
      auto const& blocks =
          choice.blocks.emplace_back(keep(candidates, contest, [&](std::int64_t b) {
            return visible.covers(b, size) ? level.scores[b] : minus_infinity;
          }));
      kept = {blocks.data(), std::int64_t(blocks.size()), size};
    }
  Candidates const candidates(visible, kept, 1);
  choice.tokens = keep(candidates, Contest::tokens(candidates, topk),
                       [&](std::int64_t i) { return tokens[visible.anchor + i]; });
  return choice;
}

} // namespace hisa::tools
