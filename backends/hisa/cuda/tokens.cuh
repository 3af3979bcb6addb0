// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The kernels that choose tokens: the caller's outputs from the last level's scores, and top-k
/// alone.
#pragma once

#include <hisa/cuda/choose.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

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
__global__ void __launch_bounds__(Threads, Capacity > 8192 ? 1 : 3)
    token_kernel(const __grid_constant__ TokenTask task) {
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
__global__ void __launch_bounds__(Threads, Capacity > 8192 ? 1 : 2)
    topk_kernel(const __grid_constant__ TopkTask task) {
  begin_kernel();
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<gpu::StreamStorage<Capacity>*>(memory);
  Cta<Threads> const g{};
  std::int64_t const i = blockIdx.x, out = i * task.topk;
  const float* const row = task.scores + i * task.row_stride;
  Contest contest;
  contest.end =
      task.lengths == nullptr ? task.columns : detail::clamp(task.lengths[i], 0, task.columns);
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
