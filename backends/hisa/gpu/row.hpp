// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A row of scores, as the selections read it.
#pragma once

#include <hisa/gpu/radix.hpp>

#include <concepts>
#include <cstdint>
#include <limits>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Four scores at neighbouring positions.
struct alignas(16) Scores {
  float v[4];
};

/// Stands for a score where there is no candidate.
inline constexpr float no_score = std::numeric_limits<float>::quiet_NaN();

/// A row of scores as a lane reads it: the positions [first, end) are candidates. Positions that
/// are asked for are multiples of 4 and may lie up to 2^16 behind the end.
template <class R>
concept ScoreRow = requires(R& row, std::uint32_t at, const Scores& scores) {
  { row.first } -> std::same_as<std::uint32_t&>;
  { row.end } -> std::same_as<std::uint32_t&>;
  { row.plain(at, at) } -> std::same_as<bool>;    // [at, at + count) are candidates as memory says
  { row.scores(at) } -> std::same_as<Scores>;     // of four plain ones
  { row.keys(at, scores) } -> std::same_as<Four>; // of any four; `scores` matter if they are plain
  // As `keys`; no_score for what is no candidate, and perhaps for what counts -inf.
  { row.masked(at, scores) } -> std::same_as<Scores>;
  { row.key(at) } -> std::same_as<std::uint32_t>; // of one candidate
};

/// The same, where four plain scores are neighbours in memory.
template <class R>
concept StoredScoreRow = ScoreRow<R> && requires(R& row, std::uint32_t at) {
  { row.address(at) } -> std::same_as<const Words*>; // of four plain ones
};

/// The keys of four positions.
template <ScoreRow Row>
HISA_FUNCTION Four keys_at(const Row& row, std::uint32_t at) {
  Scores scores;
  if (row.plain(at, 4))
    scores = row.scores(at);
  return row.keys(at, scores);
}

} // namespace gpu
HISA_NAMESPACE_END
