// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Exact top-k of a row of scores: descending score, then ascending index; NaN last. Strategies are
/// types; RadixSelect is the default. `hisa::select` is also a building block for a team of threads
/// inside a kernel of the user's own.
#pragma once

#include <hisa/descend.hpp>
#include <hisa/order_key.hpp>

#include <Kokkos_Core.hpp>

#include <concepts>
#include <cstddef>
#include <type_traits>

HISA_NAMESPACE_BEGIN

/// What a top-k strategy provides (`select` is checked where it is called, since it is a template
/// over the team): its name and the scratch bytes that one row needs, at 16-byte alignment.
template <class Strategy>
concept SelectStrategy = requires {
  { Strategy::name } -> std::convertible_to<const char*>;
  { Strategy::scratch_bytes } -> std::convertible_to<std::size_t>;
};

/// Radix select on the order key, a digit of 8 bits at a time: a histogram of the digit over the
/// scores that share the threshold's leading digits, then the bin that holds the k-th of them.
/// Every score is read once a digit and once for the ordered compaction, so the time does not
/// depend on how the scores are distributed, and no capacity bounds correctness.
struct RadixSelect {
  static constexpr const char* name = "radix"; ///< in tables and messages
  static constexpr int digit_bits = 8;         ///< of the key, in one round
  static constexpr int bins = 1 << digit_bits; ///< of the histogram

private:
  /// What the team agrees on after each digit.
  struct Scratch {
    std::int32_t histogram[bins];
    std::uint32_t prefix; ///< leading digits of the threshold's key
    std::int32_t need;    ///< scores still to be taken among those that share the prefix
  };

public:
  static constexpr std::size_t scratch_bytes = sizeof(Scratch); ///< that a row's selection takes

  /// Calls emit(rank, position, score) once for each of the `k` best of `scores[0 .. n)`, ranks
  /// 0 .. k-1 in ascending order of position. Needs n > k >= 1; the whole team calls it. O(n).
  template <class Member, class Emit>
  KOKKOS_FUNCTION static void select(const Member& team, const float* scores, std::int64_t n,
                                     std::int64_t k, std::byte* scratch, const Emit& emit) {
    Scratch& shared = *reinterpret_cast<Scratch*>(scratch);
    find_threshold(team, scores, n, static_cast<std::int32_t>(k), shared);
    compact(team, scores, n, shared.prefix, shared.need, emit);
  }

private:
  /// Leaves the k-th score's key in `prefix` and in `need` how many of its equals are among the k.
  template <class Member>
  KOKKOS_FUNCTION static void find_threshold(const Member& team, const float* scores,
                                             std::int64_t n, std::int32_t k, Scratch& shared) {
    Kokkos::single(Kokkos::PerTeam(team), [&] {
      shared.prefix = 0;
      shared.need = k;
    });
    for (int shift = 32 - digit_bits; shift >= 0; shift -= digit_bits) {
      Kokkos::parallel_for(Kokkos::TeamThreadRange(team, bins),
                           [&](int bin) { shared.histogram[bin] = 0; });
      team.team_barrier();
      count_digit(team, scores, n, shift, shared);
      team.team_barrier();
      Kokkos::single(Kokkos::PerTeam(team), [&] { choose_bin(shift, shared); });
      team.team_barrier();
    }
  }

  template <class Member>
  KOKKOS_FUNCTION static void count_digit(const Member& team, const float* scores, std::int64_t n,
                                          int shift, Scratch& shared) {
    std::uint32_t const prefix = shared.prefix;
    // Bits above the digit; none of them in the first round, where a shift by 32 would be
    // undefined.
    std::uint32_t const mask = shift + digit_bits == 32 ? 0u : ~0u << (shift + digit_bits);
    bool const alone = team.team_size() == 1;
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, n), [&](std::int64_t i) {
      std::uint32_t const key = order_key(scores[i]);
      if ((key & mask) != prefix)
        return;
      std::int32_t& count = shared.histogram[(key >> shift) & (bins - 1)];
      if (alone)
        ++count;
      else
        Kokkos::atomic_inc(&count);
    });
  }

  KOKKOS_FUNCTION static void choose_bin(int shift, Scratch& shared) {
    int bin = bins - 1;
    while (shared.histogram[bin] < shared.need)
      shared.need -= shared.histogram[bin--];
    shared.prefix |= static_cast<std::uint32_t>(bin) << shift;
  }

  /// Emits what is above the threshold and the first `ties` of what equals it, in order. The scan
  /// carries two counts: scores above the threshold in the high half, equals in the low half.
  template <class Member, class Emit>
  KOKKOS_FUNCTION static void compact(const Member& team, const float* scores, std::int64_t n,
                                      std::uint32_t threshold, std::int32_t ties,
                                      const Emit& emit) {
    Kokkos::parallel_scan(Kokkos::TeamThreadRange(team, n),
                          [&](std::int64_t i, std::int64_t& seen, bool final) {
                            std::uint32_t const key = order_key(scores[i]);
                            if (key < threshold)
                              return;
                            std::int64_t const equals = seen & 0xffffffff;
                            bool const above = key > threshold;
                            if (final && (above || equals < ties))
                              emit((seen >> 32) + (equals < ties ? equals : ties), i, scores[i]);
                            seen += above ? std::int64_t(1) << 32 : 1;
                          });
  }
};

/// Team-level top-k: calls emit(rank, position, score) for each of the min(k, n) best of the
/// scores, ranks in ascending order of position, each from whichever thread found it. Every thread
/// of the team calls it; `scratch` is team-shared memory of Strategy::scratch_bytes, 16-byte
/// aligned. The scores must be visible to the team (a team_barrier after writing them), and what
/// `emit` writes needs another before other threads read it. O(n).
template <SelectStrategy Strategy = RadixSelect, class Member, class Emit>
KOKKOS_FUNCTION void select(const Member& team, const float* scores, std::int64_t n, std::int64_t k,
                            std::byte* scratch, const Emit& emit) {
  if (n > k && k > 0)
    Strategy::select(team, scores, n, k, scratch, emit);
  else if (k > 0)
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, n),
                         [&](std::int64_t i) { emit(i, i, scores[i]); });
}

namespace detail {

/// A strategy's scratch bytes, rounded up so that the rows of a workspace stay aligned.
template <SelectStrategy Strategy>
inline constexpr std::size_t padded_scratch = (Strategy::scratch_bytes + 15) / 16 * 16;

/// A strategy's scratch from the team's level-0 scratch memory.
template <SelectStrategy Strategy, class Member>
KOKKOS_FUNCTION std::byte* team_scratch(const Member& team) {
  constexpr std::size_t bytes = padded_scratch<Strategy>, alignment = 16;
  return static_cast<std::byte*>(team.team_scratch(0).get_shmem_aligned(bytes, alignment));
}

} // namespace detail

/// Bytes of level-0 team scratch that one call of `select` into a View takes; a kernel asks for
/// them with set_scratch_size, once for each such call that it makes.
template <SelectStrategy Strategy = RadixSelect>
constexpr std::size_t select_scratch_bytes() {
  return detail::padded_scratch<Strategy> + 16;
}

/// The same into a rank-1 View of integers of extent k: ascending positions, -1 beyond the count.
/// Scratch comes from the team's level-0 scratch memory, select_scratch_bytes() of it. Needs a
/// team_barrier before other threads read `out`. O(n).
template <SelectStrategy Strategy = RadixSelect, class Member, class Scores, class Out>
KOKKOS_FUNCTION void select(const Member& team, const Scores& scores, std::int64_t k,
                            const Out& out) {
  static_assert(Scores::rank() == 1 && Out::rank() == 1 &&
                    !std::is_same_v<typename Scores::array_layout, Kokkos::LayoutStride>,
                "hisa::select: scores are a rank-1 View whose elements are neighbours");
  std::byte* const scratch = detail::team_scratch<Strategy>(team);
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

/// Chooses among the candidates of a descent: team i, query i.
/// @tparam Out  KeepBlocks or KeepTokens
template <SelectStrategy Strategy, class DescentType, class Out>
struct SelectCandidates {
  DescentType descent;
  ScoreRowsOut scores;
  Out out;
  std::byte* host_scratch = nullptr; ///< [queries, padded_scratch]; null: the team's scratch

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    std::int64_t const i = team.league_rank();
    Visible const visible = descent.visible(i);
    Candidates const candidates = descent.candidates(visible, i);
    Contest const contest = descent.contest(candidates, visible);
    float const* const row = scores.values + i * scores.pitch;
    bool const scored = descent.must_score(contest, visible);
    auto const put = [&](std::int64_t rank, std::int64_t position, float score) {
      out.put(visible, i, rank, candidates.row(position), score);
    };

    // 1. The contest, its ranks behind a first block that is kept without one.
    auto const emit = [&](std::int64_t rank, std::int64_t position, float score) {
      put(rank + contest.takes_first, position + contest.first, score);
    };
    if (scored)
      select<Strategy>(team, row + contest.first, contest.size(), contest.need, scratch(team, i),
                       emit);
    else
      Kokkos::parallel_for(Kokkos::TeamThreadRange(team, contest.winners()),
                           [&](std::int64_t p) { emit(p, p, 0.0f); });

    // 2. The boundary blocks, the count and the padding.
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
  template <class Member>
  KOKKOS_FUNCTION std::byte* scratch(const Member& team, std::int64_t i) const {
    if (host_scratch != nullptr)
      return host_scratch + static_cast<std::size_t>(i) * padded_scratch<Strategy>;
    return team_scratch<Strategy>(team);
  }
};

} // namespace detail
HISA_NAMESPACE_END
