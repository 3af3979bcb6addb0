// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "evaluate.hpp"

#include "device.hpp"
#include "price.hpp"
#include "rules.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace hisa::tools {

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Shape<> shape_of(const Dump& dump) {
  return {.max_queries = queries_per_call(dump.keys),
          .max_keys = dump.keys,
          .heads = dump.heads,
          .head_dim = dump.head_dim};
}

constexpr Options absolute{.index_base = IndexBase::absolute};

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

/// Runs a plan over all rows; `pooled` are its candidates, if it takes any.
template <class PlanT, class... Pooled>
Method run(const Exec& exec, const PlanT& plan, const Tensors& tensors, int topk,
           const Progress& progress, const std::string& step, const Pooled&... pooled) {
  std::int64_t const rows = tensors.queries.count;
  Memory<std::int32_t> const indices("hisa-eval", std::size_t(rows * topk));
  Memory<std::uint64_t> const workspace("hisa-eval", plan.workspace_bytes() / 8 + 1);
  std::int64_t const step_size = queries_per_call(tensors.keys.count);
  Method method;
  for (std::int64_t first = 0; first < rows; first += step_size) {
    progress(step, double(first) / double(rows));
    auto const queries = tensors.some_queries(first, std::min(step_size, rows - first));
    auto const start = std::chrono::steady_clock::now();
    plan(exec, queries, tensors.keys, pooled..., tensors.ranges(first),
         Selection{.indices = indices.data() + first * topk},
         WorkspaceSpan{workspace.data(), workspace.size() * 8});
    exec.fence();
    method.seconds += seconds_since(start);
  }
  method.selected.topk = topk;
  method.selected.indices.resize(std::size_t(rows * topk));
  to_host(indices, method.selected.indices.data());
  return method;
}

/// One setting, for a rule and a fixed number of levels.
template <PoolingRule Rule, class LevelsT>
Outcome evaluate_setting(const Exec& exec, const Dump& dump, const RowRange& rows,
                         const Tensors& tensors, const Setting& setting, int topk,
                         const Selected& flat, const Progress& progress) {
  Outcome outcome;
  outcome.setting = setting;
  std::string const name = dump.file.stem().string() + ": " + name_of(setting);
  Budgets budgets = budgets_of(setting, topk);
  auto const plan = make_plan<LevelsT, Rule>(exec, shape_of(dump), budgets, absolute);
  progress(name, 0);
  std::vector<PooledLevel<Rule>> pooled;
  std::array<PooledKeys<const pooled_element<Rule, e4m3fn>>, LevelsT::count> levels;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    pooled.emplace_back(exec, tensors, setting.block_size[l]);
    levels[l] = pooled[l].view;
    outcome.pool_seconds += pooled[l].seconds;
  }

  Method& hierarchical = outcome.hierarchical;
  hierarchical = run(exec, plan, tensors, topk, progress, name, levels);
  hierarchical.keys_per_query = mean_keys_scored(dump, rows, budgets, Rule::rows);
  hierarchical.fidelity = measure(dump, rows, flat, hierarchical.selected);

  int const finest = setting.block_size.back();
  if (topk % finest != 0)
    return outcome;
  budgets.keep = above_finest(budgets).keep;
  auto const sparse =
      make_block_sparse_plan<LevelsT, Rule>(exec, shape_of(dump), budgets, absolute);
  Method& block_sparse =
      outcome.block_sparse.emplace(run(exec, sparse, tensors, topk, progress, name, levels));
  budgets.keep.push_back(topk / finest);
  block_sparse.keys_per_query = mean_keys_scored(dump, rows, budgets, Rule::rows);
  block_sparse.fidelity = measure(dump, rows, flat, block_sparse.selected);
  return outcome;
}

/// Calls f(rule, levels) with std::type_identity of the rule and the levels of a setting.
template <class F>
void with_types(const Setting& setting, const F& f) {
  with_rule(setting.pooling, [&](auto rule) {
    with_levels(setting.block_size.size(), [&](auto levels) { f(rule, levels); });
  });
}

} // namespace

void check_settings(const Dump& dump, const std::vector<Setting>& settings, int topk) {
  for (const Setting& setting : settings)
    with_types(setting, [&]<class Rule, class LevelsT>(std::type_identity<Rule>, LevelsT) {
      make_plan<LevelsT, Rule>(Exec(), shape_of(dump), budgets_of(setting, topk), absolute);
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
  evaluation.flat.keys_per_query = mean_keys_scored(dump, rows, flat_budgets, 1);
  evaluation.flat.fidelity =
      measure(dump, rows, evaluation.flat.selected, evaluation.flat.selected);

  for (const Setting& setting : settings)
    with_types(setting, [&]<class Rule, class LevelsT>(std::type_identity<Rule>, LevelsT) {
      evaluation.outcomes.push_back(evaluate_setting<Rule, LevelsT>(
          exec, dump, rows, tensors, setting, topk, evaluation.flat.selected, progress));
    });
  return evaluation;
}

} // namespace hisa::tools
