// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Listing the rows that a group of neighbouring queries scores on the next level: the pieces of
/// the blocks that they kept, in tiles.
#pragma once

#include <hisa/gpu/list_union.hpp>
#include <hisa/gpu/listed_query.hpp>
#include <hisa/gpu/pieces.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Where the pieces of a group of queries go: its rows of a PieceLists.
struct GroupPieces {
  std::int32_t* rows;
  Positions* positions;
  std::uint32_t* masks;
  int piece_log2, of_tile; ///< of_tile: pieces of a tile

  HISA_FUNCTION GroupPieces(const PieceLists& all, std::int64_t group)
      : rows(all.rows + group * all.pitch), positions(all.positions + group * all.pitch),
        masks(all.masks_of(group)), piece_log2(all.piece_log2), of_tile(1 << all.pieces_log2()) {}
};

/// Step 1 of list_pieces: the blocks that some query keeps, each once, become pieces of the next
/// level. Returns how many pieces.
/// @param ratio  rows of the next level that a block holds
template <Group G, int Capacity>
HISA_FUNCTION std::int32_t join_blocks(const G& g, const GroupPieces& out,
                                       const ListedQuery (&queries)[group_queries], int ratio,
                                       UnionStorage<group_queries, Capacity>& lists) {
  int const of_block = ratio >> out.piece_log2;
  std::int32_t counts[group_queries];
  for (int q = 0; q < group_queries; ++q)
    counts[q] = queries[q].count;
  ListUnion<G, group_queries, Capacity> joined(g, lists);
  std::int32_t const blocks = joined.build( // by rows of the buffer, so that equal rows are equal
      counts,
      [&](int q, std::int32_t e) { return queries[q].origin + queries[q].block(e) * ratio; },
      [&](std::int32_t rank, const auto& entry) {
        HISA_ROLLED
        for (int j = 0; j < of_block; ++j) {
          std::int32_t const at = rank * of_block + j, offset = j << out.piece_log2;
          g.store(&out.rows[at], entry.value + offset);
          Positions p;
          for (int q = 0; q < group_queries; ++q)
            p.of[q] = entry.index[q] < 0 ? Positions::absent
                                         : entry.index[q] * ratio - queries[q].skip + offset;
          g.store(&out.positions[at], p);
        }
      });
  return blocks * of_block;
}

/// Step 3: a tile is wanted by the queries that want one of its pieces. Returns what the lane's
/// tiles cost.
template <Group G>
HISA_FUNCTION std::uint32_t mask_tiles(const G& g, const GroupPieces& out, std::int32_t tiles) {
  std::uint32_t cost = 0;
  HISA_ROLLED
  for (std::int32_t tile = g.lane(); tile < tiles; tile += g.size()) {
    std::uint32_t mask = 0;
    HISA_ROLLED
    for (int j = 0; j < out.of_tile; ++j) {
      Positions const p = g.load(&out.positions[tile * out.of_tile + j]);
      for (int q = 0; q < group_queries; ++q)
        mask |= std::uint32_t(p.of[q] != Positions::absent) << q;
    }
    g.store(&out.masks[tile], mask);
    cost += tile_cost(mask);
  }
  return cost;
}

/// The pieces of the next level for a group of queries whose blocks are all kept.
/// @param ratio  rows of the next level that a block holds
/// @param cost   0 in shared memory
template <Group G, int Capacity>
HISA_FUNCTION void list_pieces(const G& g, const PieceLists& pieces, std::int64_t group,
                               const ListedQuery (&queries)[group_queries], int ratio,
                               UnionStorage<group_queries, Capacity>& lists, std::uint32_t& cost) {
  GroupPieces const out(pieces, group);

  // 1. The queries' blocks are joined.
  std::int32_t const used = join_blocks(g, out, queries, ratio, lists);

  // 2. Absent pieces fill the last tile.
  std::int32_t const tiles = (used + out.of_tile - 1) / out.of_tile, all = tiles * out.of_tile;
  if (used + g.lane() < all) {
    Positions nowhere;
    for (std::int32_t& position : nowhere.of)
      position = Positions::absent;
    g.store(&out.rows[used + g.lane()], 0);
    g.store(&out.positions[used + g.lane()], nowhere);
  }
  if (g.lane() == 0)
    pieces.counts[group] = all;
  g.barrier();

  // 3. Tiles are marked, and their cost is added up.
  std::uint32_t const of_wave = g.sum(mask_tiles(g, out, tiles));
  if (g.lane() % G::wave == 0)
    g.add(&cost, of_wave);
  g.barrier();
  if (g.lane() == 0)
    pieces.costs[group] = g.load(&cost);
}

} // namespace gpu
HISA_NAMESPACE_END
