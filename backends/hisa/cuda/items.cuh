// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The order in which a CTA of the scoring code works. An *item* is a group of queries and a share
/// of the tiles that they want on one level. Each role of a CTA goes through all items of the CTA
/// by itself, and all see the same order.
#pragma once

#include <hisa/cuda/pieces.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// One level: each group's tiles are dealt to `splits` items, and the items to the CTAs.
class DealtItems {
public:
  __device__ explicit DealtItems(const ScoreTask& task) : task_(task), item_(blockIdx.x) {}

  __device__ bool valid() const { return item_ < task_.groups() * task_.splits; }
  __device__ void advance() { item_ += gridDim.x; }
  __device__ const ScoreTask& task() const { return task_; }
  __device__ std::int64_t group() const { return item_ / task_.splits; }
  __device__ int split() const { return static_cast<int>(item_ % task_.splits); }

  /// Before the item's tiles are looked for, by each warp that brings some of it.
  __device__ static void begin() {}
  /// When all its scores are stored, by one lane of each warp that has stored some.
  __device__ static void end() {}

private:
  const ScoreTask& task_;
  std::int64_t item_;
};

} // namespace cuda
HISA_NAMESPACE_END
