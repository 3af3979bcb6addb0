// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What device code that CUDA and HIP share may ask of the threads that run it: a *group* of lanes
/// with shared memory, and *waves* of lanes inside it that vote and shuffle. There is one
/// implementation per machine and one for the host (lockstep.hpp), which runs a fiber per lane and
/// reports lanes that touch one shared word between two barriers.
#pragma once

#include <hisa/config.hpp>

#include <concepts>
#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// A group of lanes. Every operation but load, store and add is collective: all lanes of the group
/// (barrier) or of the wave (shuffle_up) call it.
template <class G>
concept Group = requires(const G& g, int* word, int value, std::uint64_t wide) {
  { G::wave } -> std::convertible_to<int>;    // lanes of a wave
  { g.lane() } -> std::same_as<int>;          // 0 .. size() - 1
  { g.size() } -> std::same_as<int>;          // a multiple of the wave
  g.barrier();                                // orders shared memory among the group's lanes
  { g.shuffle_up(wide, value) } -> std::same_as<std::uint64_t>; // of lane - value, if in the wave
  { g.load(word) } -> std::same_as<int>;      // from shared memory
  g.store(word, value);                       // to shared memory
  g.add(word, value);                         // to shared memory, atomic
};

/// The most waves that a group may have.
inline constexpr int max_waves = 32;

/// What a scan of a group needs of shared memory. Two halves in turn, so that one barrier a scan is
/// enough: a half is written again only after the barrier of the scan between.
struct ScanStorage {
  std::uint64_t totals[2][max_waves];
};

struct Scanned {
  std::uint64_t before; ///< sum over the lanes before this one
  std::uint64_t total;  ///< sum over the group
};

/// Sum of `value` over the lanes before this one. The caller alternates `half` between 0 and 1 from
/// one scan to the next. One barrier.
template <Group G>
HISA_FUNCTION Scanned exclusive_scan(const G& g, std::uint64_t value, ScanStorage& storage,
                                     int half) {
  int const in_wave = g.lane() % G::wave, wave = g.lane() / G::wave;
  std::uint64_t inclusive = value;
  for (int step = 1; step < G::wave; step *= 2) {
    std::uint64_t const other = g.shuffle_up(inclusive, step);
    inclusive += in_wave >= step ? other : 0;
  }
  if (in_wave == G::wave - 1)
    g.store(&storage.totals[half][wave], inclusive);
  g.barrier();
  Scanned result{inclusive - value, 0};
  for (int w = 0; w < g.size() / G::wave; ++w) {
    std::uint64_t const total = g.load(&storage.totals[half][w]);
    result.before += w < wave ? total : 0;
    result.total += total;
  }
  return result;
}

} // namespace gpu
HISA_NAMESPACE_END
