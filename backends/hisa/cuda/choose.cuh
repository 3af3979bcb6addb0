// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// How the kernels of keep.cuh and tokens.cuh choose from a row of scores: by one CTA or several,
/// from registers or through buffers. What is chosen among is hisa/gpu/choice.hpp, the selection
/// itself hisa/gpu/select.hpp.
#pragma once

#include <hisa/cuda/group.cuh>
#include <hisa/gpu/choice.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

using gpu::ScoreRows, gpu::ContestRow, gpu::ChoiceRow, gpu::ChosenRows;

/// Choosing by a CTA from rows that fit its registers. As all policies it takes rows of more than k
/// candidates.
template <int Longest>
struct ShortRows {
  static constexpr int threads = 256, ctas = 4; ///< of a multiprocessor
  static constexpr int longest = Longest;       ///< from a multiple of 4
  static constexpr int max_k = Longest;
  using Storage = gpu::HeldStorage<Longest, 2048>;

  template <class G, class Row, class Emit>
  __device__ static void select(const G& g, const CtaCluster&, Storage& storage, const Row& row,
                                std::int32_t k, const Emit& emit) {
    gpu::select_held<Longest / 4 / threads>(g, storage, row, k, emit);
  }
};

/// Choosing by the CTAs of a cluster from rows of any length, through buffers.
/// @tparam Ctas  of a multiprocessor
template <int Capacity, int Ctas>
struct LongRows {
  static constexpr int threads = 512, ctas = Ctas;
  static constexpr int max_k = Capacity - 4 * threads;
  using Storage = gpu::StreamStorage<Capacity, 2048, Ctas == 1 ? 4 : 2, threads>;

  template <class G, class Emit>
  __device__ static void select(const G& g, const CtaCluster& cluster, Storage& storage,
                                const ContestRow& row, std::int32_t k, const Emit& emit) {
    gpu::select_stream(g, cluster, storage, row, k, emit);
  }
};

} // namespace cuda
HISA_NAMESPACE_END
