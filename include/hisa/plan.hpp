// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A plan: an indexer with everything decided that does not depend on a call's data. Making one
/// checks the configuration, using one checks the arguments and enqueues the kernels.
#pragma once

#include <hisa/checks.hpp>
#include <hisa/index.hpp>
#include <hisa/report.hpp>
#include <hisa/row_rules.hpp>

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <array>
#include <string>
#include <type_traits>

HISA_NAMESPACE_BEGIN

/// An indexer for calls of one shape. Immutable, cheap to copy; any number of threads may use one
/// at the same time, each with its own workspace.
///
/// @tparam Exec      Kokkos execution space
/// @tparam LevelsT   Levels<...>
/// @tparam Source    a pooling rule such as MeanPool, or CallerBlocks
/// @tparam Strategy  a top-k strategy such as RadixSelect
/// @tparam Keys      ContiguousKeys<T> or PagedKeys<T>; fixes the element type of everything
/// @tparam ShapeT    Shape<...>
/// @tparam Backend   what runs the steps (hisa/backend.hpp)
template <class Exec, class LevelsT, CandidateSource Source, SelectStrategy Strategy, class Keys,
          class ShapeT, class Backend>
class Plan {
  static_assert(!std::same_as<Source, CallerBlocks> || LevelsT::count == 1,
                "hisa::Plan: CallerBlocks takes exactly one level, the block size of the lists");

public:
  using element_type = typename Keys::element_type; ///< of queries and keys
  /// One level's rows, as a call reads them: of the element type, or fp32 for a head rule.
  using pooled_type = PooledKeys<const pooled_element<Source, element_type>>;
  using backend_type = Backend; ///< what runs the steps

  /// Checks the configuration; see make_plan.
  Plan(const Exec& exec, const ShapeT& shape, const Budgets& budgets, const Options& options)
      : shape_(shape), topk_(budgets.topk), options_(options), levels_(checked_levels(budgets)),
        path_(exec, {shape.max_queries, shape.max_keys, shape.heads, shape.head_dim, levels_, topk_,
                     options}) {
    lay_out();
  }

  /// Bytes of workspace that a call needs; exact.
  std::size_t workspace_bytes() const { return path_.workspace_bytes(layout_.bytes()); }

  /// Which code will run, and why.
  std::string path() const { return path_.text(); }

  /// Flat: plans with Levels<>. See the last overload.
  template <class QueriesT, class KeysT, class VisibilityT>
  void operator()(const Exec& exec, const QueriesT& queries, const KeysT& keys,
                  const VisibilityT& visibility, const Selection& out,
                  const WorkspaceSpan& workspace, const QueryRows& rows = {}) const {
    static_assert(
        LevelsT::count == 0,
        "hisa::Plan: a plan with levels takes pooled keys (or block lists) after the keys");
    run(exec, queries, keys, std::array<pooled_type, 0>{}, {}, visibility, out, workspace, rows);
  }

  /// Selects the top k tokens of each query. Asynchronous on `exec`; all data are device memory and
  /// must stay alive until `exec` is done. Nothing is allocated and no device memory is read on the
  /// host, so the call may be captured in a graph.
  ///
  /// @param queries     [M, H, D] and weights [M, H]; M at most shape.max_queries
  /// @param keys        at most shape.max_keys tokens in the buffer or in a sequence
  /// @param blocks      PooledKeys of the one level, a std::array of them (coarse to fine), or
  ///                    BlockLists for a plan of CallerBlocks
  /// @param visibility  Ranges with contiguous keys, Lengths or Ragged with paged keys
  /// @param out         indices [M, topk], optional scores [M, topk] and counts [M]
  /// @param workspace   workspace_bytes() bytes, 16-byte aligned, this call's alone until it is
  /// done
  /// @param rows        the queries to work on; all of them by default
  /// @throws precondition_error before anything is launched
  /// Complexity: O(M H D n) for n scored rows a query, and O(n) a query for the selection.
  template <class QueriesT, class KeysT, class Blocks, class VisibilityT>
  void operator()(const Exec& exec, const QueriesT& queries, const KeysT& keys,
                  const Blocks& blocks, const VisibilityT& visibility, const Selection& out,
                  const WorkspaceSpan& workspace, const QueryRows& rows = {}) const {
    constexpr bool lists = std::same_as<Blocks, BlockLists>;
    static_assert(
        lists == std::same_as<Source, CallerBlocks>,
        "hisa::Plan: BlockLists go with a plan of CallerBlocks, pooled keys with a plan of "
        "a pooling rule");
    if constexpr (lists)
      run(exec, queries, keys, std::array<pooled_type, 0>{}, blocks, visibility, out, workspace,
          rows);
    else if constexpr (std::convertible_to<Blocks, pooled_type>)
      run(exec, queries, keys, std::array<pooled_type, 1>{blocks}, {}, visibility, out, workspace,
          rows);
    else
      run(exec, queries, keys, as_array(blocks), {}, visibility, out, workspace, rows);
  }

private:
  using Path = typename Backend::template Path<LevelsT, Source, Strategy, Keys, Exec>;
  static constexpr const char* maker = "make_plan";

  ShapeT shape_;
  int topk_ = 0;
  Options options_;
  detail::LevelTable levels_;
  Path path_;
  detail::WorkspaceLayout layout_; ///< of the portable pipeline

  void check_shape() const {
    detail::check_sizes(maker, shape_.max_queries, shape_.max_keys, topk_,
                        std::numeric_limits<std::int32_t>::max());
    check_extent("shape.heads", shape_.heads, ShapeT{}.heads);
    check_extent("shape.head_dim", shape_.head_dim, ShapeT{}.head_dim);
    if constexpr (!requires(Keys keys) { keys.page_table; })
      detail::require_no_slots(maker, options_.index_base);
  }

  /// `fixed` is the static extent, 0 where it is dynamic.
  static void check_extent(const char* name, int value, int fixed) {
    detail::require(fixed == 0 || value == fixed, maker, name, value,
                    detail::exactly(fixed) + ", its static value");
    detail::require(value >= 1 && value <= detail::max_extent, maker, name, value,
                    "1 .. " + std::to_string(detail::max_extent));
  }

  detail::LevelTable checked_levels(const Budgets& budgets) const {
    check_shape();
    int parts = 1;
    if constexpr (PoolingRule<Source>)
      parts = detail::parts_of<Source>;
    return detail::LevelTable::checked(maker, LevelsT::block_sizes(), budgets, options_.boundary,
                                       parts, std::same_as<Source, CallerBlocks>);
  }

  void lay_out() {
    layout_.heads = shape_.heads;
    layout_.head_dim = shape_.head_dim;
    std::int64_t most = 0; // that a query chooses on one level
    for (int l = 0; l <= levels_.count; ++l) {
      std::int64_t const candidates = levels_.candidates(l, shape_.max_keys);
      std::int64_t const budget = l == levels_.count ? topk_ : levels_.keep[l];
      most = std::max(most, std::min(candidates, budget));
      if (!StreamStrategy<Strategy>)
        layout_.scores = std::max(layout_.scores, candidates);
    }
    for (int l = 0; l < levels_.count; ++l)
      layout_.kept = std::max(layout_.kept, std::same_as<Source, CallerBlocks>
                                                ? std::int64_t(levels_.keep[l])
                                                : levels_.kept(l, shape_.max_keys));
    if (detail::on_host<Exec> || StreamStrategy<Strategy>)
      layout_.strategy_scratch = static_cast<std::int64_t>(detail::padded_scratch<Strategy>(most));
    if constexpr (StreamStrategy<Strategy>) {
      layout_.stream.piece = detail::stream_piece<Strategy, Exec>();
      layout_.stream.kept = most;
    }
    layout_.queries = 1;
    std::size_t const one = layout_.bytes();
    std::int64_t const fitting = static_cast<std::int64_t>(options_.workspace_limit / one);
    layout_.queries = detail::clamp(fitting, 1, shape_.max_queries);
    layout_.streams = detail::clamp(fitting, 1, portable_policy<Exec>().streams);
  }

  template <class Container>
  static auto as_array(const Container& pooled) {
    static_assert(
        requires { std::tuple_size<Container>::value; },
        "hisa::Plan: pass the pooled keys of the plan's element type, or a std::array of "
        "them for several levels");
    std::array<pooled_type, std::tuple_size<Container>::value> all;
    std::copy(pooled.begin(), pooled.end(), all.begin());
    return all;
  }

  template <class QueriesT, class KeysT, class VisibilityT, std::size_t N>
  void run(const Exec& exec, const QueriesT& queries, const KeysT& keys,
           const std::array<pooled_type, N>& pooled, const BlockLists& lists,
           const VisibilityT& visibility, const Selection& out, const WorkspaceSpan& workspace,
           const QueryRows& rows) const {
    static_assert(std::same_as<KeysT, Keys>,
                  "hisa::Plan: the keys are not of the type that the plan was made for");
    static_assert(std::same_as<QueriesT, Queries<element_type>>,
                  "hisa::Plan: queries and keys must have the plan's element type");
    static_assert(VisibilityOf<VisibilityT, Keys>,
                  "hisa::Plan: contiguous keys take Ranges, paged keys take Lengths or Ragged");
    static_assert(std::same_as<Source, CallerBlocks> || N == LevelsT::count,
                  "hisa::Plan: pass one PooledKeys per level, coarse to fine");
    check_call(queries, keys, pooled, lists, visibility, out, workspace);
    QueryRows const checked = detail::checked_rows("Plan", rows, queries.count);
    if (queries.count == 0)
      return;
    detail::IndexCall<Keys, VisibilityT, Source, Path> call;
    call.queries = queries;
    call.rows = checked;
    call.keys = keys;
    call.visibility = visibility;
    std::copy(pooled.begin(), pooled.end(), call.pooled);
    call.lists = lists;
    call.out = out;
    call.levels = levels_;
    call.topk = topk_;
    call.index_base = options_.index_base;
    call.max_keys = std::min(shape_.max_keys, keys.capacity());
    call.group_size = layout_.queries;
    call.layout = layout_;
    call.workspace = workspace.data;
    call.path = &path_;
    if (options_.report_clamped)
      detail::report_rows(exec, visibility, checked, call.max_keys);
    Backend::template index<Strategy>(exec, call);
  }

  template <class VisibilityT, std::size_t N>
  void check_call(const Queries<element_type>& queries, const Keys& keys,
                  const std::array<pooled_type, N>& pooled, const BlockLists& lists,
                  const VisibilityT& visibility, const Selection& out,
                  const WorkspaceSpan& workspace) const {
    constexpr const char* function = "Plan";
    detail::check_queries(function, queries, shape_.max_queries, shape_.heads, shape_.head_dim);
    detail::check_keys(function, keys, shape_.max_keys, shape_.head_dim);
    if (queries.count == 0)
      return;
    if constexpr (PoolingRule<Source>)
      for (int l = 0; l < LevelsT::count; ++l)
        detail::check_pooled(function, keys, pooled[std::size_t(l)], levels_.block_size[l],
                             detail::parts_of<Source>);
    if constexpr (std::same_as<Source, CallerBlocks>) {
      detail::require_array(lists.blocks, function, "lists.blocks");
      detail::require(lists.capacity >= 1 && lists.capacity <= levels_.keep[0], function,
                      "lists.capacity", lists.capacity, "1 .. " + std::to_string(levels_.keep[0]));
    }
    detail::check_visibility(function, keys, visibility, queries.count);
    if constexpr (requires { keys.page_table; })
      if (options_.index_base == IndexBase::physical) {
        std::int64_t const most = (std::int64_t(1) << 31) / keys.page_size;
        detail::require(keys.page_count <= most, function, "keys.page_count", keys.page_count,
                        detail::at_most(most) + ", so that cache slots fit 32 bits");
      }
    detail::check_selection(function, out);
    detail::check_workspace(function, workspace, workspace_bytes());
  }
};

/// Makes a plan: `make_plan<Levels<128>, MeanPool>(exec, shape, {.keep = {64}, .topk = 2048})`.
///
/// @tparam LevelsT   pooled levels above the tokens, coarse to fine; Levels<> is the flat indexer
/// @tparam Source    pooling rule of the levels, or CallerBlocks
/// @tparam Strategy  top-k strategy
/// @tparam Keys      storage and element type of the keys
/// @throws precondition_error when the shape, the budgets or the options contradict each other:
///         budgets must satisfy m_l * B_l / B_{l+1} >= m_{l+1} and m_last * B_last >= topk
template <class LevelsT, CandidateSource Source = MeanPool, SelectStrategy Strategy = RadixSelect,
          class Keys = ContiguousKeys<e4m3fn>, class Exec, int Heads = dynamic,
          int HeadDim = dynamic>
auto make_plan(const Exec& exec, const Shape<Heads, HeadDim>& shape, const Budgets& budgets,
               const Options& options = {}) {
  return Plan<Exec, LevelsT, Source, Strategy, Keys, Shape<Heads, HeadDim>,
              typename DefaultBackend<Exec>::type>(exec, shape, budgets, options);
}

/// make_plan on a backend of the caller's choice, a struct that derives from Portable<Itself>.
template <class Backend, class LevelsT, CandidateSource Source = MeanPool,
          SelectStrategy Strategy = RadixSelect, class Keys = ContiguousKeys<e4m3fn>, class Exec,
          int Heads = dynamic, int HeadDim = dynamic>
auto make_plan_on(const Exec& exec, const Shape<Heads, HeadDim>& shape, const Budgets& budgets,
                  const Options& options = {}) {
  return Plan<Exec, LevelsT, Source, Strategy, Keys, Shape<Heads, HeadDim>, Backend>(
      exec, shape, budgets, options);
}

/// The paper's block-sparse baseline: all visible tokens of the best topk / B blocks. It is the
/// hierarchy with the budget m = topk / B on its finest level, in which the tokens need no scores.
///
/// @param budgets  `topk`; `block_size` where levels are dynamic; `keep` of the levels above the
///                 finest, whose own follows
/// @throws precondition_error unless B divides topk and the boundary option is not `extra`
template <class LevelsT, PoolingRule Rule = MeanPool, SelectStrategy Strategy = RadixSelect,
          class Keys = ContiguousKeys<e4m3fn>, class Exec, int Heads = dynamic,
          int HeadDim = dynamic>
auto make_block_sparse_plan(const Exec& exec, const Shape<Heads, HeadDim>& shape,
                            const Budgets& budgets, const Options& options = {}) {
  static_assert(LevelsT::count > 0, "hisa::make_block_sparse_plan: takes at least one level");
  return make_plan<LevelsT, Rule, Strategy, Keys>(
      exec, shape,
      detail::block_sparse_budgets("make_block_sparse_plan", LevelsT::block_sizes(), budgets,
                                   options.boundary),
      options);
}

HISA_NAMESPACE_END
