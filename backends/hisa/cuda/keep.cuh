// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The kernel that finds the blocks that queries keep, by their scores or by another source
/// (caller_blocks.cuh), and lists what is scored of the level below: pieces or pairs.
#pragma once

#include <hisa/cuda/choose.cuh>
#include <hisa/cuda/task.cuh>
#include <hisa/gpu/list_pieces.hpp>
#include <hisa/gpu/pairs.hpp>

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
  PairLists pairs;      ///< of the level below, in the place of pieces
  bool follows = false; ///< the scoring kernel of its call: see begin_kernel_reading
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
  gpu::ListedQuery queries[group_queries];
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
      storage.queries[g.number()] = gpu::listed_query(
          task.next, v, {task.blocks + i * task.pitch, kept, task.level.block_size});
    }
  } else if (g.lane() == 0) {
    storage.queries[g.number()] = {};
  }
  all.barrier();
  auto const ratio =
      static_cast<int>(detail::quotient(task.level.block_size, task.next.block_size));
  if (task.pairs.pairs != nullptr)
    list_pairs(all, task.pairs, group, storage.queries, ratio);
  else
    list_pieces(all, task.pieces, group, storage.queries, ratio, storage.lists, storage.cost);
}

} // namespace cuda
HISA_NAMESPACE_END
