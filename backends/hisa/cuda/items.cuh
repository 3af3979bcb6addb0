// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A CTA's items (hisa/gpu/items.hpp) as the warps of its producer take them.
#pragma once

#include <hisa/cuda/barrier.cuh>
#include <hisa/cuda/group.cuh>
#include <hisa/cuda/task.cuh>
#include <hisa/gpu/items.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

using gpu::Item, gpu::Items;

/// The CTA's share of the groups that are left. One warp finds it, for the others too.
struct KnownShare {
  gpu::CtaShare share;
  Barrier known;
};

__device__ inline gpu::CtaOf this_cta() {
  return {blockIdx.x, gridDim.x};
}

/// Of all rows.
__device__ inline auto cut_items(const ScoreTask& task) {
  gpu::CutGroups const left(task.groups(), task.cuts, this_cta());
  return Items<gpu::CutGroups>(task.groups(), this_cta(), left);
}

/// Of listed rows.
/// @param finds  whether this warp finds the share
__device__ inline auto shared_items(const ScoreTask& task, KnownShare& all, bool finds) {
  auto const find = [&task, &all, finds] {
    if (!finds) {
      all.known.wait(0);
      return all.share;
    }
    gpu::CtaShare const share = find_share(Warp(), task.pieces, task.groups(), this_cta());
    if (Warp().lane() == 0) {
      all.share = share;
      all.known.arrive();
    }
    __syncwarp();
    return share;
  };
  gpu::SharedGroups left(Warp(), task.pieces, task.groups(), this_cta(), find);
  return Items<decltype(left)>(task.groups(), this_cta(), left);
}

} // namespace cuda
HISA_NAMESPACE_END
