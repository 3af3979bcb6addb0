// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The kernel that finds the blocks that queries keep, by their scores or by another source
/// (caller_blocks.cuh), and lists the pieces of the level below.
#pragma once

#include <hisa/cuda/choose.cuh>
#include <hisa/gpu/list_union.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// What the block kernel is asked to do.
/// @tparam Source  what the blocks are found by: ScoreRows, or the caller's BlockLists
template <class Source>
struct KeepTask {
  Level level;
  Source source;
  std::int32_t* blocks = nullptr; ///< [count, pitch] kept, ascending
  std::int32_t* counts = nullptr; ///< [count]
  std::int64_t pitch = 0;
  Level next;           ///< the level below; its parents are the blocks kept here
  PieceLists pieces;    ///< of the level below
  bool follows = false; ///< the scoring kernel of its call: see begin_kernel_reading

  /// Rows of the level below that a block of this one holds.
  __device__ int ratio() const {
    return static_cast<int>(detail::quotient(level.block_size, next.block_size));
  }
};

/// A query's blocks as the source of its candidates on the next level.
struct ListedQuery {
  const std::int32_t* blocks = nullptr; ///< null: all from `first`
  std::int32_t first = 0;
  std::int32_t count = 0;  ///< 0 where nothing has to be scored
  std::int32_t origin = 0; ///< the next level's row 0 in its buffer
  std::int32_t skip = 0;   ///< rows of the first block that come before position 0

  __device__ std::int32_t block(std::int32_t i) const {
    return blocks == nullptr ? first + i : blocks[i];
  }
};

/// How the block kernel runs: a CTA for a group of queries, of which each part finds the blocks of
/// one.
/// @tparam Lanes  threads of a part: they hold 16 candidates each, from 128 lanes on 32
/// @tparam Most   the largest budget
template <int Lanes, int Most>
struct KeepPolicy {
  static constexpr int threads = group_queries * Lanes, ctas = threads > 512 ? 1 : 2;
  static constexpr int rounds = Lanes < 128 ? 4 : 8;
  static constexpr int longest = 4 * rounds * Lanes; ///< for which it is made
  static constexpr int bins = Lanes < 128 ? 512 : 1024;
  static constexpr int max_kept = Most;
  static constexpr int listed = group_queries * (max_kept + 2); ///< with Boundary::extra's two

  using Chooser = Part<Lanes>;
  using Storage = gpu::HeldStorage<Most, bins>;
  using Lists = gpu::UnionStorage<group_queries, listed>;

  template <class Emit>
  __device__ static void select(const Chooser& g, Storage& storage, const ContestRow& row,
                                std::int32_t k, const Emit& emit) {
    gpu::select_held<rounds>(g, storage, row, k, emit);
  }
};

/// How a chooser finds the blocks of query i by a source: `prepare(g, task, i, storage)`, without
/// the chooser's barrier, returns what the query sees, to lane 0 at least; then, behind a barrier
/// of the CTA and begin_kernel, `keep(g, task, v, i, storage)` writes the blocks and returns how
/// many there are.
/// @tparam Policy  a KeepPolicy
template <class Policy, class Source>
struct BlocksBy;

template <class Policy>
struct BlocksBy<Policy, ScoreRows> {
  struct Storage {
    typename Policy::Storage select;
    ChoiceRow row;
  };
  __device__ static Visible prepare(const typename Policy::Chooser& g,
                                    const KeepTask<ScoreRows>& task, std::int64_t i,
                                    Storage& storage) {
    Visible v;
    if (g.lane() == 0) {
      begin_kernel_reading(task.follows);
      v = task.level.visible(i);
      storage.row = ChoiceRow(task.level, v, task.source, i);
    }
    gpu::prepare(g, storage.select);
    return v;
  }
  __device__ static std::int32_t keep(const typename Policy::Chooser& g,
                                      const KeepTask<ScoreRows>& task, const Visible& v,
                                      std::int64_t i, Storage& storage);
};

template <class Policy, class Source>
struct KeepStorage {
  Barrier parts[group_queries]; ///< the choosers'
  ListedQuery queries[group_queries];
  std::uint32_t cost; ///< of the group's tiles
  union {
    typename BlocksBy<Policy, Source>::Storage blocks[group_queries];
    typename Policy::Lists lists;
  };
};

template <class Policy>
__device__ std::int32_t BlocksBy<Policy, ScoreRows>::keep(const typename Policy::Chooser& g,
                                                          const KeepTask<ScoreRows>& task,
                                                          const Visible&, std::int64_t i,
                                                          Storage& storage) {
  const ChoiceRow& r = storage.row; // stays there, for want of registers
  std::int32_t* const out = task.blocks + i * task.pitch;
  choose(g, r, {out},
         [&](const auto& emit) { Policy::select(g, storage.select, r.contest, r.need, emit); });
  std::int32_t const kept = r.winners + r.takes_first + r.takes_last;
  if (g.lane() == 0 && r.takes_first)
    out[0] = r.row_of(0);
  if (g.lane() == 0 && r.takes_last)
    out[kept - 1] = r.row_of(r.contest.end);
  return kept;
}

template <class Source>
__device__ ListedQuery listed_query(const KeepTask<Source>& task, const Visible& v, std::int64_t i,
                                    std::int32_t kept) {
  ListedQuery q;
  Candidates const c =
      task.next.candidates(v, {task.blocks + i * task.pitch, kept, task.level.block_size});
  if (!task.next.must_score(task.next.contest(c, v), v))
    return q;
  std::int64_t const size = task.level.block_size;
  q.origin = static_cast<std::int32_t>(task.next.origin(v));
  q.skip = static_cast<std::int32_t>(c.skip);
  if (task.next.takes_all(v)) {
    q.first = static_cast<std::int32_t>(v.first_row(size));
    q.count = static_cast<std::int32_t>(v.end_row(size)) - q.first;
    q.skip -= q.first * static_cast<std::int32_t>(task.ratio());
  } else {
    q.blocks = task.blocks + i * task.pitch;
    q.count = kept;
  }
  return q;
}

/// Where the pieces of a group of queries go: its rows of a PieceLists.
struct GroupPieces {
  std::int32_t* rows;
  Positions* positions;
  std::uint32_t* masks;
  int piece_log2, of_tile; ///< of_tile: pieces of a tile

  __device__ GroupPieces(const PieceLists& all, std::int64_t group)
      : rows(all.rows + group * all.pitch), positions(all.positions + group * all.pitch),
        masks(all.masks_of(group)), piece_log2(all.piece_log2), of_tile(1 << all.pieces_log2()) {}
};

/// Step 1 of list_pieces: the blocks that some query keeps, each once, become pieces of the next
/// level. Returns how many pieces.
/// @param ratio  rows of the next level that a block holds
template <class Group, int Capacity>
__device__ std::int32_t join_blocks(const Group& g, const GroupPieces& out,
                                    const ListedQuery (&queries)[group_queries], int ratio,
                                    gpu::UnionStorage<group_queries, Capacity>& lists) {
  int const of_block = ratio >> out.piece_log2;
  std::int32_t counts[group_queries];
  for (int q = 0; q < group_queries; ++q)
    counts[q] = queries[q].count;
  gpu::ListUnion<Group, group_queries, Capacity> joined(g, lists);
  std::int32_t const blocks = joined.build( // by rows of the buffer, so that equal rows are equal
      counts,
      [&](int q, std::int32_t e) { return queries[q].origin + queries[q].block(e) * ratio; },
      [&](std::int32_t rank, const auto& entry) {
        for (int j = 0; j < of_block; ++j) {
          std::int32_t const at = rank * of_block + j, offset = j << out.piece_log2;
          out.rows[at] = entry.value + offset;
          Positions p;
          for (int q = 0; q < group_queries; ++q)
            p.of[q] = entry.index[q] < 0 ? Positions::absent
                                         : entry.index[q] * ratio - queries[q].skip + offset;
          out.positions[at] = p;
        }
      });
  return blocks * of_block;
}

/// Step 3: a tile is wanted by the queries that want one of its pieces. Returns what the lane's
/// tiles cost.
template <class Group>
__device__ std::uint32_t mask_tiles(const Group& g, const GroupPieces& out, std::int32_t tiles) {
  std::uint32_t cost = 0;
  for (std::int32_t tile = g.lane(); tile < tiles; tile += g.size()) {
    std::uint32_t mask = 0;
    for (int j = 0; j < out.of_tile; ++j)
      for (int q = 0; q < group_queries; ++q)
        mask |= std::uint32_t(out.positions[tile * out.of_tile + j].of[q] != Positions::absent)
                << q;
    out.masks[tile] = mask;
    cost += tile_cost(mask);
  }
  return cost;
}

/// The pieces of the next level for a group of queries whose blocks are all kept.
/// @param cost  0 in shared memory
template <class Group, class Source, int Capacity>
__device__ void list_pieces(const Group& g, const KeepTask<Source>& task, std::int64_t group,
                            const ListedQuery (&queries)[group_queries],
                            gpu::UnionStorage<group_queries, Capacity>& lists,
                            std::uint32_t& cost) {
  GroupPieces const out(task.pieces, group);

  // 1. The queries' blocks are joined.
  std::int32_t const used = join_blocks(g, out, queries, task.ratio(), lists);

  // 2. Absent pieces fill the last tile.
  std::int32_t const tiles = (used + out.of_tile - 1) / out.of_tile, all = tiles * out.of_tile;
  if (used + g.lane() < all) {
    out.rows[used + g.lane()] = 0;
    out.positions[used + g.lane()] = {Positions::absent, Positions::absent, Positions::absent,
                                      Positions::absent};
  }
  if (g.lane() == 0)
    task.pieces.counts[group] = all;
  g.barrier();

  // 3. Tiles are marked, and their cost is added up.
  std::uint32_t const of_warp = g.sum(mask_tiles(g, out, tiles));
  if (g.lane() % Group::wave == 0)
    atomicAdd(&cost, of_warp);
  g.barrier();
  if (g.lane() == 0)
    task.pieces.costs[group] = cost;
}

/// @tparam Policy  a KeepPolicy
template <class Policy, class Source>
__global__ void __launch_bounds__(Policy::threads, Policy::ctas)
    keep_kernel(const __grid_constant__ KeepTask<Source> task) {
  using Blocks = BlocksBy<Policy, Source>;
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<KeepStorage<Policy, Source>*>(memory);
  using Chooser = typename Policy::Chooser;
  Chooser const g(storage.parts[Chooser::number()]);
  Cta<Policy::threads> const all{};
  std::int64_t const group = blockIdx.x, i = group * group_queries + g.number();
  if (g.lane() == 0)
    storage.parts[g.number()].init(g.size());
  if (threadIdx.x == 0)
    storage.cost = 0;
  Visible v;
  if (i < task.level.count)
    v = Blocks::prepare(g, task, i, storage.blocks[g.number()]);
  all.barrier(); // what was prepared and the parts' barriers
  begin_kernel();
  if (i < task.level.count) {
    std::int32_t const kept = Blocks::keep(g, task, v, i, storage.blocks[g.number()]);
    g.barrier();
    if (g.lane() == 0) {
      task.counts[i] = kept;
      storage.queries[g.number()] = listed_query(task, v, i, kept);
    }
  } else if (g.lane() == 0) {
    storage.queries[g.number()] = {};
  }
  all.barrier();
  list_pieces(all, task, group, storage.queries, storage.lists, storage.cost);
}

} // namespace cuda
HISA_NAMESPACE_END
