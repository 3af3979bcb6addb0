// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The default strategy: radix select over a whole row of scores.
#pragma once

#include <hisa/order_key.hpp>
#include <hisa/strategy.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>

HISA_NAMESPACE_BEGIN

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
  /// That a row's selection takes.
  HISA_FUNCTION static constexpr std::size_t scratch_bytes(std::int64_t) { return sizeof(Scratch); }

  /// Calls emit(rank, position, score) once for each of the k best of scores[0 .. n), ranks
  /// 0 .. k-1 in ascending order of position. Needs n > k >= 1; the whole team calls it. Returns
  /// the order key of the k-th. O(n).
  template <class Member, class Emit>
  KOKKOS_FUNCTION static std::uint32_t select(const Member& team, const float* scores,
                                              std::int64_t n, std::int64_t k, std::byte* scratch,
                                              const Emit& emit) {
    Scratch& shared = *reinterpret_cast<Scratch*>(scratch);
    find_threshold(team, scores, n, static_cast<std::int32_t>(k), shared);
    compact(team, scores, n, shared.prefix, shared.need, emit);
    return shared.prefix;
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

HISA_NAMESPACE_END
