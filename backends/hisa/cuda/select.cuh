// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The two kernels that choose by score: the blocks that a query keeps, with the piece lists of the
/// level below, and the tokens, with the caller's outputs. The selection itself is hisa/gpu/select.hpp.
#pragma once

#include <hisa/cuda/group.cuh>
#include <hisa/cuda/pieces.cuh>
#include <hisa/gpu/lists.hpp>
#include <hisa/gpu/select.hpp>

#include <cmath>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Scores of consecutive queries, as the scoring kernel leaves them.
struct ScoreRows {
  const float* values = nullptr;
  std::int64_t pitch = 0; ///< a multiple of 4, like the alignment of `values`
};

/// Four scores of a row from position `base`, a multiple of 4; only positions of the contest count.
template <class Covered>
__device__ gpu::Quad load_quad(const float* row, std::int64_t base, const Contest& contest,
                               const Covered& covered) {
  gpu::Quad quad;
  if (base >= contest.end)
    return quad;
  float scores[4] = {};
  if (base + 4 <= contest.end && reinterpret_cast<std::uintptr_t>(row + base) % 16 == 0) {
    auto const four = *reinterpret_cast<const float4*>(row + base);
    scores[0] = four.x, scores[1] = four.y, scores[2] = four.z, scores[3] = four.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      scores[i] = base + i < contest.end ? row[base + i] : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    std::int64_t const position = base + i;
    quad.key[i] = order_key(covered(position) ? scores[i] : -INFINITY);
    quad.position[i] = static_cast<std::int32_t>(position);
    quad.present |= unsigned(position >= contest.first && position < contest.end) << i;
  }
  return quad;
}

/// The winners of a contest: emit(rank, position) for each, ranks ascending with positions.
/// @tparam N  quads that a lane takes at a time
template <int N, int Capacity, class G, class Covered, class Emit>
__device__ void choose(const G& g, gpu::StreamStorage<Capacity>& storage, const float* row,
                       const Contest& contest, const Covered& covered, const Emit& emit) {
  gpu::StreamSelect<G, Capacity> select(g, storage, static_cast<std::int32_t>(contest.need));
  std::int64_t const begin = contest.first / 4 * 4, step = 4 * g.size();
  for (std::int64_t base = begin; base < contest.end; base += N * step) {
    gpu::Quad quads[N];
#pragma unroll
    for (int j = 0; j < N; ++j)
      quads[j] = load_quad(row, base + j * step + 4 * g.lane(), contest, covered);
    select.push(quads);
  }
  select.finish([&](std::int32_t rank, std::int32_t position, std::uint32_t) {
    emit(rank, position);
  });
}

/// What the block kernel is asked to do.
struct KeepTask {
  Level level;
  ScoreRows scores;
  std::int32_t* blocks = nullptr; ///< [count, pitch] kept, ascending
  std::int32_t* counts = nullptr; ///< [count]
  std::int64_t pitch = 0;
  Level next;        ///< the level below; its parents are the blocks kept here
  PieceLists pieces; ///< of the level below
};

/// How the block kernel runs: a CTA for a group of queries, `query_threads` for each of them.
template <int Capacity>
struct KeepPolicy {
  static constexpr int query_threads = 128;
  static constexpr int threads = query_threads * group_queries;
  static constexpr int max_kept = Capacity - 4 * query_threads; ///< the largest budget
  static constexpr int listed = group_queries * (max_kept + 2);

  union Storage {
    gpu::StreamStorage<Capacity> select[group_queries];
    gpu::UnionStorage<group_queries, listed> lists;
  };
};

/// One query's blocks; its threads call it together.
template <int Capacity>
__device__ void keep_blocks(const KeepTask& task, std::int64_t i,
                            gpu::StreamStorage<Capacity>& storage) {
  using Group = Threadgroup<KeepPolicy<Capacity>::query_threads>;
  Group const g(static_cast<int>(i % group_queries));
  const Level& level = task.level;
  Visible const v = level.visible(i);
  Candidates const c = level.candidates(v, i);
  Contest const contest = level.contest(c, v);
  std::int32_t* const out = task.blocks + i * task.pitch;
  auto const put = [&](std::int64_t rank, std::int64_t position) {
    out[rank] = static_cast<std::int32_t>(c.row(position));
  };
  auto const emit = [&](std::int64_t rank, std::int64_t position) {
    put(rank + contest.takes_first, position);
  };
  if (level.must_score(contest))
    choose<2>(g, storage, task.scores.values + i * task.scores.pitch, contest,
              [&](std::int64_t p) { return v.covers(c.row(p), level.block_size); }, emit);
  else
    for (std::int64_t p = g.lane(); p < contest.winners(); p += g.size())
      emit(p, contest.first + p);
  if (g.lane() == 0) {
    if (contest.takes_first)
      put(0, 0);
    if (contest.takes_last)
      put(contest.kept() - 1, c.count - 1);
    task.counts[i] = static_cast<std::int32_t>(contest.kept());
  }
}

/// The pieces of the next level for a group of queries whose blocks are all kept.
template <int Capacity>
__device__ void list_pieces(const KeepTask& task, std::int64_t group,
                            gpu::UnionStorage<group_queries, KeepPolicy<Capacity>::listed>& s) {
  using Group = Cta<KeepPolicy<Capacity>::threads>;
  const PieceLists& pieces = task.pieces;
  int const ratio = static_cast<int>(task.level.block_size / task.next.block_size);
  int const of_block = ratio >> pieces.piece_log2;
  std::int32_t counts[group_queries] = {};
  std::int32_t origin[group_queries] = {}, skip[group_queries] = {};
  for (int q = 0; q < group_queries; ++q) {
    std::int64_t const i = group * group_queries + q;
    if (i >= task.level.count)
      continue;
    Visible const v = task.next.visible(i);
    Candidates const c = task.next.candidates(v, i);
    bool const scored = task.next.must_score(task.next.contest(c, v));
    counts[q] = scored ? task.counts[i] : 0;
    origin[q] = static_cast<std::int32_t>(task.next.origin(v));
    skip[q] = static_cast<std::int32_t>(c.skip);
  }

  // 1. Blocks become rows of the level's buffer, so that equal rows are equal keys.
  std::int32_t* const rows = pieces.rows + group * pieces.pitch;
  Positions* const positions = pieces.positions + group * pieces.pitch;
  gpu::ListUnion<Group, group_queries, KeepPolicy<Capacity>::listed> joined(Group{}, s);
  std::int32_t const blocks = joined.build(
      counts,
      [&](int q, std::int32_t e) {
        return origin[q] + task.blocks[(group * group_queries + q) * task.pitch + e] * ratio;
      },
      [&](std::int32_t rank, const auto& entry) {
        for (int j = 0; j < of_block; ++j) {
          std::int32_t const at = rank * of_block + j, offset = j << pieces.piece_log2;
          rows[at] = entry.value + offset;
          Positions p;
          for (int q = 0; q < group_queries; ++q)
            p.of[q] = entry.index[q] < 0 ? Positions::absent
                                         : entry.index[q] * ratio - skip[q] + offset;
          positions[at] = p;
        }
      });

  // 2. Absent pieces fill the last tile.
  int const of_tile = 1 << pieces.pieces_log2();
  std::int32_t const used = blocks * of_block, all = (used + of_tile - 1) / of_tile * of_tile;
  Group const g;
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

template <int Capacity>
__global__ void __launch_bounds__(KeepPolicy<Capacity>::threads)
    keep_kernel(const __grid_constant__ KeepTask task) {
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<typename KeepPolicy<Capacity>::Storage*>(memory);
  std::int64_t const group = blockIdx.x;
  int const q = static_cast<int>(threadIdx.x) / KeepPolicy<Capacity>::query_threads;
  if (group * group_queries + q < task.level.count)
    keep_blocks<Capacity>(task, group * group_queries + q, storage.select[q]);
  __syncthreads();
  list_pieces<Capacity>(task, group, storage.lists);
}

/// What the token kernel is asked to do.
struct TokenTask {
  Level level;
  ScoreRows scores;
  Selection out;
  IndexBase base = IndexBase::relative;
};

template <int Threads, int Capacity>
__global__ void __launch_bounds__(Threads) token_kernel(const __grid_constant__ TokenTask task) {
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<gpu::StreamStorage<Capacity>*>(memory);
  Cta<Threads> const g{};
  const Level& level = task.level;
  std::int64_t const i = blockIdx.x, topk = level.budget;
  Visible const v = level.visible(i);
  Candidates const c = level.candidates(v, i);
  Contest const contest = level.contest(c, v);
  const float* const row = task.scores.values + i * task.scores.pitch;
  std::int64_t const out = (level.first + i) * topk;
  std::int64_t const shift = v.anchor - (task.base == IndexBase::relative ? v.begin : 0);
  auto const emit = [&](std::int64_t rank, std::int64_t position) {
    task.out.indices[out + rank] = static_cast<std::int32_t>(c.row(position) + shift);
    if (task.out.scores != nullptr)
      task.out.scores[out + rank] = row[position];
  };

  // 1. The winners, in ascending order.
  if (!contest.decided())
    choose<4>(g, storage, row, contest, [](std::int64_t) { return true; }, emit);
  else
    for (std::int64_t p = g.lane(); p < contest.winners(); p += g.size())
      emit(p, p);

  // 2. What is left of the row.
  for (std::int64_t rank = contest.winners() + g.lane(); rank < topk; rank += g.size()) {
    task.out.indices[out + rank] = -1;
    if (task.out.scores != nullptr)
      task.out.scores[out + rank] = -INFINITY;
  }
  if (g.lane() == 0 && task.out.counts != nullptr)
    task.out.counts[level.first + i] = static_cast<std::int32_t>(contest.winners());
}

/// Top-k alone: a row of scores to the positions of its k best.
struct TopkTask {
  const float* scores = nullptr; ///< [rows, row_stride]
  std::int64_t row_stride = 0;
  const std::int32_t* lengths = nullptr; ///< [rows] or null: all `columns`
  std::int64_t columns = 0;
  std::int32_t topk = 0;
  Selection out;
};

template <int Threads, int Capacity>
__global__ void __launch_bounds__(Threads) topk_kernel(const __grid_constant__ TopkTask task) {
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<gpu::StreamStorage<Capacity>*>(memory);
  Cta<Threads> const g{};
  std::int64_t const i = blockIdx.x, out = i * task.topk;
  const float* const row = task.scores + i * task.row_stride;
  Contest contest;
  contest.end = task.lengths == nullptr ? task.columns
                                        : detail::clamp(task.lengths[i], 0, task.columns);
  contest.need = task.topk;
  choose<4>(g, storage, row, contest, [](std::int64_t) { return true; },
            [&](std::int64_t rank, std::int64_t position) {
              task.out.indices[out + rank] = static_cast<std::int32_t>(position);
              if (task.out.scores != nullptr)
                task.out.scores[out + rank] = row[position];
            });
  for (std::int64_t rank = contest.winners() + g.lane(); rank < task.topk; rank += g.size()) {
    task.out.indices[out + rank] = -1;
    if (task.out.scores != nullptr)
      task.out.scores[out + rank] = -INFINITY;
  }
  if (g.lane() == 0 && task.out.counts != nullptr)
    task.out.counts[i] = static_cast<std::int32_t>(contest.winners());
}

} // namespace cuda
HISA_NAMESPACE_END
