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

/// Candidates::row in 32-bit arithmetic, without a division where the ratio is a power of two.
class RowOf {
public:
  __device__ RowOf() {}
  __device__ explicit RowOf(const Candidates& c)
      : parents_(c.parents), ratio_(static_cast<std::uint32_t>(c.ratio)),
        skip_(static_cast<std::uint32_t>(c.skip)) {
    while (ratio_ >> (log2_ + 1) != 0)
      ++log2_;
    log2_ = (ratio_ & (ratio_ - 1)) == 0 ? log2_ : -1;
  }
  __device__ std::int32_t operator()(std::int32_t position) const {
    std::uint32_t const p = static_cast<std::uint32_t>(position) + skip_;
    if (parents_ == nullptr)
      return static_cast<std::int32_t>(p);
    std::uint32_t const parent = log2_ >= 0 ? p >> log2_ : p / ratio_;
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(parents_[parent]) * ratio_ + p -
                                     parent * ratio_);
  }

private:
  const std::int32_t* parents_ = nullptr;
  std::uint32_t ratio_ = 1;
  std::uint32_t skip_ = 0;
  int log2_ = 0; ///< -1: the ratio is no power of two
};

/// The positions that compete, in 32-bit arithmetic.
struct Field {
  std::int32_t first = 0, end = 0;
  std::int32_t hidden[2] = {-1, -1}; ///< positions that count -inf; -1: none

  __device__ Field() {}
  __device__ explicit Field(const Contest& c)
      : first(static_cast<std::int32_t>(c.first)), end(static_cast<std::int32_t>(c.end)) {}
};

/// The keys of four scores of a row from position `base`, a multiple of 4.
__device__ inline void load_keys(std::uint32_t* key, const float* row, std::int32_t base,
                                 const Field& field) {
  float scores[4] = {};
  bool const inside = base >= field.first && base + 4 <= field.end;
  if (inside && reinterpret_cast<std::uintptr_t>(row + base) % 16 == 0) {
    auto const four = *reinterpret_cast<const float4*>(row + base);
    scores[0] = four.x, scores[1] = four.y, scores[2] = four.z, scores[3] = four.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      scores[i] = base + i < field.end ? row[base + i] : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    key[i] = gpu::candidate_key(scores[i]);
  if (inside && field.hidden[0] < 0 && field.hidden[1] < 0)
    return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    std::int32_t const position = base + i;
    if (position == field.hidden[0] || position == field.hidden[1])
      key[i] = gpu::candidate_key(-INFINITY);
    if (position < field.first || position >= field.end)
      key[i] = 0;
  }
}

/// The winners of a contest: emit(rank, position) for each, ranks ascending with positions.
/// @tparam Width  scores that a lane takes at a time
template <int Width, int Capacity, class G, class Emit>
__device__ void choose(const G& g, gpu::StreamStorage<Capacity>& storage, const float* row,
                       const Field& field, std::int64_t need, const Emit& emit) {
  auto const k = static_cast<std::int32_t>(need);
  std::int32_t const begin = field.first / 4 * 4;
  if (field.end - begin <= Width * g.size()) {
    gpu::Held<Width> all;
    all.first = begin + Width * g.lane();
#pragma unroll
    for (int i = 0; i < Width; i += 4)
      load_keys(all.key + i, row, all.first + i, field);
    gpu::select_held(g, storage, all, field.end - field.first, k, emit);
    return;
  }
  gpu::StreamSelect<G, Capacity> stream(g, storage, k);
  auto const push = [&]<int W>(std::int32_t base, gpu::Held<W> held) {
    held.first = base + W * g.lane();
#pragma unroll
    for (int i = 0; i < W; i += 4)
      load_keys(held.key + i, row, held.first + i, field);
    stream.push(held);
  };
  if (k <= Capacity - 8 * g.size())
    for (std::int32_t base = begin; base < field.end; base += 8 * g.size())
      push(base, gpu::Held<8>{});
  else
    for (std::int32_t base = begin; base < field.end; base += 4 * g.size())
      push(base, gpu::Held<4>{});
  stream.finish([&](std::int32_t rank, std::int32_t position, std::uint32_t) {
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

/// What a query's blocks are chosen by: found out by one thread for all.
struct BlockRow {
  Field field;
  RowOf row_of;
  std::int32_t winners = 0, need = 0;
  bool takes_first = false, takes_last = false, decided = true;

  __device__ BlockRow() {}
  __device__ BlockRow(const Level& level, std::int64_t i) {
    Visible const v = level.visible(i);
    Candidates const c = level.candidates(v, i);
    Contest const contest = level.contest(c, v);
    field = Field(contest);
    row_of = RowOf(c);
    winners = static_cast<std::int32_t>(contest.winners());
    need = static_cast<std::int32_t>(contest.need);
    takes_first = contest.takes_first, takes_last = contest.takes_last;
    decided = !level.must_score(contest, v);
    if (level.boundary == Boundary::none && !decided) { // only an end can be partly visible
      auto const end = static_cast<std::int32_t>(c.count - 1);
      field.hidden[0] = v.covers(c.row(0), level.block_size) ? -1 : 0;
      field.hidden[1] = v.covers(c.row(end), level.block_size) ? -1 : end;
    }
  }
};

/// One query's blocks; its threads call it together.
template <int Capacity>
__device__ void keep_blocks(const KeepTask& task, std::int64_t i,
                            gpu::StreamStorage<Capacity>& storage) {
  using Group = Threadgroup<KeepPolicy<Capacity>::query_threads>;
  Group const g(static_cast<int>(i % group_queries));
  BlockRow& shared_row = *reinterpret_cast<BlockRow*>(&storage);
  bool const present = i < task.level.count; // else an empty row that stores nothing
  if (g.lane() == 0)
    shared_row = present ? BlockRow(task.level, i) : BlockRow();
  g.barrier();
  BlockRow const r = shared_row;
  g.barrier(); // the selection uses the same memory
  std::int32_t* const out = task.blocks + i * task.pitch;
  auto const emit = [&](std::int32_t rank, std::int32_t position) {
    out[rank + r.takes_first] = r.row_of(position);
  };
  if (!r.decided)
    choose<8>(g, storage, task.scores.values + i * task.scores.pitch, r.field, r.need, emit);
  else
    for (std::int32_t p = g.lane(); p < r.winners; p += g.size())
      emit(p, r.field.first + p);
  if (g.lane() == 0 && present) {
    if (r.takes_first)
      out[0] = r.row_of(0);
    std::int32_t const kept = r.winners + r.takes_first + r.takes_last;
    if (r.takes_last)
      out[kept - 1] = r.row_of(r.field.end);
    task.counts[i] = kept;
  }
}

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

__device__ inline ListedQuery listed_query(const KeepTask& task, std::int64_t i) {
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
template <int Capacity>
__device__ void list_pieces(const KeepTask& task, std::int64_t group,
                            gpu::UnionStorage<group_queries, KeepPolicy<Capacity>::listed>& s) {
  using Group = Cta<KeepPolicy<Capacity>::threads>;
  const PieceLists& pieces = task.pieces;
  int const ratio = static_cast<int>(task.level.block_size / task.next.block_size);
  int const of_block = ratio >> pieces.piece_log2;
  Group const g;
  __shared__ ListedQuery queries[group_queries];
  if (g.lane() < group_queries)
    queries[g.lane()] = listed_query(task, group * group_queries + g.lane());
  g.barrier();
  std::int32_t counts[group_queries];
  for (int q = 0; q < group_queries; ++q)
    counts[q] = queries[q].count;

  // 1. Blocks become rows of the level's buffer, so that equal rows are equal keys.
  std::int32_t* const rows = pieces.rows + group * pieces.pitch;
  Positions* const positions = pieces.positions + group * pieces.pitch;
  gpu::ListUnion<Group, group_queries, KeepPolicy<Capacity>::listed> joined(g, s);
  std::int32_t const blocks = joined.build(
      counts,
      [&](int q, std::int32_t e) {
        return queries[q].origin + queries[q].block(e) * ratio;
      },
      [&](std::int32_t rank, const auto& entry) {
        for (int j = 0; j < of_block; ++j) {
          std::int32_t const at = rank * of_block + j, offset = j << pieces.piece_log2;
          rows[at] = entry.value + offset;
          Positions p;
          for (int q = 0; q < group_queries; ++q)
            p.of[q] = entry.index[q] < 0
                          ? Positions::absent
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

template <int Capacity>
__global__ void __launch_bounds__(KeepPolicy<Capacity>::threads, 2)
    keep_kernel(const __grid_constant__ KeepTask task) {
  begin_kernel();
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<typename KeepPolicy<Capacity>::Storage*>(memory);
  std::int64_t const group = blockIdx.x;
  int const q = static_cast<int>(threadIdx.x) / KeepPolicy<Capacity>::query_threads;
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

/// What a query's tokens are chosen by: found out by one thread for all.
struct TokenRow {
  Field field;
  RowOf row_of;
  std::int32_t winners = 0;
  std::int32_t shift = 0; ///< from rows, counted from the anchor, to indices
  bool decided = true;

  __device__ TokenRow() {}
  __device__ TokenRow(const TokenTask& task, std::int64_t i) {
    Visible const v = task.level.visible(i);
    Candidates const c = task.level.candidates(v, i);
    Contest const contest = task.level.contest(c, v);
    field = Field(contest);
    row_of = RowOf(c);
    winners = static_cast<std::int32_t>(contest.winners());
    shift = static_cast<std::int32_t>(v.anchor - (task.base == IndexBase::relative ? v.begin : 0));
    decided = contest.decided();
  }
};

template <int Threads, int Capacity>
__global__ void __launch_bounds__(Threads, Capacity > 8192 ? 1 : 3) token_kernel(const __grid_constant__ TokenTask task) {
  begin_kernel();
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<gpu::StreamStorage<Capacity>*>(memory);
  Cta<Threads> const g{};
  __shared__ alignas(16) unsigned char row_bytes[sizeof(TokenRow)];
  auto& shared_row = *reinterpret_cast<TokenRow*>(row_bytes);
  std::int64_t const i = blockIdx.x, topk = task.level.budget;
  if (g.lane() == 0)
    shared_row = TokenRow(task, i);
  g.barrier();
  TokenRow const r = shared_row;
  const float* const row = task.scores.values + i * task.scores.pitch;
  std::int64_t const out = (task.level.first + i) * topk;
  auto const emit = [&](std::int32_t rank, std::int32_t position) {
    task.out.indices[out + rank] = r.row_of(position) + r.shift;
    if (task.out.scores != nullptr)
      task.out.scores[out + rank] = row[position];
  };

  // 1. The winners, in ascending order.
  if (!r.decided)
    choose<8192 / Threads>(g, storage, row, r.field, topk, emit);
  else
    for (std::int32_t p = g.lane(); p < r.winners; p += g.size())
      emit(p, p);

  // 2. What is left of the row.
  for (std::int64_t rank = r.winners + g.lane(); rank < topk; rank += g.size()) {
    task.out.indices[out + rank] = -1;
    if (task.out.scores != nullptr)
      task.out.scores[out + rank] = -INFINITY;
  }
  if (g.lane() == 0 && task.out.counts != nullptr)
    task.out.counts[task.level.first + i] = r.winners;
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
__global__ void __launch_bounds__(Threads, Capacity > 8192 ? 1 : 2) topk_kernel(const __grid_constant__ TopkTask task) {
  begin_kernel();
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<gpu::StreamStorage<Capacity>*>(memory);
  Cta<Threads> const g{};
  std::int64_t const i = blockIdx.x, out = i * task.topk;
  const float* const row = task.scores + i * task.row_stride;
  Contest contest;
  contest.end = task.lengths == nullptr ? task.columns
                                        : detail::clamp(task.lengths[i], 0, task.columns);
  contest.need = task.topk;
  choose<8192 / Threads>(g, storage, row, Field(contest), contest.need,
            [&](std::int32_t rank, std::int32_t position) {
              task.out.indices[out + rank] = position;
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
