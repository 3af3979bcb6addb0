// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "scores.hpp"

#include "device.hpp"
#include "rules.hpp"

#include <functional>
#include <map>

namespace hisa::tools {

struct Scorer::State {
  Exec exec;
  Tensors tensors;
  Memory<std::uint64_t> workspace;
  Memory<float> scores; ///< [group, keys + 1]
  /// Scores a group of queries into `scores`, with as many columns as a query may have blocks.
  std::map<BlockKind, std::function<void(std::int32_t, std::int32_t)>> kinds;

  State(const Dump& dump, const RowRange& rows) : tensors(dump, rows) {
    std::int64_t const queries = queries_per_call(dump.keys);
    workspace = Memory<std::uint64_t>(
        "hisa-eval", score_workspace_bytes(dump.heads, dump.head_dim, queries) / 8 + 1);
    scores = Memory<float>("hisa-eval", std::size_t(queries * (dump.keys + 1)));
  }

  WorkspaceSpan span() const { return {workspace.data(), workspace.size() * 8}; }

  ScoreTable fetch(std::int64_t pitch, std::int64_t count) const {
    ScoreTable table{pitch, std::vector<float>(std::size_t(pitch * count))};
    exec.fence();
    to_host(Memory<float>(scores.data(), table.values.size()), table.values.data());
    return table;
  }

  /// The descent that scores every block: its candidates are all blocks, and all are wanted.
  template <PoolingRule Rule>
  void score_blocks(const PooledLevel<Rule>& level, std::int32_t first, std::int32_t count) const {
    using Rows = LevelRows<ContiguousKeys<e4m3fn>, Rule>;
    Descent<Rows, Ranges> descent;
    descent.group = {tensors.queries, first, count};
    descent.visibility = tensors.ranges(0);
    descent.max_keys = tensors.keys.count;
    descent.rows = Rows{tensors.keys, level.view};
    descent.budget = 1;
    descent.capacity = level.view.blocks + 1; // with a last block that is not full
    descent.boundary = Boundary::none;
    descent.scores_wanted = true;
    auto space = hisa::detail::score_layout(tensors.queries.heads, tensors.queries.head_dim, count)
                     .divide(workspace.data());
    space.scores = {scores.data(), descent.capacity};
    DefaultBackend<Exec>::type::score(exec, descent, space);
  }

  template <PoolingRule Rule>
  auto pooled(int block_size) {
    return [this, level = PooledLevel<Rule>(exec, tensors, block_size)](
               std::int32_t first, std::int32_t count) { score_blocks(level, first, count); };
  }
};

Scorer::Scorer(const Dump& dump, const RowRange& rows)
    : state_(std::make_unique<State>(dump, rows)) {}
Scorer::~Scorer() = default;

std::int32_t Scorer::group() const {
  return static_cast<std::int32_t>(queries_per_call(state_->tensors.keys.count));
}

ScoreTable Scorer::tokens(std::int32_t first, std::int32_t count) {
  const Tensors& t = state_->tensors;
  hisa::score(state_->exec, t.some_queries(first, count), t.keys, t.ranges(first),
              {state_->scores.data(), t.keys.count}, state_->span());
  return state_->fetch(t.keys.count, count);
}

ScoreTable Scorer::blocks(const BlockKind& kind, std::int32_t first, std::int32_t count) {
  auto found = state_->kinds.find(kind);
  if (found == state_->kinds.end())
    with_rule(kind.pooling, [&]<class Rule>(std::type_identity<Rule>) {
      found = state_->kinds.emplace(kind, state_->pooled<Rule>(kind.block_size)).first;
    });
  found->second(first, count);
  return state_->fetch(state_->tensors.keys.count / kind.block_size + 1, count);
}

} // namespace hisa::tools
