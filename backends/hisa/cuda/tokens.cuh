// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The kernels that choose tokens: the caller's outputs from the last level's scores, and top-k
/// alone.
#pragma once

#include <hisa/cuda/choose.cuh>
#include <hisa/cuda/contenders.cuh>
#include <hisa/cuda/sample.cuh>
#include <hisa/gpu/token_row.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

using gpu::emit_all, gpu::end_row, gpu::TokenRow;

/// What the token kernel is asked to do.
struct TokenTask {
  Level level;
  ScoreRows scores;
  Selection out;
  IndexBase base = IndexBase::relative;
  bool follows = false; ///< the scoring kernel of its call: see begin_kernel_reading
};

template <class Policy>
struct TokenStorage {
  typename Policy::Storage select;
  alignas(16) TokenRow row;
};

/// Waits for the kernel before; the CTA's row.
template <class Policy>
__device__ TokenRow begin_row(const Cta<Policy::threads>& g, TokenStorage<Policy>& storage,
                              const TokenTask& task) {
  prepare(g, storage.select);
  if (g.lane() == 0) {
    begin_kernel_reading(task.follows);
    Level level = task.level;
    level.block_size = 1; // as it is: now the compiler knows, and divides by nothing
    storage.row = TokenRow(level, task.scores, task.out, task.base, blockIdx.x);
  }
  begin_kernel();
  g.barrier();
  return storage.row;
}

/// Chooses query i's tokens from its row of scores.
template <class Policy>
__device__ void choose_tokens(const Cta<Policy::threads>& g, typename Policy::Storage& storage,
                              const TokenTask&, const TokenRow& r, std::int64_t) {
  choose(g, r.row, r.out, [&](const auto& emit) {
    Policy::select(g, CtaCluster(), storage, r.row.contest, r.row.need, emit);
  });
}

/// A TokenTask by lists of contenders.
struct ContenderTask : TokenTask {
  ContenderLists lists;
  FailedGroups failed; ///< those to choose for; without: all
};

/// The same from its list.
template <class Policy>
__device__ void choose_tokens(const Cta<Policy::threads>& g, typename Policy::Storage& storage,
                              const ContenderTask& task, const TokenRow& r, std::int64_t i) {
  const gpu::Contender* const list = task.lists.of(i);
  bool const listed = !r.row.decided || task.level.scores_wanted; // else all that it sees win
  auto const emit = [&](std::int32_t rank, std::uint32_t at) {
    std::uint32_t const position = listed ? static_cast<std::uint32_t>(list[at].position) : at;
    r.out.rows[rank] = r.row.row_of(position) + r.out.shift;
    if (r.out.scores != nullptr)
      r.out.scores[rank] = list[at].score;
  };
  ContenderRow const row{list, 0, static_cast<std::uint32_t>(task.lists.counts[i])};
  if (!r.row.decided && row.end > static_cast<std::uint32_t>(r.row.winners))
    Policy::select(g, CtaCluster(), storage, row, r.row.winners, emit);
  else
    emit_all(g, listed ? 0 : r.row.contest.first, r.row.winners, emit);
}

/// Whether query i is none of the task's.
__device__ inline bool skips(const TokenTask&, std::int64_t) {
  return false;
}
__device__ inline bool skips(const ContenderTask& task, std::int64_t i) {
  if (task.failed.count == nullptr)
    return false;
  begin_kernel();
  return task.failed.fails[i / group_queries] == 0;
}

/// @tparam Policy  ShortRows or LongRows
/// @tparam Task    TokenTask or ContenderTask
template <class Policy, class Task>
__global__ void __launch_bounds__(Policy::threads, Policy::ctas)
    token_kernel(const __grid_constant__ Task task) {
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<TokenStorage<Policy>*>(memory);
  Cta<Policy::threads> const g{};
  std::int64_t const i = blockIdx.x;
  if (skips(task, i))
    return;
  TokenRow const r = begin_row(g, storage, task);
  choose_tokens<Policy>(g, storage.select, task, r, i);
  end_row(g, task.out, task.level.first + i, task.level.budget, r.row.winners);
}

/// Top-k alone: a row of scores to the positions of its k best.
struct TopkTask {
  const float* scores = nullptr;         ///< [rows, row_stride], any 4-byte alignment
  std::int64_t row_stride = 0;           ///< floats from one row to the next, at least `columns`
  const std::int32_t* lengths = nullptr; ///< [rows] or null: all `columns`; clamped to 0 .. columns
  std::int64_t columns = 0;              ///< scores of a row
  std::int32_t topk = 0;                 ///< winners of a row; fewer where it has fewer scores
  Selection out;                         ///< [rows, topk], counts [rows]
};

/// One row of a TopkTask.
struct TopkRow {
  ContestRow contest;
  std::uint32_t shift; ///< position 0 is the scores' last 16-byte boundary before the row
  std::int32_t winners;

  __device__ TopkRow(const TopkTask& task, std::int64_t i) {
    const float* const row = task.scores + i * task.row_stride;
    shift = reinterpret_cast<std::uintptr_t>(row) / 4 % 4;
    std::int64_t const length =
        task.lengths == nullptr ? task.columns : detail::clamp(task.lengths[i], 0, task.columns);
    contest.values = row - shift;
    contest.first = shift;
    contest.end = shift + static_cast<std::uint32_t>(length);
    winners = static_cast<std::int32_t>(length < task.topk ? length : task.topk);
  }
  /// Writes a winner.
  __device__ void emit(const TopkTask& task, std::int64_t i, std::int32_t rank,
                       std::uint32_t position) const {
    std::int64_t const at = i * task.topk + rank;
    task.out.indices[at] = static_cast<std::int32_t>(position - shift);
    if (task.out.scores != nullptr)
      task.out.scores[at] = contest.values[position];
  }
};

/// A row by a CTA, or by the CTAs of a cluster.
template <class Policy>
__global__ void __launch_bounds__(Policy::threads, Policy::ctas)
    topk_kernel(const __grid_constant__ TopkTask task) {
  begin_kernel();
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<typename Policy::Storage*>(memory);
  Cta<Policy::threads> const g{};
  CtaCluster const cluster{};
  std::int64_t const i = blockIdx.x / static_cast<unsigned>(cluster.ranks());
  prepare(g, storage);
  g.barrier();
  TopkRow const r(task, i);
  auto const emit = [&](std::int32_t rank, std::uint32_t position) {
    r.emit(task, i, rank, position);
  };
  if (r.contest.end - r.contest.first > static_cast<std::uint32_t>(task.topk))
    Policy::select(g, cluster, storage, r.contest, task.topk, emit);
  else if (cluster.rank() == 0)
    emit_all(g, r.contest.first, r.winners, emit);
  if (cluster.rank() == 0)
    end_row(g, task.out, i, task.topk, r.winners);
}

/// A row by a CTA, for a k that no buffer holds.
template <int Threads>
__global__ void __launch_bounds__(Threads)
    topk_again_kernel(const __grid_constant__ TopkTask task) {
  begin_kernel();
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<gpu::RadixStorage<2048>*>(memory);
  Cta<Threads> const g{};
  std::int64_t const i = blockIdx.x;
  prepare(g, storage);
  g.barrier();
  TopkRow const r(task, i);
  gpu::select_again(
      g, storage, r.contest, task.topk,
      [&](std::int32_t rank, std::uint32_t position) { r.emit(task, i, rank, position); });
  end_row(g, task.out, i, task.topk, r.winners);
}

} // namespace cuda
HISA_NAMESPACE_END
