// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The caller's block lists in the place of blocks chosen by score: any order and any content comes
/// in, what a pooled level would hand on goes out.
#pragma once

#include <hisa/cuda/keep.cuh>
#include <hisa/gpu/distinct.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// The visible blocks of a list, ascending, each once. A bitmap holds 65536 blocks, and a list is
/// read once for each of so many blocks that the query sees: 1 M keys at B = 16.
template <class Policy>
struct BlocksBy<Policy, BlockLists> {
  using Storage = gpu::DistinctStorage<2048>;

  __device__ static Visible prepare(const typename Policy::Chooser&,
                                    const KeepTask<BlockLists>& task, std::int64_t i, Storage&) {
    begin_kernel();
    return task.level.visible(i);
  }
  __device__ static std::int32_t keep(const typename Policy::Chooser& g,
                                      const KeepTask<BlockLists>& task, const Visible& v,
                                      std::int64_t i, Storage& storage) {
    const std::int32_t* const list = task.source.blocks + v.query * task.source.capacity;
    std::int32_t* const out = task.blocks + i * task.pitch;
    return gpu::Distinct(g, storage)
        .find(
            task.source.capacity, static_cast<std::int32_t>(v.first_row(task.level.block_size)),
            static_cast<std::int32_t>(v.end_row(task.level.block_size)),
            [&](std::int64_t entry) { return list[entry]; },
            [&](std::int32_t rank, std::int32_t b) { out[rank] = b; });
  }
};

} // namespace cuda
HISA_NAMESPACE_END
