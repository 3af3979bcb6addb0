// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Lists of contenders in memory: what the flat kernel leaves of a query's scores (flat.cuh), and
/// what its tokens are then chosen from (tokens.cuh).
#pragma once

#include <hisa/cuda/group.cuh>
#include <hisa/cuda/task.cuh>
#include <hisa/gpu/running.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Sizes of the flat kernel.
struct FlatSizes {
  static constexpr int listers = 96;    ///< threads that list contenders
  static constexpr int capacity = 8192; ///< of a query's list
  using Storage = gpu::RunningStorage<1024>;
  using Select = gpu::RunningSelect<Part<listers>, listers, capacity, 1024>;
  static constexpr int max_topk = Select::max_k;
  static constexpr int chunk = Select::batch;     ///< keys whose scores are taken at a time
  static constexpr int tiles = chunk / tile_keys; ///< of a chunk
  static_assert(chunk % tile_keys == 0);
  static constexpr int chunks = 6; ///< buffers of a CTA
  /// Floats of a CTA's buffers.
  static constexpr std::int64_t buffers = std::int64_t(chunks) * group_queries * chunk;
};

/// The contenders of consecutive queries.
struct ContenderLists {
  gpu::Contender* contenders = nullptr; ///< [queries, FlatSizes::capacity]
  std::int32_t* counts = nullptr;       ///< [queries]

  __device__ gpu::Contender* of(std::int64_t query) const {
    return contenders + query * FlatSizes::capacity;
  }
};

/// A list of contenders, as gpu::ScoreRow.
struct ContenderRow {
  const gpu::Contender* contenders;
  std::uint32_t first, end;

  __device__ bool plain(std::uint32_t at, std::uint32_t count) const { return at + count <= end; }
  __device__ gpu::Scores scores(std::uint32_t at) const {
    auto const two = reinterpret_cast<const float4*>(contenders + at);
    return {{two[0].x, two[0].z, two[1].x, two[1].z}};
  }
  __device__ gpu::Four keys(std::uint32_t at, const gpu::Scores& scores) const {
    gpu::Four four;
    four.first = at;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (plain(at, 4))
        four.key[i] = gpu::candidate_key(scores.v[i]);
      else if (four.position(i) < end)
        four.key[i] = key(four.position(i));
    return four;
  }
  __device__ gpu::Scores masked(std::uint32_t at, gpu::Scores scores) const {
    if (plain(at, 4))
      return scores;
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i)
      scores.v[i] = at + i < end ? contenders[at + i].score : gpu::no_score;
    return scores;
  }
  __device__ std::uint32_t key(std::uint32_t at) const {
    return gpu::candidate_key(contenders[at].score);
  }
};

} // namespace cuda
HISA_NAMESPACE_END
