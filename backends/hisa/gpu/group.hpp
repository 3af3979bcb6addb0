// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What device code that all GPU backends share may ask of the threads that run it: a *group* of
/// lanes with memory that they share, and *waves* of lanes inside it that vote and shuffle. There
/// is one implementation per machine and one for the host (lockstep.hpp), which runs a fiber per
/// lane and reports lanes that touch one shared word between two barriers.
#pragma once

#include <hisa/config.hpp>

#include <concepts>
#include <cstdint>

/// HISA_UNROLL: before a loop whose array indices must become constants in device code.
/// HISA_ROLLED: before one that is better short.
#if defined(__CUDA_ARCH__) || defined(__clang__)
#define HISA_UNROLL _Pragma("unroll")
#define HISA_ROLLED _Pragma("unroll 1")
#else
#define HISA_UNROLL
#define HISA_ROLLED
#endif

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Index of the lowest bit that is set.
HISA_FUNCTION inline int lowest_bit(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __ffs(static_cast<int>(bits)) - 1;
#else
  return __builtin_ctz(bits);
#endif
}

/// Four words that are loaded and stored together.
struct alignas(16) Words {
  std::uint32_t v[4];
};

/// A group of lanes. The barrier is collective over the group's lanes, shuffles, sum and max over
/// those of the wave; the others are not. Loads and stores are of any memory that the lanes share,
/// also global memory that no other group touches meanwhile; counts, tickets, additions and merges
/// of shared memory, tickets also of global memory that other groups draw from.
template <class G>
concept Group = requires(const G& g, std::uint32_t* word, int value, std::uint64_t wide,
                         Words* four) {
  { G::wave } -> std::convertible_to<int>; // lanes of a wave
  { g.lane() } -> std::same_as<int>;       // 0 .. size() - 1
  { g.size() } -> std::same_as<int>;       // a multiple of the wave
  g.barrier();                             // orders memory among the group's lanes
  { g.shuffle_up(wide, value) } -> std::same_as<std::uint64_t>; // of lane - value, if in the wave
  { g.shuffle(wide, value) } -> std::same_as<std::uint64_t>;    // of the wave's lane `value`
  { g.sum(1u) } -> std::same_as<std::uint32_t>;                 // over the wave
  { g.max(1u) } -> std::same_as<std::uint32_t>;                 // over the wave
  { g.load(word) } -> std::same_as<std::uint32_t>;
  g.store(word, 1u);
  g.count(word, true);                                 // adds 1 if the condition holds, atomic
  { g.ticket(word) } -> std::same_as<std::uint32_t>;   // adds 1, says what was there, atomic
  { g.take(word, 1u) } -> std::same_as<std::uint32_t>; // the same for any number
  g.add(word, 1u);                                     // adds, atomic
  g.merge(word, 1u);                                   // sets bits, atomic
  // Four words of global memory to shared memory, while the lane goes on. They are the lane's own
  // until a barrier behind its wait for them.
  g.copy(four, four);
  g.commit();            // ends a series of copies
  g.template await<1>(); // all series are there but the last one
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

/// Calls take(rank, value) with the value of an object in each group's shared memory, where
/// `object` is one's own. Four at a time are under way. Behind the last rank come values T{}.
template <Group G, Cluster C, class T, class Take>
HISA_FUNCTION void for_each_rank(const G& g, const C& cluster, T* object, const Take& take) {
  constexpr int batch = 4;
  for (int rank = 0; rank < cluster.ranks(); rank += batch) {
    T values[batch];
    HISA_UNROLL
    for (int i = 0; i < batch; ++i)
      values[i] = rank + i < cluster.ranks() ? g.load(cluster.at(object, rank + i)) : T{};
    HISA_UNROLL
    for (int i = 0; i < batch; ++i)
      take(rank + i, values[i]);
  }
}

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

/// Sum of `value` over this lane and those before it in the wave.
template <Group G, class T>
HISA_FUNCTION T wave_scan(const G& g, T value) {
  int const lane = g.lane() % G::wave;
  for (int step = 1; step < G::wave; step *= 2) {
    T const other = g.shuffle_up(value, step);
    value += lane >= step ? other : T(0);
  }
  return value;
}

/// Sum of `value` over the wave.
/// @tparam T  std::uint32_t; or std::uint64_t, in whose halves neither sum overflows
template <Group G, class T>
HISA_FUNCTION T wave_sum(const G& g, T value) {
  if constexpr (sizeof(T) == 4)
    return g.sum(value);
  else
    return T(g.sum(static_cast<std::uint32_t>(value >> 32))) << 32 |
           g.sum(static_cast<std::uint32_t>(value));
}

/// Sum of `value` over the lanes before this one. The caller alternates `half` between 0 and 1 from
/// one scan to the next. One barrier.
/// @tparam T  as in wave_sum
template <Group G, class T>
HISA_FUNCTION Scanned<T> exclusive_scan(const G& g, T value, ScanStorage& storage, int half) {
  int const lane = g.lane() % G::wave, wave = g.lane() / G::wave, waves = g.size() / G::wave;
  T const inclusive = wave_scan(g, value);
  if (waves == 1) {
    g.barrier(); // callers rely on it
    return {inclusive - value, g.shuffle(inclusive, G::wave - 1)};
  }
  if (lane == G::wave - 1)
    g.store(&storage.totals[half][wave], std::uint64_t(inclusive));
  g.barrier();
  T const mine = lane < waves ? static_cast<T>(g.load(&storage.totals[half][lane])) : T(0);
  T const before = wave_sum(g, lane < wave ? mine : T(0));
  return {before + inclusive - value, wave_sum(g, mine)};
}

} // namespace gpu
HISA_NAMESPACE_END
