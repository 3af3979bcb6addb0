// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A strategy for short rows: sort them.
#pragma once

#include <hisa/radix_select.hpp>

HISA_NAMESPACE_BEGIN

/// Sorts rows of up to `longest` scores and gives longer ones to RadixSelect. A bitonic sort of the
/// row's order keys, each with its position below it, so that no two are equal; the k-th of them
/// parts the row. It needs neither histogram nor atomics, which pays where a team shares a row so
/// short that a histogram would be mostly empty; a CPU thread alone is as fast with RadixSelect.
struct SortSelect {
  static constexpr const char* name = "sort";  ///< in tables and messages
  static constexpr std::int64_t longest = 256; ///< scores that are sorted; a power of two

  /// That a row's selection takes.
  HISA_FUNCTION static constexpr std::size_t scratch_bytes(std::int64_t k) {
    std::size_t const sort = std::size_t(longest) * sizeof(std::uint64_t);
    return sort > RadixSelect::scratch_bytes(k) ? sort : RadixSelect::scratch_bytes(k);
  }

  /// As RadixSelect::select. O(n log^2 n) for n up to `longest`.
  template <class Member, class Emit>
  KOKKOS_FUNCTION static void select(const Member& team, const float* scores, std::int64_t n,
                                     std::int64_t k, std::byte* scratch, const Emit& emit) {
    if (n > longest) {
      RadixSelect::select(team, scores, n, k, scratch, emit);
      return;
    }
    auto* const sorted = reinterpret_cast<std::uint64_t*>(scratch);
    int size = 2;
    while (size < n)
      size *= 2;
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, size),
                         [&](int i) { sorted[i] = i < n ? key(scores[i], i) : 0; });
    team.team_barrier();
    sort_descending(team, sorted, size);
    std::uint64_t const kth = sorted[k - 1];
    Kokkos::parallel_scan(Kokkos::TeamThreadRange(team, static_cast<int>(n)),
                          [&](int i, int& rank, bool final) {
                            if (key(scores[i], i) < kth)
                              return;
                            if (final)
                              emit(rank, i, scores[i]);
                            ++rank;
                          });
  }

private:
  /// The larger key precedes; no score has key 0.
  HISA_FUNCTION static std::uint64_t key(float score, int position) {
    return std::uint64_t(order_key(score)) << 32 | ~static_cast<std::uint32_t>(position);
  }

  /// Bitonic: runs of `run` become sorted, in turns descending and ascending, by merging halves at
  /// ever smaller distances.
  template <class Member>
  KOKKOS_FUNCTION static void sort_descending(const Member& team, std::uint64_t* keys, int size) {
    for (int run = 2; run <= size; run *= 2)
      for (int distance = run / 2; distance > 0; distance /= 2) {
        Kokkos::parallel_for(Kokkos::TeamThreadRange(team, size / 2), [&](int pair) {
          int const i =
              pair + (pair & ~(distance - 1)); // the pair's first, half a run of pairs apart
          bool const descending = (i & run) == 0;
          std::uint64_t const a = keys[i], b = keys[i + distance];
          if ((a < b) == descending) {
            keys[i] = b;
            keys[i + distance] = a;
          }
        });
        team.team_barrier();
      }
  }
};

HISA_NAMESPACE_END
