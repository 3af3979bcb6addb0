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

/// Before a loop whose array indices must become constants in device code.
#if defined(__CUDA_ARCH__) || defined(__clang__)
#define HISA_UNROLL _Pragma("unroll")
#else
#define HISA_UNROLL
#endif

HISA_NAMESPACE_BEGIN
namespace gpu {

/// A group of lanes. Every operation but load, store, count and merge is collective: all lanes of
/// the group (barrier) or of the wave (shuffles) call it.
template <class G>
concept Group = requires(const G& g, std::uint32_t* word, int value, std::uint64_t wide) {
  { G::wave } -> std::convertible_to<int>; // lanes of a wave
  { g.lane() } -> std::same_as<int>;       // 0 .. size() - 1
  { g.size() } -> std::same_as<int>;       // a multiple of the wave
  g.barrier();                             // orders shared memory among the group's lanes
  { g.shuffle_up(wide, value) } -> std::same_as<std::uint64_t>; // of lane - value, if in the wave
  { g.shuffle(wide, value) } -> std::same_as<std::uint64_t>;    // of the wave's lane `value`
  { g.load(word) } -> std::same_as<std::uint32_t>;              // from shared memory
  g.store(word, 1u);                                            // to shared memory
  g.count(word, true); // adds 1 to shared memory if the condition holds, atomic
  g.merge(word, 1u);   // sets bits in shared memory, atomic
};

/// Groups that share a row, one of the row's slices each. `at` is where an object of one's own
/// shared memory lies in that of another group; the barrier is collective over all their lanes and
/// orders all their shared memory.
template <class C>
concept Cluster = requires(const C& c, std::uint32_t* word, int rank) {
  { c.rank() } -> std::same_as<int>;  // 0 .. ranks() - 1
  { c.ranks() } -> std::same_as<int>; // the same for all
  { c.at(word, rank) } -> std::same_as<std::uint32_t*>;
  c.barrier();
};

/// A group that has its row for itself.
struct Alone {
  HISA_FUNCTION static constexpr int rank() { return 0; }
  HISA_FUNCTION static constexpr int ranks() { return 1; }
  HISA_FUNCTION static constexpr void barrier() {}
  template <class T>
  HISA_FUNCTION static T* at(T* object, int) {
    return object;
  }
};

/// The most waves that a group may have.
inline constexpr int max_waves = 32;

/// What a scan of a group needs of shared memory. Two halves in turn, so that one barrier a scan is
/// enough: a half is written again only after the barrier of the scan between.
struct ScanStorage {
  std::uint64_t totals[2][max_waves];
};

template <class T>
struct Scanned {
  T before; ///< sum over the lanes before this one
  T total;  ///< sum over the group
};

/// Sum of `value` over this lane and those before it in the first `lanes` of the wave.
template <Group G, class T>
HISA_FUNCTION T wave_scan(const G& g, T value, int lanes) {
  int const lane = g.lane() % G::wave;
  for (int step = 1; step < lanes; step *= 2) {
    T const other = g.shuffle_up(value, step);
    value += lane >= step ? other : T(0);
  }
  return value;
}

/// Sum of `value` over the lanes before this one. The caller alternates `half` between 0 and 1 from
/// one scan to the next. One barrier.
/// @tparam T  std::uint32_t or std::uint64_t
template <Group G, class T>
HISA_FUNCTION Scanned<T> exclusive_scan(const G& g, T value, ScanStorage& storage, int half) {
  int const lane = g.lane() % G::wave, wave = g.lane() / G::wave, waves = g.size() / G::wave;
  T const inclusive = wave_scan(g, value, G::wave);
  if (waves == 1) {
    g.barrier(); // callers rely on it
    return {inclusive - value, g.shuffle(inclusive, G::wave - 1)};
  }
  if (lane == G::wave - 1)
    g.store(&storage.totals[half][wave], std::uint64_t(inclusive));
  g.barrier();
  T const mine = lane < waves ? static_cast<T>(g.load(&storage.totals[half][lane])) : T(0);
  T const up_to = wave_scan(g, mine, waves);
  T const before = g.shuffle(up_to, wave > 0 ? wave - 1 : 0);
  return {inclusive - value + (wave > 0 ? before : T(0)), g.shuffle(up_to, waves - 1)};
}

} // namespace gpu
HISA_NAMESPACE_END
