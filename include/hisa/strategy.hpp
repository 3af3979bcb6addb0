// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What a top-k strategy is. Every strategy gives the same result, that of reference::select; they
/// differ in time and memory. The library's own are in hisa/radix_select.hpp, hisa/sort_select.hpp
/// and hisa/stream_select.hpp.
#pragma once

#include <hisa/config.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>

HISA_NAMESPACE_BEGIN

/// What every strategy says of itself: its name, and the scratch bytes, at 16-byte alignment, that
/// choosing the `k` best of a row takes; more for a larger k, if anything.
///
/// A strategy works either on whole rows or on streams. One for whole rows has
///
///     template <class Member, class Emit>
///     KOKKOS_FUNCTION static void select(const Member& team, const float* scores, std::int64_t n,
///                                        std::int64_t k, std::byte* scratch, const Emit& emit);
///
/// which every thread of the team calls and which calls emit(rank, position, score) once for each
/// of the k best of scores[0 .. n), n > k >= 1, ranks 0 .. k-1 in ascending order of position.
template <class Strategy>
concept SelectStrategy = requires(std::int64_t k) {
  { Strategy::name } -> std::convertible_to<const char*>;
  { Strategy::scratch_bytes(k) } -> std::convertible_to<std::size_t>;
};

/// A strategy that is told the scores piece by piece, so that nobody stores a row of them. Its
/// objects are cheap to copy; each thread of a team holds one, and all of them make the same calls:
///
///     begin(team, k, scratch);         // k >= 1
///     push(team, scores, n, first);    // any number of pieces, in ascending order of position:
///                                      // n scores, of the positions first, first + 1 ..
///     finish(team, emit);              // emit as above; all of them where k or fewer were pushed
///
/// The scores of a piece must be visible to the team, and may change once push has returned to
/// every thread of it. `piece` is how many scores it likes to be told at once.
template <class Strategy>
concept StreamStrategy =
    SelectStrategy<Strategy> && std::default_initializable<Strategy> && requires {
  { Strategy::piece } -> std::convertible_to<std::int64_t>;
};

HISA_NAMESPACE_END
