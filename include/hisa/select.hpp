// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Exact top-k of a row of scores: descending score, then ascending index; NaN last. Strategies are
/// types (hisa/strategy.hpp); RadixSelect is the default. `hisa::select` is also a building block
/// for a team of threads inside a kernel of the user's own.
#pragma once

#include <hisa/descend.hpp>
#include <hisa/radix_select.hpp>
#include <hisa/sort_select.hpp>
#include <hisa/stream_select.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <type_traits>

HISA_NAMESPACE_BEGIN

/// Team-level top-k: calls emit(rank, position, score) for each of the min(k, n) best of the
/// scores, ranks in ascending order of position, each from whichever thread found it. Every thread
/// of the team calls it; `scratch` is memory of Strategy::scratch_bytes(k) that the team shares,
/// 16-byte aligned. The scores must be visible to the team (a team_barrier after writing them), and
/// what `emit` writes needs another before other threads read it. O(n).
template <SelectStrategy Strategy = RadixSelect, class Member, class Emit>
KOKKOS_FUNCTION void select(const Member& team, const float* scores, std::int64_t n, std::int64_t k,
                            std::byte* scratch, const Emit& emit) {
  if constexpr (StreamStrategy<Strategy>) {
    if (n > k && k > 0) {
      Strategy strategy;
      strategy.begin(team, k, scratch);
      strategy.push(team, scores, n, 0);
      strategy.finish(team, emit);
      return;
    }
  } else if (n > k && k > 0) {
    Strategy::select(team, scores, n, k, scratch, emit);
    return;
  }
  if (k > 0)
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, n),
                         [&](std::int64_t i) { emit(i, i, scores[i]); });
}

namespace detail {

/// A strategy's scratch bytes, rounded up so that the rows of a workspace stay aligned.
template <SelectStrategy Strategy>
HISA_FUNCTION constexpr std::size_t padded_scratch(std::int64_t k) {
  return (static_cast<std::size_t>(Strategy::scratch_bytes(k)) + 15) / 16 * 16;
}

/// A strategy's scratch from the team's level-0 scratch memory.
template <SelectStrategy Strategy, class Member>
KOKKOS_FUNCTION std::byte* team_scratch(const Member& team, std::int64_t k) {
  constexpr std::size_t alignment = 16;
  return static_cast<std::byte*>(
      team.team_scratch(0).get_shmem_aligned(padded_scratch<Strategy>(k), alignment));
}

} // namespace detail

/// Bytes of level-0 team scratch that one call of `select` into a View of extent `k` takes; a
/// kernel asks for them with set_scratch_size, once for each such call that it makes.
template <SelectStrategy Strategy = RadixSelect>
constexpr std::size_t select_scratch_bytes(std::int64_t k) {
  return detail::padded_scratch<Strategy>(k) + 16;
}

/// The same into a rank-1 View of integers of extent k: ascending positions, -1 beyond the count.
/// Scratch comes from the team's level-0 scratch memory, select_scratch_bytes(k) of it. Needs a
/// team_barrier before other threads read `out`. O(n).
template <SelectStrategy Strategy = RadixSelect, class Member, class Scores, class Out>
KOKKOS_FUNCTION void select(const Member& team, const Scores& scores, std::int64_t k,
                            const Out& out) {
  static_assert(Scores::rank() == 1 && Out::rank() == 1 &&
                    !std::is_same_v<typename Scores::array_layout, Kokkos::LayoutStride>,
                "hisa::select: scores are a rank-1 View whose elements are neighbours");
  std::byte* const scratch = detail::team_scratch<Strategy>(team, k);
  std::int64_t const n = static_cast<std::int64_t>(scores.extent(0));
  select<Strategy>(team, scores.data(), n, k, scratch,
                   [&](std::int64_t rank, std::int64_t position, float) {
                     out(rank) = static_cast<typename Out::value_type>(position);
                   });
  if (n < k)
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, k - n),
                         [&](std::int64_t i) { out(n + i) = -1; });
}

namespace detail {

/// What the group's i-th query has to choose, and where its choice goes.
/// @tparam Out  KeepBlocks or KeepTokens
template <class DescentType, class Out>
struct QueryChoice {
  Visible visible;
  Candidates candidates;
  Contest contest;
  bool scored; ///< the contest is decided by scores
  const Out& out;
  std::int64_t i;

  KOKKOS_FUNCTION QueryChoice(const DescentType& descent, const Out& to, std::int64_t query)
      : visible(descent.visible(query)), candidates(descent.candidates(visible, query)),
        contest(descent.contest(candidates, visible)), scored(descent.must_score(contest, visible)),
        out(to), i(query) {}

  /// A winner of the contest: its rank and its position there. The ranks stand behind a first block
  /// that is kept without one.
  KOKKOS_FUNCTION void take(std::int64_t rank, std::int64_t position, float score) const {
    put(rank + contest.takes_first, position + contest.first, score);
  }

  /// Everybody wins a contest without scores.
  template <class Member>
  KOKKOS_FUNCTION void take_all(const Member& team) const {
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, contest.winners()),
                         [&](std::int64_t p) { take(p, p, 0.0f); });
  }

  /// The boundary blocks, the count and the padding.
  template <class Member>
  KOKKOS_FUNCTION void finish(const Member& team) const {
    std::int64_t const count = contest.kept();
    Kokkos::single(Kokkos::PerTeam(team), [&] {
      if (contest.takes_first)
        put(0, 0, 0.0f);
      if (contest.takes_last)
        put(count - 1, candidates.count - 1, 0.0f);
      out.finish(i, count);
    });
    if (out.padded() > count)
      Kokkos::parallel_for(Kokkos::TeamThreadRange(team, out.padded() - count),
                           [&](std::int64_t r) { out.pad(i, count + r); });
  }

private:
  KOKKOS_FUNCTION void put(std::int64_t rank, std::int64_t position, float score) const {
    out.put(visible, i, rank, candidates.row(position), score);
  }
};

/// Chooses among the candidates of a descent by a row of scores: team i, query i.
template <SelectStrategy Strategy, class DescentType, class Out>
struct SelectCandidates {
  DescentType descent;
  ScoreRowsOut scores;
  Out out;
  StrategyScratch host_scratch; ///< a row's each; without memory: the team's scratch is used

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    std::int64_t const i = team.league_rank();
    QueryChoice<DescentType, Out> const choice(descent, out, i);
    Contest const& contest = choice.contest;
    if (choice.scored)
      select<Strategy>(team, scores.values + i * scores.pitch + contest.first, contest.size(),
                       contest.need, scratch(team, i),
                       [&](std::int64_t rank, std::int64_t position, float score) {
                         choice.take(rank, position, score);
                       });
    else
      choice.take_all(team);
    choice.finish(team);
  }

private:
  template <class Member>
  KOKKOS_FUNCTION std::byte* scratch(const Member& team, std::int64_t i) const {
    return host_scratch.memory != nullptr ? host_scratch.of(i)
                                          : team_scratch<Strategy>(team, descent.budget);
  }
};

} // namespace detail
HISA_NAMESPACE_END
