// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The rows of a level that a group of neighbouring queries kept, in *pieces*, and the tiles that
/// pieces make up.
#pragma once

#include <hisa/config.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Keys of a tile, the rows that are fetched and multiplied at a time.
inline constexpr int tile_keys_log2 = 7, tile_keys = 1 << tile_keys_log2;

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

  HISA_FUNCTION int pieces_log2() const { return tile_keys_log2 - piece_log2; } ///< of a tile
  HISA_FUNCTION int tiles(std::int64_t group) const { return counts[group] >> pieces_log2(); }
  HISA_FUNCTION std::uint32_t* masks_of(std::int64_t group) const {
    return masks + group * (pitch >> pieces_log2());
  }
};

/// What a tile costs that some queries want, in about 90 cycles of a multiprocessor (measured).
HISA_FUNCTION inline std::uint32_t tile_cost(std::uint32_t mask) {
  return 5 + 3 * static_cast<std::uint32_t>(__builtin_popcount(mask));
}

} // namespace gpu
HISA_NAMESPACE_END
