// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "evaluate.hpp"

#include <hisa/hisa.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace hisa::tools {

namespace {

using Exec = Kokkos::DefaultExecutionSpace;
template <class T>
using Memory = Kokkos::View<T*, Kokkos::LayoutRight, Exec::memory_space>;

template <class T>
Memory<T> to_device(std::span<const T> host) {
  Memory<T> const device(Kokkos::view_alloc(Kokkos::WithoutInitializing, "hisa-eval"), host.size());
  Kokkos::deep_copy(device, Kokkos::View<const T*, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(
                                host.data(), host.size()));
  return device;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Queries of a call: few enough to show progress within seconds, else as many as are worth it.
std::int64_t queries_per_call(std::int64_t keys) {
  return std::clamp((std::int64_t(1) << 22) / keys, std::int64_t(4), std::int64_t(64));
}

Shape<> shape_of(const Dump& dump) {
  return {.max_queries = queries_per_call(dump.keys),
          .max_keys = dump.keys,
          .heads = dump.heads,
          .head_dim = dump.head_dim};
}

constexpr Options absolute{.index_base = IndexBase::absolute};

Budgets budgets_of(const Setting& setting, int topk) {
  Budgets budgets;
  budgets.topk = topk;
  for (int size : setting.block_size)
    budgets.block_size.push_back(size);
  for (int keep : setting.block_topk)
    budgets.keep.push_back(keep);
  return budgets;
}

/// Budgets for make_block_sparse_plan: those above the finest level.
Budgets above_finest(Budgets budgets) {
  --budgets.keep.count;
  return budgets;
}

/// Calls f with the type Levels<dynamic, ...> of `count` levels.
template <int Count = 1, class F>
decltype(auto) with_levels(std::size_t count, F&& f) {
  if constexpr (Count < max_levels)
    if (count != std::size_t(Count))
      return with_levels<Count + 1>(count, f);
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return f(Levels<(static_cast<void>(I), dynamic)...>());
  }
  (std::make_index_sequence<Count>());
}

/// The dump's tensors in device memory.
struct Tensors {
  Memory<e4m3fn> q, k;
  Memory<float> w, k_scale;
  Memory<std::int32_t> ks, ke;
  Queries<e4m3fn> queries;
  ContiguousKeys<e4m3fn> keys;

  Tensors(const Dump& dump, const RowRange& rows)
      : q(to_device(dump.q)), k(to_device(dump.k)), w(to_device(dump.w)),
        k_scale(to_device(dump.k_scale)), ks("hisa-eval", std::size_t(rows.count())) {
    std::vector<std::int32_t> end;
    for (std::int32_t row = rows.first; row < rows.end; ++row)
      end.push_back(dump.pos[std::size_t(row)] + 1);
    ke = to_device(std::span<const std::int32_t>(end));
    std::int64_t const weights = std::int64_t(rows.first) * dump.heads;
    queries = {q.data() + weights * dump.head_dim, w.data() + weights, rows.count(), dump.heads,
               dump.head_dim};
    keys = {k.data(), k_scale.data(), dump.keys, dump.head_dim, 0};
  }
};

/// The pooled rows of a setting.
struct PooledLevels {
  std::vector<Memory<e4m3fn>> values;
  std::vector<Memory<float>> scales;
  std::vector<PooledKeys<e4m3fn>> levels;

  PooledLevels(const Tensors& tensors, const Setting& setting) {
    for (int size : setting.block_size) {
      std::int64_t const blocks = tensors.keys.count / size;
      values.emplace_back("hisa-eval", std::size_t(blocks * tensors.keys.head_dim));
      scales.emplace_back("hisa-eval", std::size_t(blocks));
      levels.push_back({values.back().data(), scales.back().data(), blocks, size,
                        tensors.keys.head_dim, nullptr});
    }
  }

  /// Pools every level and returns the seconds it took.
  double pool(const Exec& exec, const Tensors& tensors) const {
    std::int32_t const length = static_cast<std::int32_t>(tensors.keys.count);
    auto const lengths = to_device(std::span<const std::int32_t>(&length, 1));
    auto const start = std::chrono::steady_clock::now();
    for (const PooledKeys<e4m3fn>& level : levels)
      pool_rebuild<MeanPool>(exec, tensors.keys, level, {.count = 1, .new_length = lengths.data()});
    exec.fence();
    return seconds_since(start);
  }
};

/// Runs a plan over all rows; `pooled` are its candidates, if it takes any.
template <class PlanT, class... Pooled>
Method run(const Exec& exec, const PlanT& plan, const Tensors& tensors, int topk,
           const Progress& progress, const std::string& step, const Pooled&... pooled) {
  std::int64_t const rows = tensors.queries.count, heads = tensors.queries.heads;
  Memory<std::int32_t> const indices("hisa-eval", std::size_t(rows * topk));
  Memory<std::uint64_t> const workspace("hisa-eval", plan.workspace_bytes() / 8 + 1);
  std::int64_t const step_size = queries_per_call(tensors.keys.count);
  Method method;
  for (std::int64_t first = 0; first < rows; first += step_size) {
    progress(step, double(first) / double(rows));
    Queries<e4m3fn> queries = tensors.queries;
    queries.values += first * heads * queries.head_dim;
    queries.weights += first * heads;
    queries.count = std::min(step_size, rows - first);
    auto const start = std::chrono::steady_clock::now();
    plan(exec, queries, tensors.keys, pooled...,
         Ranges{tensors.ks.data() + first, tensors.ke.data() + first},
         Selection{.indices = indices.data() + first * topk},
         WorkspaceSpan{workspace.data(), workspace.size() * 8});
    exec.fence();
    method.seconds += seconds_since(start);
  }
  method.selected.topk = topk;
  method.selected.indices.resize(std::size_t(rows * topk));
  Kokkos::deep_copy(Kokkos::View<std::int32_t*, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(
                        method.selected.indices.data(), method.selected.indices.size()),
                    indices);
  return method;
}

/// Rows of all levels that are scored for a query that sees the keys 0 .. pos. Boundary blocks are
/// kept on every level, so each kept list starts and ends at a known block.
std::int64_t keys_scored(std::int32_t pos, const Budgets& budgets) {
  Visible visible;
  visible.end = std::int64_t(pos) + 1;
  std::int64_t scored = 0;
  std::vector<std::int32_t> list;
  KeptBlocks kept;
  for (int l = 0; l < budgets.keep.count; ++l) {
    int const size = budgets.block_size[l];
    Candidates const candidates(visible, kept, size);
    Contest const contest =
        Contest::blocks(candidates, visible, size, budgets.keep[l], Boundary::counted);
    scored += contest.decided() ? 0 : contest.size();
    std::int32_t const last = static_cast<std::int32_t>(visible.end_row(size) - 1);
    list.assign(std::size_t(contest.kept()), last);
    if (budgets.keep[l] > 1)
      list.front() = 0;
    kept = {list.data(), contest.kept(), size};
  }
  Contest const tokens = Contest::tokens(Candidates(visible, kept, 1), budgets.topk);
  return scored + (tokens.decided() ? 0 : tokens.size());
}

double mean_keys_scored(const Dump& dump, const RowRange& rows, const Budgets& budgets) {
  double sum = 0;
  for (std::int32_t row = rows.first; row < rows.end; ++row)
    sum += double(keys_scored(dump.pos[std::size_t(row)], budgets));
  return sum / rows.count();
}

std::string name_of(const Setting& setting) {
  std::string name;
  for (std::size_t l = 0; l < setting.block_size.size(); ++l)
    name += (l == 0 ? "" : ", ") + std::to_string(setting.block_topk[l]) + " blocks of " +
            std::to_string(setting.block_size[l]);
  return name;
}

/// One setting, for a fixed number of levels.
template <class LevelsT>
Outcome evaluate_setting(const Exec& exec, const Dump& dump, const RowRange& rows,
                         const Tensors& tensors, const Setting& setting, int topk,
                         const Selected& flat, const Progress& progress) {
  Outcome outcome;
  outcome.setting = setting;
  std::string const name = dump.file.stem().string() + ": " + name_of(setting);
  Budgets budgets = budgets_of(setting, topk);
  auto const plan = make_plan<LevelsT>(exec, shape_of(dump), budgets, absolute);
  PooledLevels const pooled(tensors, setting);
  progress(name, 0);
  outcome.pool_seconds = pooled.pool(exec, tensors);
  std::array<PooledKeys<const e4m3fn>, LevelsT::count> levels;
  std::copy(pooled.levels.begin(), pooled.levels.end(), levels.begin());

  Method& hierarchical = outcome.hierarchical;
  hierarchical = run(exec, plan, tensors, topk, progress, name, levels);
  hierarchical.keys_per_query = mean_keys_scored(dump, rows, budgets);
  hierarchical.fidelity = measure(dump, rows, flat, hierarchical.selected);

  int const finest = setting.block_size.back();
  if (topk % finest != 0)
    return outcome;
  budgets.keep = above_finest(budgets).keep;
  auto const sparse = make_block_sparse_plan<LevelsT>(exec, shape_of(dump), budgets, absolute);
  Method& block_sparse =
      outcome.block_sparse.emplace(run(exec, sparse, tensors, topk, progress, name, levels));
  budgets.keep.push_back(topk / finest);
  block_sparse.keys_per_query = mean_keys_scored(dump, rows, budgets);
  block_sparse.fidelity = measure(dump, rows, flat, block_sparse.selected);
  return outcome;
}

} // namespace

void check_settings(const Dump& dump, const std::vector<Setting>& settings, int topk) {
  for (const Setting& setting : settings)
    with_levels(setting.block_size.size(), [&]<class LevelsT>(LevelsT) {
      make_plan<LevelsT>(Exec(), shape_of(dump), budgets_of(setting, topk), absolute);
    });
}

Evaluation evaluate(const Dump& dump, const RowRange& rows, const std::vector<Setting>& settings,
                    int topk, const Progress& progress) {
  Exec const exec;
  Tensors const tensors(dump, rows);
  Evaluation evaluation;
  evaluation.rows = rows;
  evaluation.topk = topk;

  Budgets const flat_budgets{.topk = topk};
  auto const flat = make_plan<Levels<>>(exec, shape_of(dump), flat_budgets, absolute);
  evaluation.flat = run(exec, flat, tensors, topk, progress, dump.file.stem().string() + ": flat");
  evaluation.flat.keys_per_query = mean_keys_scored(dump, rows, flat_budgets);
  evaluation.flat.fidelity =
      measure(dump, rows, evaluation.flat.selected, evaluation.flat.selected);

  for (const Setting& setting : settings)
    with_levels(setting.block_size.size(), [&]<class LevelsT>(LevelsT) {
      evaluation.outcomes.push_back(evaluate_setting<LevelsT>(
          exec, dump, rows, tensors, setting, topk, evaluation.flat.selected, progress));
    });
  return evaluation;
}

} // namespace hisa::tools
