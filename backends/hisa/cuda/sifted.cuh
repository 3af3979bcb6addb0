// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The kernel that chooses tokens from what the sift kernel has listed, four neighbouring queries a
/// CTA. Where that does not tell a query's k best, it says so, and the flat kernel (flat.cuh) takes
/// the four.
#pragma once

#include <hisa/cuda/sift.cuh>
#include <hisa/cuda/tokens.cuh>
#include <hisa/gpu/sifted.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

struct SiftedTask : TokenTask {
  SiftedLists lists;
  SiftItems items;
  const SampledBound* bounds = nullptr; ///< [queries]
  FailedGroups failed;
};

struct SiftedStorage {
  static constexpr int threads = SiftSizes::lanes, ctas = 2; ///< of a multiprocessor
  using Group = Cta<threads>;
  using OfQuery = Part<threads / group_queries>;
  using Select = gpu::SiftedStorage<1024, 4096>;
  static constexpr int max_topk = Select::max_k;
  Select select;
  alignas(16) TokenRow rows[group_queries];
  gpu::GroupItems items;
  Barrier barriers[group_queries];

  /// By lane q < group_queries: what query q is chosen by.
  __device__ void begin_query(const SiftedTask& task, std::int64_t i, int q) {
    Level level = task.level;
    level.block_size = 1; // as it is: now the compiler knows, and divides by nothing
    gpu::SiftedQuery query;
    if (i < level.count) {
      rows[q] = TokenRow(level, task.scores, task.out, task.base, i);
      if (!rows[q].row.decided || level.scores_wanted) {
        query.set_range(task.bounds[i].low, task.bounds[i].likely);
        query.limit = static_cast<std::int32_t>(rows[q].row.contest.end);
        query.k = rows[q].row.winners;
      }
    }
    select.queries[q] = query;
  }
};

/// The rank of a token among the winners of a row, or -1.
__device__ inline std::int32_t rank_of(std::int32_t token, const std::int32_t* row,
                                       std::int32_t winners) {
  std::int32_t low = 0;
  for (std::int32_t high = winners; low < high;) {
    std::int32_t const middle = (low + high) / 2;
    if (row[middle] < token)
      low = middle + 1;
    else
      high = middle;
  }
  return low < winners && row[low] == token ? low : -1;
}

template <int = 0>
__global__ void __launch_bounds__(SiftedStorage::threads, SiftedStorage::ctas)
    sifted_kernel(const __grid_constant__ SiftedTask task) {
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<SiftedStorage*>(memory);
  auto& s = storage.select;
  SiftedStorage::Group const g{};
  std::int64_t const group = blockIdx.x, first = group * group_queries;
  prepare(g, s);
  if (g.lane() < group_queries) {
    storage.barriers[g.lane()].init(SiftedStorage::OfQuery::size());
    begin_kernel_reading(task.follows);
    storage.begin_query(task, first + g.lane(), g.lane());
  }
  if (g.lane() == 32)
    storage.items = gpu::GroupItems(task.items, group);
  begin_kernel();
  g.barrier();
  auto const for_each_list = [&](const auto& visit) {
    for (int i = 0; i < storage.items.count; ++i) {
      std::int64_t const item = storage.items[i];
      std::int32_t const count = task.lists.count(item, g.lane());
      visit(gpu::SiftedList{task.lists.of(item, g.lane()), count}, count >= SiftSizes::full);
    }
  };
  gpu::Sifted const sifted(g, s);
  for_each_list([&](const gpu::SiftedList& list, bool full) {
    sifted.count(list);
    if (full)
      g.merge(&s.lost, 1u);
  });
  g.barrier();
  int const q = SiftedStorage::OfQuery::number();
  SiftedStorage::OfQuery const part(storage.barriers[q]);
  gpu::SiftedPart const of_query(part, s, q);
  of_query.choose();
  g.barrier();
  if (s.lost != 0) {
    if (g.lane() == 0) {
      task.failed.fails[group] = 1;
      task.failed.list[atomicAdd(task.failed.count, 1)] = static_cast<std::int32_t>(group);
    }
    return;
  }
  for_each_list([&](const gpu::SiftedList& list, bool) { sifted.gather(list); });
  g.barrier();
  const TokenRow& r = storage.rows[q];
  auto const emit = [&](std::int32_t rank, std::uint32_t position) {
    r.out.rows[rank] = r.row.row_of(position) + r.out.shift;
  };
  if (first + q < task.level.count) {
    if (s.queries[q].k > 0)
      of_query.emit(emit);
    else
      emit_all(part, r.row.contest.first, r.row.winners, emit);
    end_row(part, task.out, task.level.first + first + q, task.level.budget, r.row.winners);
  }
  if (task.out.scores == nullptr)
    return;
  g.barrier();
  for_each_list([&](const gpu::SiftedList& list, bool) {
    sifted.for_each_likely(list, [&](int of, std::uint32_t position, float score) {
      const TokenRow& row = storage.rows[of];
      std::int32_t const token = row.row.row_of(position) + row.out.shift;
      std::int32_t const rank = rank_of(token, row.out.rows, row.row.winners);
      if (rank >= 0)
        row.out.scores[rank] = score;
    });
  });
}

} // namespace cuda
HISA_NAMESPACE_END
