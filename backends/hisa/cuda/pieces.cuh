// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A level as all kernels take it (Level), the rows of it that a group of queries kept
/// (PieceLists), and what the scoring kernel is asked to do: which rows are scored for which
/// queries, and where the scores go (ScoreTask).
#pragma once

#include <hisa/candidates.hpp>
#include <hisa/cuda/tile.cuh>
#include <hisa/tensors.hpp>

#include <cuda.h>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Neighbouring queries that share the keys that a CTA fetches.
inline constexpr int group_queries = 4;

/// Where the rows of a piece go, for the queries of a group: the position of the piece's first row
/// among the query's candidates; `absent` where the query did not keep the piece.
struct alignas(16) Positions {
  static constexpr std::int32_t absent = -(1 << 30);
  std::int32_t of[group_queries];
};

/// For each group of queries, the union of their kept rows in pieces of `1 << piece_log2`
/// neighbouring rows, padded with absent pieces to whole tiles. In the workspace.
struct PieceLists {
  std::int32_t* rows = nullptr;   ///< [groups, pitch] first row of a piece; null: all rows
  Positions* positions = nullptr; ///< [groups, pitch]
  std::uint32_t* masks = nullptr; ///< [groups, pitch / pieces of a tile] queries of a tile
  std::int32_t* counts = nullptr; ///< [groups] pieces, padding included
  std::uint32_t* costs = nullptr; ///< [groups] of all tiles: see tile_cost
  std::int64_t pitch = 0;         ///< a multiple of the pieces of a tile
  int piece_log2 = tile_keys_log2;

  __host__ __device__ int pieces_log2() const { return tile_keys_log2 - piece_log2; } ///< of a tile
  __device__ int tiles(std::int64_t group) const { return counts[group] >> pieces_log2(); }
  __device__ std::uint32_t* masks_of(std::int64_t group) const {
    return masks + group * (pitch >> pieces_log2());
  }
};

/// What a tile costs that some queries want, in about 90 cycles of a multiprocessor (measured).
__device__ inline std::uint32_t tile_cost(std::uint32_t mask) {
  return 5 + 3 * static_cast<std::uint32_t>(__popc(mask));
}

/// One level of the hierarchy for consecutive queries, as all kernels of this backend take it.
struct Level {
  Ranges visibility;
  std::int64_t first = 0;      ///< row of the first query in the call
  std::int64_t count = 0;      ///< queries
  std::int64_t max_keys = 0;   ///< keys that a query may see
  std::int64_t block_size = 1; ///< 1: the tokens
  std::int64_t budget = 0;     ///< m or k
  Boundary boundary = Boundary::counted;
  /// A query that sees no more keys than this takes them all, whatever the levels above kept.
  std::int64_t identity = 0;
  bool scores_wanted = false;                  ///< score even where the choice is decided without
  const std::int32_t* parents = nullptr;       ///< [count, parent_pitch] kept above; null: all
  const std::int32_t* parent_counts = nullptr; ///< [count]
  std::int64_t parent_pitch = 0;
  std::int64_t parent_size = 0;            ///< block size of the level above
  const std::int32_t* row_begin = nullptr; ///< [M] first pooled row of a query's sequence, or null

  __device__ Visible visible(std::int64_t i) const {
    return visibility.visible(first + i, max_keys);
  }
  __device__ Candidates candidates(const Visible& v, std::int64_t i) const {
    if (parents == nullptr)
      return Candidates(v, {}, block_size);
    // Read at once, so that the load overlaps those of the visible range.
    return candidates(v, {parents + i * parent_pitch, parent_counts[i], parent_size});
  }
  __device__ Candidates candidates(const Visible& v, const KeptBlocks& kept) const {
    return Candidates(v, takes_all(v) ? KeptBlocks{} : kept, block_size);
  }
  __device__ Contest contest(const Candidates& c, const Visible& v) const {
    return block_size == 1 ? Contest::tokens(c, budget)
                           : Contest::blocks(c, v, block_size, budget, boundary);
  }
  __device__ bool takes_all(const Visible& v) const { return v.count() <= identity; }
  __device__ bool must_score(const Contest& c, const Visible& v) const {
    return scores_wanted || (!takes_all(v) && !c.decided());
  }
  /// The level's row 0 of a query, as a row of the buffer.
  __device__ std::int64_t origin(const Visible& v) const {
    if (block_size == 1)
      return v.anchor;
    return row_begin == nullptr ? 0 : row_begin[v.query];
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
  int cuts = 1; ///< of a group that would leave CTAs idle; not of listed rows, see items.cuh
  float* values = nullptr;
  std::int64_t pitch = 0;

  __host__ __device__ std::int64_t groups() const {
    return (level.count + group_queries - 1) / group_queries;
  }
};

} // namespace cuda
HISA_NAMESPACE_END
