// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What the scoring kernel is asked to do: which rows of a level are scored for which queries, and
/// where the scores go.
#pragma once

#include <hisa/cuda/tile.cuh>
#include <hisa/gpu/items.hpp>
#include <hisa/gpu/level.hpp>
#include <hisa/gpu/pairs.hpp>
#include <hisa/gpu/pieces.hpp>

#include <cuda.h>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace cuda {

using gpu::group_queries;
using gpu::Level, gpu::PairLists, gpu::PieceLists, gpu::Positions;

/// Pairs of queries and tiles of a level, in the workspace.
struct PairBuffers {
  PairLists lists;
  float* weights = nullptr; ///< [level.count, packed_weights] of the queries; null: no pairs
};

/// Where a query's scores go.
struct alignas(16) ScoreTarget {
  float* scores;
  std::int32_t limit; ///< candidates, 0: the query needs no scores

  __host__ __device__ static constexpr std::int32_t mark(std::int32_t position, int) {
    return position;
  }
};

/// Scores to be computed: the score of query i's candidate at position p goes to
/// values[i * pitch + p], i counted from the level's first query.
struct ScoreTask {
  Level level;
  Queries<e4m3fn> queries;
  CUtensorMap query_map = {};   ///< boxes of one query's heads
  CUtensorMap key_map = {};     ///< the level's buffer, boxes of one piece
  CUtensorMap scale_map = {};   ///< the scales of its rows, boxes of scale_line() floats
  std::int32_t scale_shift = 0; ///< floats from the map's start to the scale of row 0
  PieceLists pieces;
  int cuts =
      1; ///< of a group that would leave CTAs idle; not of listed rows, see hisa/gpu/items.hpp
  float* values = nullptr;
  std::int64_t pitch = 0;
  PairBuffers prepares; ///< of the level below: what list_pairs and pair_kernel rely on

  using Target = ScoreTarget;

  __host__ __device__ std::int64_t groups() const {
    return (level.count + group_queries - 1) / group_queries;
  }
  /// Of query `lane` of an item's group, if it is one.
  __device__ Target target(const gpu::Item& item, int lane, std::int32_t limit) const {
    std::int64_t const i = item.group * group_queries + lane;
    return {values + i * pitch, limit};
  }
};

} // namespace cuda
HISA_NAMESPACE_END
