// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The sift kernel of sm_90a: the scoring kernel (score.cuh) for flat calls without rows of scores.
/// What reaches a query's bound (sample.cuh) is listed, all else forgotten.
///
/// A consumer's thread has the scores of one row of its warpgroup's tiles, for all four queries of
/// a group, and a list of its own: nobody waits for anybody. Groups of queries that are left when
/// every CTA has had as many are divided among all CTAs.
#pragma once

#include <hisa/cuda/sample.cuh>
#include <hisa/cuda/score.cuh>
#include <hisa/gpu/contender.hpp>
#include <hisa/gpu/sift_items.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

struct SiftSizes {
  static constexpr int lanes = 384;    ///< that list contenders, each by itself
  static constexpr int capacity = 160; ///< of a lane's list
  /// A list of so many may lack some: its lane looks at its length once a tile.
  static constexpr int full = capacity - 2 * group_queries;
};

/// What the contenders of a query have to reach.
struct alignas(8) SiftTarget {
  float bound;
  std::int32_t item; ///< in SiftItems

  static constexpr std::int64_t max_keys = (std::int64_t(1) << 29) - 2 * tile_keys; ///< of a mark

  /// Contenders of a group are in one list: a mark is a position and a query, or, with query 0, the
  /// distance of two positions.
  __host__ __device__ static constexpr std::int32_t mark(std::int32_t position, int query) {
    return position * group_queries + query;
  }
};

/// Lists of contenders: place j of a lane's list is followed by place j of the next lane's.
struct SiftedLists {
  gpu::Contender* contenders = nullptr; ///< [items, lanes / 32, capacity, 32], marks for positions
  std::int32_t* counts = nullptr;       ///< [items, lanes]

  __device__ gpu::Contender* of(std::int64_t item, int lane) const {
    return contenders + (item * (SiftSizes::lanes / 32) + lane / 32) * (32 * SiftSizes::capacity) +
           lane % 32;
  }
  __device__ std::int32_t& count(std::int64_t item, int lane) const {
    return counts[item * SiftSizes::lanes + lane];
  }
};

using gpu::SiftItems;

/// A ScoreTask whose scores are listed.
struct SiftTask : ScoreTask {
  using Target = SiftTarget;
  const SampledBound* bounds = nullptr; ///< [queries]
  SiftedLists lists;
  SiftItems items;

  __device__ Target target(const Item& item, int lane, std::int32_t) const {
    std::int64_t const i = item.group * group_queries + lane;
    return {lane < group_queries && i < level.count ? bounds[i].bound : 0,
            static_cast<std::int32_t>(items.item(item.group, blockIdx.x))};
  }
};

__device__ inline auto cut_items(const SiftTask& task) {
  gpu::SplitGroups const left(task.items.groups, task.items.tiles, this_cta());
  return Items<gpu::SplitGroups>(task.items.groups, this_cta(), left);
}

/// Sums whose scores are listed.
template <>
struct Sums<SiftTarget> {
  float of[2][2] = {};
  float scale = 0;
  std::int32_t position = 0; ///< a mark
  float bound = 0;
  gpu::Contender* list = nullptr; ///< the lane's
  std::int32_t next = 0;          ///< its end, 32 for each contender

  __device__ void set(const SiftTarget& to) { bound = to.bound; }
  /// What was stored is not stored again: no score reaches a bound that is NaN, as infinity may
  /// reach infinity.
  __device__ void reset() { bound = __builtin_nanf(""); }
  /// The list's address is exchanged with oneself: otherwise the compiler finds it anew in the loop
  /// of the products.
  __device__ void begin_list(gpu::Contender* of_lane) {
    auto const at = reinterpret_cast<std::uint64_t>(of_lane);
    auto const low = static_cast<std::uint32_t>(held_in_register(static_cast<int>(at)));
    auto const high = static_cast<std::uint32_t>(held_in_register(static_cast<int>(at >> 32)));
    list = reinterpret_cast<gpu::Contender*>(static_cast<std::uint64_t>(high) << 32 | low);
    next = 0;
  }
  __device__ std::int32_t listed() const { return next / 32; }
  __device__ void end_tile() { next = min(next, 32 * SiftSizes::full); }
  __device__ void store(const LaneRows& rows) {
    append_if_reached(list, next, scale * sum_lanes(of, rows), bound, position);
  }
};

template <int Heads, Arithmetic A>
__global__ void __launch_bounds__(ScorePolicy<A>::threads, 1)
    sift_kernel(const __grid_constant__ SiftTask task) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::uint8_t memory[];
  using P = ScorePolicy<A>;
  auto& storage = *reinterpret_cast<ScoreStorage<Heads, A, SiftTarget>*>(memory);
  if (threadIdx.x == 0) {
    init_rings(storage, Producer<Heads, A, SiftTask>::tile_writers);
    storage.share.known.init(1);
    publish_barriers();
    fetch_maps(task);
  }
  __syncthreads();
  if (threadIdx.x < 128 * P::consumers) {
    raise_registers<P::consumer_registers>();
    int const lane = static_cast<int>(threadIdx.x);
    std::int64_t item = 0;
    Consumer<Heads, A, true, SiftTask>(task, storage)
        .run_apart(
            [&](Sums<SiftTarget>& sums, const SiftTarget& target) {
              item = target.item;
              sums.begin_list(task.lists.of(item, lane));
            },
            [&](Sums<SiftTarget>& sums) { task.lists.count(item, lane) = sums.listed(); });
  } else {
    lower_registers<P::producer_registers>();
    Producer<Heads, A, SiftTask>(task, storage).run();
  }
#endif
}

} // namespace cuda
HISA_NAMESPACE_END
