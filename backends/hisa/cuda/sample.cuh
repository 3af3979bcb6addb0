// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A sample of the keys, and what its scores say about those of all keys: a bound that a query's k
/// best reach, and that not many more do.
#pragma once

#include <hisa/cuda/group.cuh>
#include <hisa/cuda/task.cuh>
#include <hisa/gpu/bound.hpp>

#include <cmath>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// How keys are sampled, and which ranks of a query's sample are looked at.
struct Sampling {
  static constexpr int stride = 128; ///< keys of which one is sampled
  std::int64_t samples = 0;          ///< of all keys
  std::int32_t likely = 0;           ///< rank in the sample that is about the k-th
  std::int32_t sure = 0;             ///< rank of the bound

  Sampling() {}
  /// Among a query's k best are k / stride of the sample on average. In a row without order the
  /// bound is one of these k, so that too little reaches it, with a probability of 5e-8 for k =
  /// 2048.
  Sampling(std::int64_t keys, int k) : samples((keys + stride - 1) / stride) {
    double const mean = double(k) / stride;
    likely = std::max(1, static_cast<std::int32_t>(mean));
    sure = static_cast<std::int32_t>(mean + 6 * std::sqrt(mean)) + 2;
  }
};

/// What is known of a query's scores before all are computed.
struct alignas(16) SampledBound {
  float bound;       ///< what does not reach it loses, if k scores reach it
  float low, likely; ///< where bins for those that do may begin; what the k-th is about
  float unused;
};

/// Sampled keys, and what each query sees of them.
struct Sample {
  e4m3fn* values = nullptr; ///< [samples, 128]
  float* scales = nullptr;
  std::int32_t *ks = nullptr, *ke = nullptr; ///< [queries]
  float* scores = nullptr;                   ///< [queries, pitch]
  std::int64_t pitch = 0;
  SampledBound* bounds = nullptr; ///< [queries]
};

/// Groups of queries for which choosing among what reaches the bounds fails.
struct FailedGroups {
  std::int32_t* count = nullptr;
  std::int32_t* list = nullptr;   ///< [groups]
  std::uint32_t* fails = nullptr; ///< [groups], not 0: in the list
};

struct SampleTask {
  Level level; ///< of the keys
  ContiguousKeys<e4m3fn> keys;
  Sampling sampling;
  Sample to;
  FailedGroups failed; ///< to be emptied

  /// Of each stride one, at a place that has no period.
  __device__ std::int64_t key(std::int64_t sample) const {
    auto const hash = static_cast<std::uint32_t>(sample) * 2654435761u;
    std::int64_t const at = sample * Sampling::stride + (hash >> 16) % Sampling::stride;
    return at < keys.count ? at : keys.count - 1;
  }
  /// Samples of keys before one.
  __device__ std::int32_t before(std::int64_t first) const {
    std::int64_t const s = first / Sampling::stride;
    return static_cast<std::int32_t>(s + (s < sampling.samples && key(s) < first ? 1 : 0));
  }
};

template <int = 0>
__global__ void __launch_bounds__(256) sample_kernel(const __grid_constant__ SampleTask task) {
  constexpr unsigned chunks = 8; // of a key, 16 bytes each
  begin_kernel();
  unsigned const first = blockIdx.x * 256 + threadIdx.x, step = gridDim.x * 256;
  std::int64_t const stride = task.keys.row_stride == 0 ? 128 : task.keys.row_stride;
  for (unsigned i = first; i < task.sampling.samples * chunks; i += step) {
    unsigned const sample = i / chunks, chunk = i % chunks;
    std::int64_t const key = task.key(sample);
    auto const row = reinterpret_cast<const std::uint8_t*>(task.keys.values) + key * stride;
    reinterpret_cast<uint4*>(task.to.values)[i] = reinterpret_cast<const uint4*>(row)[chunk];
    if (chunk == 0)
      task.to.scales[sample] = task.keys.scales[key];
  }
  for (unsigned i = first; i < task.level.count; i += step) {
    Visible const v = task.level.visible(i);
    task.to.ks[i] = task.before(v.begin), task.to.ke[i] = task.before(v.end);
    if (i % group_queries == 0)
      task.failed.fails[i / group_queries] = 0;
  }
  if (first == 0)
    *task.failed.count = 0;
}

/// Finds the bounds, of a query by a warp.
struct BoundTask {
  Level level; ///< of the sample
  Sampling sampling;
  Sample sample;

  static constexpr int queries = 4; ///< of a CTA
};

template <int = 0>
__global__ void __launch_bounds__(32 * BoundTask::queries)
    bound_kernel(const __grid_constant__ BoundTask task) {
  begin_kernel();
  std::int64_t const i = blockIdx.x * std::int64_t(BoundTask::queries) + threadIdx.x / 32;
  if (i >= task.level.count)
    return;
  auto const count = static_cast<std::int32_t>(task.level.visible(i).count());
  Sampling const& s = task.sampling;
  bool const enough = count >= s.sure;
  gpu::TwoBounds const reached = gpu::bounds_reached(
      Warp(), task.sample.scores + i * task.sample.pitch, count, enough ? s.sure : count,
      enough ? s.likely : min(s.likely, (count + 1) / 2));
  SampledBound b = {reached.low, reached.low, reached.high, 0};
  if (!enough) { // all may win, and the least of them is probably not below `low`
    b.bound = -__builtin_inff();
    b.low = 2 * reached.low - reached.high;
  }
  if (threadIdx.x % 32 == 0)
    task.sample.bounds[i] = b;
}

} // namespace cuda
HISA_NAMESPACE_END
