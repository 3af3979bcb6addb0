// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The kernel that finds the blocks that queries keep, by their scores or by another source
/// (lists.cuh), and lists the pieces of the level below.
#pragma once

#include <hisa/cuda/choose.cuh>
#include <hisa/gpu/lists.hpp>

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
  Level next;        ///< the level below; its parents are the blocks kept here
  PieceLists pieces; ///< of the level below
};

/// A query's blocks as the source of its candidates on the next level.
struct ListedQuery {
  const std::int32_t* blocks; ///< null: all from `first`
  std::int32_t first;
  std::int32_t count;  ///< 0 where nothing has to be scored
  std::int32_t origin; ///< the next level's row 0 in its buffer
  std::int32_t skip;   ///< rows of the first block that come before position 0

  __device__ std::int32_t block(std::int32_t i) const {
    return blocks == nullptr ? first + i : blocks[i];
  }
};

/// Shared memory of list_pieces, for `Capacity` blocks of a group's queries together.
template <int Capacity>
struct PieceListStorage {
  ListedQuery queries[group_queries];
  gpu::UnionStorage<group_queries, Capacity> joined;
};

/// How the block kernel runs: a CTA for a group of queries, whose blocks are found by a warp each
/// where there are few to choose from, and one after the other by the whole CTA where there are
/// many.
/// @tparam Capacity  candidates that the buffer holds for each query of the group
template <int Capacity, bool ByWarps>
struct KeepPolicy {
  static constexpr int threads = 256;
  using Chooser = std::conditional_t<ByWarps, Warp, Cta<threads>>;
  static constexpr int choosers = ByWarps ? group_queries : 1; ///< that work at a time
  static constexpr int capacity = group_queries / choosers * Capacity, bins = ByWarps ? 512 : 2048;
  static constexpr int max_kept = Capacity - 4 * Warp::wave;    ///< the largest budget
  static constexpr int listed = group_queries * (max_kept + 2); ///< with Boundary::extra's two

  using Storage = gpu::StreamStorage<capacity, bins>; ///< of a chooser
  using Lists = PieceListStorage<listed>;

  template <class Emit>
  __device__ static void select(const Chooser& g, Storage& storage, const ContestRow& row,
                                std::int32_t k, const Emit& emit) {
    if (gpu::can_hold<4>(g, row))
      gpu::select_held<4>(g, storage, row, k, emit);
    else
      gpu::select_stream(g, gpu::Alone(), storage, row, k, emit);
  }
};

/// How a chooser finds the blocks of one query by a source: `keep(g, task, i, storage)` writes them
/// and their count.
/// @tparam Policy  a KeepPolicy
template <class Policy, class Source>
struct BlocksBy;

template <class Policy>
struct BlocksBy<Policy, ScoreRows> {
  using Storage = typename Policy::Storage;
  __device__ static void keep(const typename Policy::Chooser& g, const KeepTask<ScoreRows>& task,
                              std::int64_t i, Storage& storage);
};

template <class Policy, class Source>
union KeepStorage {
  typename BlocksBy<Policy, Source>::Storage blocks[Policy::choosers];
  typename Policy::Lists lists;
};

/// Ends a query's list of kept blocks: those that are kept without a contest, and their number.
inline __device__ void end_list(const ChoiceRow& r, std::int32_t* out, std::int32_t& count) {
  std::int32_t const kept = r.winners + r.takes_first + r.takes_last;
  if (r.takes_first)
    out[0] = r.row_of(0);
  if (r.takes_last)
    out[kept - 1] = r.row_of(r.contest.end);
  count = kept;
}

template <class Policy>
__device__ void BlocksBy<Policy, ScoreRows>::keep(const typename Policy::Chooser& g,
                                                  const KeepTask<ScoreRows>& task, std::int64_t i,
                                                  Storage& storage) {
  ChoiceRow const r(task.level, task.level.visible(i), task.source, i);
  prepare(g, storage);
  g.barrier();
  std::int32_t* const out = task.blocks + i * task.pitch;
  choose(g, r, {out},
         [&](const auto& emit) { Policy::select(g, storage, r.contest, r.need, emit); });
  if (g.lane() == 0)
    end_list(r, out, task.counts[i]);
}

template <class Source>
__device__ ListedQuery listed_query(const KeepTask<Source>& task, std::int64_t i) {
  ListedQuery q = {};
  if (i >= task.level.count)
    return q;
  Visible const v = task.next.visible(i);
  Candidates const c = task.next.candidates(v, i);
  if (!task.next.must_score(task.next.contest(c, v), v))
    return q;
  std::int64_t const size = task.level.block_size;
  q.origin = static_cast<std::int32_t>(task.next.origin(v));
  q.skip = static_cast<std::int32_t>(c.skip);
  if (task.next.takes_all(v)) {
    q.first = static_cast<std::int32_t>(v.first_row(size));
    q.count = static_cast<std::int32_t>(v.end_row(size)) - q.first;
    q.skip -= q.first * static_cast<std::int32_t>(size / task.next.block_size);
  } else {
    q.blocks = task.blocks + i * task.pitch;
    q.count = task.counts[i];
  }
  return q;
}

/// The pieces of the next level for a group of queries whose blocks are all kept.
template <class Group, class Source, int Capacity>
__device__ void list_pieces(const Group& g, const KeepTask<Source>& task, std::int64_t group,
                            PieceListStorage<Capacity>& s) {
  const PieceLists& pieces = task.pieces;
  int const ratio = static_cast<int>(task.level.block_size / task.next.block_size);
  int const of_block = ratio >> pieces.piece_log2;
  ListedQuery(&queries)[group_queries] = s.queries;
  if (g.lane() < group_queries)
    queries[g.lane()] = listed_query(task, group * group_queries + g.lane());
  g.barrier();
  std::int32_t counts[group_queries];
  for (int q = 0; q < group_queries; ++q)
    counts[q] = queries[q].count;

  // 1. Blocks become rows of the level's buffer, so that equal rows are equal keys.
  std::int32_t* const rows = pieces.rows + group * pieces.pitch;
  Positions* const positions = pieces.positions + group * pieces.pitch;
  gpu::ListUnion<Group, group_queries, Capacity> joined(g, s.joined);
  std::int32_t const blocks = joined.build(
      counts,
      [&](int q, std::int32_t e) { return queries[q].origin + queries[q].block(e) * ratio; },
      [&](std::int32_t rank, const auto& entry) {
        for (int j = 0; j < of_block; ++j) {
          std::int32_t const at = rank * of_block + j, offset = j << pieces.piece_log2;
          rows[at] = entry.value + offset;
          Positions p;
          for (int q = 0; q < group_queries; ++q)
            p.of[q] = entry.index[q] < 0 ? Positions::absent
                                         : entry.index[q] * ratio - queries[q].skip + offset;
          positions[at] = p;
        }
      });

  // 2. Absent pieces fill the last tile.
  int const of_tile = 1 << pieces.pieces_log2();
  std::int32_t const used = blocks * of_block, all = (used + of_tile - 1) / of_tile * of_tile;
  if (used + g.lane() < all) {
    rows[used + g.lane()] = 0;
    positions[used + g.lane()] = {Positions::absent, Positions::absent, Positions::absent,
                                  Positions::absent};
  }
  if (g.lane() == 0)
    pieces.counts[group] = all;
  g.barrier();

  // 3. A tile is wanted by the queries that want one of its pieces.
  std::uint32_t* const masks = pieces.masks + group * pieces.pitch / of_tile;
  for (std::int32_t tile = g.lane(); tile < all / of_tile; tile += g.size()) {
    std::uint32_t mask = 0;
    for (int j = 0; j < of_tile; ++j)
      for (int q = 0; q < group_queries; ++q)
        mask |= std::uint32_t(positions[tile * of_tile + j].of[q] != Positions::absent) << q;
    masks[tile] = mask;
  }
}

/// @tparam Policy  a KeepPolicy
template <class Policy, class Source>
__global__ void __launch_bounds__(Policy::threads, 2)
    keep_kernel(const __grid_constant__ KeepTask<Source> task) {
  begin_kernel();
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<KeepStorage<Policy, Source>*>(memory);
  typename Policy::Chooser const g{};
  std::int64_t const group = blockIdx.x;
  unsigned const chooser = threadIdx.x / g.size();
#pragma unroll 1
  for (unsigned turn = 0; turn < group_queries / Policy::choosers; ++turn) {
    std::int64_t const i = group * group_queries + turn * Policy::choosers + chooser;
    if (chooser < Policy::choosers && i < task.level.count)
      BlocksBy<Policy, Source>::keep(g, task, i, storage.blocks[chooser]);
  }
  __syncthreads();
  list_pieces(Cta<Policy::threads>{}, task, group, storage.lists);
}

} // namespace cuda
HISA_NAMESPACE_END
