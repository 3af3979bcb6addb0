// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A descent without a row of scores: teams score a piece of a query's candidates and tell it to a
/// streaming strategy at once.
#pragma once

#include <hisa/launch.hpp>
#include <hisa/score_heads.hpp>
#include <hisa/select.hpp>
#include <hisa/workspace.hpp>

#include <Kokkos_Core.hpp>

#include <algorithm>

HISA_NAMESPACE_BEGIN
namespace detail {
inline namespace HISA_HOST_ISA {

/// The part [first, end) of a contest's positions that one of several teams scores.
struct Share {
  std::int64_t first, end;

  KOKKOS_FUNCTION Share(const Contest& contest, std::int64_t split, int splits)
      : first(contest.size() * split / splits), end(contest.size() * (split + 1) / splits) {}
  /// How many of them stay in the running.
  KOKKOS_FUNCTION std::int64_t kept(const Contest& contest) const {
    return end - first < contest.winners() ? end - first : contest.winners();
  }
};

/// Scores and chooses: `splits` teams share a query. One alone finishes its query; several leave
/// the best of their shares in their slots, to MergeShares.
template <ScorePolicy P, StreamStrategy Strategy, class DescentType, class Out>
struct StreamCandidates {
  ScoreCandidates<P, DescentType, typename TileOf<P, DescentType>::type>
      scorer; ///< writes no rows here
  Out out;
  StrategyScratch scratch;
  StreamSlots slots;

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    std::int64_t const slot = team.league_rank();
    int const splits = scorer.splits;
    QueryChoice<DescentType, Out> const choice(scorer.descent, out, slot / splits);
    if (choice.scored) {
      Share const share(choice.contest, slot % splits, splits);
      Strategy strategy;
      strategy.begin(team, choice.contest.winners(), scratch.of(slot));
      push_all(team, choice, share, slots.pieces + slot * slots.piece, strategy);
      strategy.finish(team, [&](std::int64_t rank, std::int64_t position, float score) {
        if (splits == 1) {
          choice.take(rank, position, score);
        } else {
          slots.best_scores[slot * slots.kept + rank] = score;
          slots.positions[slot * slots.kept + rank] = static_cast<std::int32_t>(position);
        }
      });
    } else if (splits == 1) {
      choice.take_all(team);
    }
    if (splits == 1)
      choice.finish(team);
  }

private:
  template <class Member>
  KOKKOS_FUNCTION void push_all(const Member& team, const QueryChoice<DescentType, Out>& choice,
                                const Share& share, float* scores, Strategy& strategy) const {
    for (std::int64_t first = share.first; first < share.end; first += slots.piece) {
      std::int64_t const n = share.end - first < slots.piece ? share.end - first : slots.piece;
      std::int64_t const begin = choice.contest.first + first;
      Kokkos::parallel_for(
          Kokkos::TeamThreadRange(team, (n + P.keys - 1) / P.keys), [&](std::int64_t tile) {
            scorer.score_tile(choice.visible, choice.candidates, choice.i, begin + tile * P.keys,
                              begin + n, scores + tile * P.keys);
          });
      team.team_barrier();
      strategy.push(team, scores, n, first);
      team.team_barrier();
    }
  }
};

/// Chooses among what the shares of a query left: team i, query i. A position of the stream counts
/// through the slots, which ascend as the positions of the contest do.
template <StreamStrategy Strategy, class DescentType, class Out>
struct MergeShares {
  DescentType descent;
  Out out;
  StrategyScratch scratch;
  StreamSlots slots;
  int splits = 1;

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    std::int64_t const i = team.league_rank();
    QueryChoice<DescentType, Out> const choice(descent, out, i);
    if (choice.scored) {
      std::int64_t const first_slot = i * splits;
      Strategy strategy;
      strategy.begin(team, choice.contest.winners(), scratch.of(first_slot));
      for (int s = 0; s < splits; ++s)
        strategy.push(team, slots.best_scores + (first_slot + s) * slots.kept,
                      Share(choice.contest, s, splits).kept(choice.contest), s * slots.kept);
      std::int32_t const* const positions = slots.positions + first_slot * slots.kept;
      strategy.finish(team, [&](std::int64_t rank, std::int64_t position, float score) {
        choice.take(rank, positions[position], score);
      });
    } else {
      choice.take_all(team);
    }
    choice.finish(team);
  }
};

/// Scores that a streaming kernel passes on at once: whole tiles.
template <StreamStrategy Strategy, class Exec>
constexpr std::int64_t stream_piece() {
  constexpr std::int64_t tile = portable_policy<Exec>().score.keys;
  return std::max<std::int64_t>(Strategy::piece / tile, 1) * tile;
}

/// One level of a streaming plan.
template <StreamStrategy Strategy, class Exec, class DescentType, class Out>
void stream(const Exec& exec, const DescentType& descent, const Out& out,
            const GroupWorkspace& workspace) {
  constexpr ScorePolicy policy = portable_policy<Exec>().score;
  std::int64_t const queries = descent.group.count;
  prepare_queries(exec, descent.group, workspace.prepared);
  // A share much smaller than the budget would only be copied.
  std::int64_t const useful = std::max<std::int64_t>(descent.capacity / (2 * descent.budget), 1);
  int const splits =
      static_cast<int>(std::min({std::int64_t(splits_for(exec, queries, descent.capacity)),
                                 workspace.stream.count / queries, useful}));
  Kokkos::parallel_for("hisa::stream", team_policy(exec, queries * splits),
                       StreamCandidates<policy, Strategy, DescentType, Out>{
                           {descent, workspace.prepared, {}, splits},
                           out,
                           workspace.strategy_scratch,
                           workspace.stream});
  if (splits > 1)
    Kokkos::parallel_for("hisa::stream::merge", team_policy(exec, queries),
                         MergeShares<Strategy, DescentType, Out>{
                             descent, out, workspace.strategy_scratch, workspace.stream, splits});
}

} // namespace HISA_HOST_ISA
} // namespace detail
HISA_NAMESPACE_END
