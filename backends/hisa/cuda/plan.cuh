// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The indexer on a CUDA stream: a plan that is checked when it is made, and calls that enqueue the
/// kernels level by level.
#pragma once

#include <hisa/cuda/flat_call.cuh>
#include <hisa/cuda/functions.cuh>
#include <hisa/row_rules.hpp>

#include <algorithm>
#include <array>
#include <string>
#include <type_traits>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Why the kernels do not serve a configuration of fp8 queries, contiguous fp8 keys and rules with
/// one row: "ARGUMENT is FOUND, expected EXPECTED", or empty where they do.
inline std::string not_covered(const Device& device, const Configuration& c) {
  using namespace hisa::detail;
  std::string const why = device.not_covered();
  if (!why.empty())
    return why;
  if (c.heads != 64 && c.heads != 32)
    return unlike("shape.heads", c.heads, "64 or 32");
  if (c.max_queries > max_rows / c.heads) // the copy engine counts their heads
    return unlike("shape.max_queries", c.max_queries, at_most(max_rows / c.heads));
  if (c.max_keys > max_rows)
    return unlike("shape.max_keys", c.max_keys, at_most(max_rows));
  if (c.head_dim != 128)
    return unlike("shape.head_dim", c.head_dim, "128");
  if (c.topk > SelectSizes::max_topk)
    return unlike("budgets.topk", c.topk, at_most(SelectSizes::max_topk));
  for (int l = 0; l < c.levels.count; ++l) {
    int const size = c.levels.block_size[l], ratio = c.levels.ratio(l);
    if (ratio % 8 != 0)
      return unlike("block size", size, "a multiple of " + std::to_string(8 * (size / ratio)));
    if (c.levels.keep[l] > SelectSizes::max_keep)
      return unlike("budgets.keep", c.levels.keep[l], at_most(SelectSizes::max_keep));
  }
  return "";
}

/// Whether there are kernels for a source of candidates: row rules with one row, and CallerBlocks.
template <CandidateSource Source>
constexpr bool takes_source() {
  if constexpr (RowRule<Source>)
    return Source::rows == 1;
  else
    return std::same_as<Source, CallerBlocks>;
}

/// An indexer for calls of one shape: fp8 queries and contiguous fp8 keys. Immutable, cheap to
/// copy; any number of threads may use one at the same time, each with its own workspace.
/// @tparam LevelsT  Levels<...>
/// @tparam Source   a row rule with one row, or CallerBlocks
/// @tparam Heads    64 or 32: only the kernels for so many are compiled; dynamic: both
template <class LevelsT, CandidateSource Source = MeanPool, int Heads = dynamic>
class Plan {
  static constexpr bool own_lists = std::same_as<Source, CallerBlocks>;
  /// Whether tokens may be scored by pairs: where blocks are whole tiles.
  static constexpr bool whole_tiles = [] {
    if constexpr (own_lists || LevelsT::count == 0) {
      return false;
    } else {
      constexpr int size = LevelsT::block_sizes()[LevelsT::count - 1];
      return size == dynamic || size % tile_keys == 0;
    }
  }();
  static_assert(takes_source<Source>(),
                "hisa::cuda::Plan: takes pooling rules with one row of keys, or CallerBlocks");
  static_assert(!own_lists || LevelsT::count == 1,
                "hisa::cuda::Plan: CallerBlocks takes exactly one level, the block size of the "
                "lists");

public:
  using Keys = ContiguousKeys<e4m3fn>;
  using Pooled = PooledKeys<const e4m3fn>;

  /// The function that makes plans, for its sentences.
  static constexpr const char* maker = "cuda::make_plan";

  /// For a configuration that not_covered has nothing against; see make_plan.
  Plan(const Device& device, const Configuration& c)
      : levels_(c.levels), max_queries_(c.max_queries), max_keys_(c.max_keys), heads_(c.heads),
        head_dim_(c.head_dim), topk_(c.topk), options_(c.options), device_(device),
        layout_(Layout::fitting(levels_, own_lists, max_queries_, max_keys_,
                                options_.workspace_limit)) {
    if (LevelsT::count == 0 && topk_ <= device_.sift_topk && max_keys_ <= SiftTarget::max_keys)
      add_flat(Sampling(max_keys_, topk_).samples);
    if (LevelsT::count == 0 && layout_.ctas == 0 && layout_.queries <= device_.few_rows &&
        topk_ <= FlatSizes::max_topk)
      add_flat(0);
    if (whole_tiles && levels_.ratio(LevelsT::count - 1) % tile_keys == 0 &&
        options_.arithmetic == Arithmetic::native && device_.pair_queries > 0)
      layout_.add_pairs(std::min(max_queries_, device_.pair_queries), max_keys_, heads_,
                        options_.workspace_limit);
  }

  /// Bytes of workspace that a call needs; exact.
  std::size_t workspace_bytes() const { return layout_.bytes(); }

  /// Which code will run, and why.
  std::string path() const {
    return std::string(options_.arithmetic == Arithmetic::native
                           ? "sm_90a, native fp8 tensor core"
                           : "sm_90a, precise by the fp16 tensor core") +
           ": scores of " + std::to_string(std::min(layout_.queries, max_queries_)) +
           " queries at a time in the workspace, " +
           (layout_.paired > 0
                ? "key-stationary for calls of up to " + std::to_string(layout_.paired) + ", "
                : "") +
           (layout_.ctas > 0 ? "or of calls with many queries and keys only contenders" +
                                   std::string(layout_.samples > 0 ? " that reach a bound, " : ", ")
                             : "") +
           (own_lists ? "the caller's block lists" : std::to_string(levels_.count + 1) + " levels");
  }

  /// Flat: plans with Levels<>. See the last overload.
  void operator()(cudaStream_t stream, const Queries<e4m3fn>& queries, const Keys& keys,
                  const Ranges& visibility, const Selection& out, const WorkspaceSpan& workspace,
                  const QueryRows& rows = {}) const requires(LevelsT::count == 0) {
    run(stream, queries, keys, {}, {}, visibility, out, workspace, rows);
  }
  /// One level. See the last overload.
  void operator()(cudaStream_t stream, const Queries<e4m3fn>& queries, const Keys& keys,
                  const Pooled& pooled, const Ranges& visibility, const Selection& out,
                  const WorkspaceSpan& workspace, const QueryRows& rows = {}) const
      requires(LevelsT::count == 1 && !own_lists) {
    run(stream, queries, keys, {pooled}, {}, visibility, out, workspace, rows);
  }
  /// Refine: plans with CallerBlocks. Selects among the visible tokens of each query's own blocks.
  /// See the last overload.
  /// @param lists  [M, capacity] blocks of the plan's block size, at most budgets.keep of them a
  ///               query: any order and any content, see BlockLists. Complexity: O(capacity) a
  ///               query for each 65536 blocks that it sees.
  void operator()(cudaStream_t stream, const Queries<e4m3fn>& queries, const Keys& keys,
                  const BlockLists& lists, const Ranges& visibility, const Selection& out,
                  const WorkspaceSpan& workspace,
                  const QueryRows& rows = {}) const requires own_lists {
    run(stream, queries, keys, {}, lists, visibility, out, workspace, rows);
  }
  /// Selects the top k tokens of each query. Asynchronous on `stream`; all data are device memory
  /// and must stay alive until the stream has passed the call. Nothing is allocated and no device
  /// memory is read on the host, so the call may be captured in a graph. For each query O(H D n),
  /// n the rows that it scores: all of the coarsest level, what lies in the kept blocks of each
  /// level below, or all L keys of a flat call.
  /// @param pooled  the levels, coarse to fine
  /// @param rows    the queries that are worked on
  /// @throws precondition_error before anything is launched, launch_error if CUDA refuses
  void operator()(cudaStream_t stream, const Queries<e4m3fn>& queries, const Keys& keys,
                  const std::array<Pooled, LevelsT::count>& pooled, const Ranges& visibility,
                  const Selection& out, const WorkspaceSpan& workspace,
                  const QueryRows& rows = {}) const requires(!own_lists) {
    run(stream, queries, keys, pooled, {}, visibility, out, workspace, rows);
  }

private:
  LevelTable levels_;
  std::int64_t max_queries_, max_keys_;
  int heads_, head_dim_, topk_;
  Options options_;
  Device device_;
  Layout layout_;

  /// Lets calls do without rows of scores, if they are worth it.
  /// @param samples  of the keys; 0: by the flat kernel alone
  void add_flat(std::int64_t samples) {
    std::int64_t const queries = std::min(max_queries_, device_.round());
    if (device_.suits_contenders(queries, max_keys_, samples > 0))
      layout_.add_flat(max_queries_, device_.processors, options_.workspace_limit, samples);
  }

  void check_call(const Queries<e4m3fn>& queries, const Keys& keys,
                  const std::array<Pooled, LevelsT::count>& pooled, const BlockLists& lists,
                  const Ranges& visibility, const Selection& out,
                  const WorkspaceSpan& workspace) const {
    constexpr const char* function = "cuda::Plan";
    using namespace hisa::detail;
    check_queries(function, queries, max_queries_, heads_, head_dim_);
    check_keys(function, keys, max_keys_, head_dim_);
    if (queries.count == 0)
      return;
    require_aligned(queries.values, 16, function, "queries.values");
    check_key_rows(function, keys);
    if constexpr (own_lists) {
      require_array(lists.blocks, function, "lists.blocks");
      require(lists.capacity >= 1 && lists.capacity <= levels_.keep[0], function, "lists.capacity",
              lists.capacity, "1 .. " + std::to_string(levels_.keep[0]));
    }
    for (int l = 0; l < LevelsT::count && !own_lists; ++l) {
      const Pooled& level = pooled[static_cast<std::size_t>(l)];
      check_pooled(function, keys, level, levels_.block_size[l], 1);
      require_aligned(level.values, 16, function, "pooled.values");
    }
    check_visibility(function, keys, visibility, queries.count);
    check_selection(function, out);
    check_workspace(function, workspace, workspace_bytes());
  }

  void run(cudaStream_t stream, const Queries<e4m3fn>& queries, const Keys& keys,
           const std::array<Pooled, LevelsT::count>& pooled, const BlockLists& lists,
           const Ranges& visibility, const Selection& out, const WorkspaceSpan& workspace,
           const QueryRows& rows) const {
    check_call(queries, keys, pooled, lists, visibility, out, workspace);
    QueryRows const part = hisa::detail::checked_rows("cuda::Plan", rows, queries.count);
    Parts parts = layout_.divide(workspace.data);
    if (part.end - part.first > layout_.paired)
      parts.pairs = {};
    bool const flat = layout_.ctas > 0 && device_.suits_contenders(part.end - part.first,
                                                                   keys.count, layout_.samples > 0);
    std::int64_t const step = flat ? layout_.listed : layout_.queries;
    for (std::int64_t first = part.first; first < part.end; first += step) {
      Level level;
      level.visibility = visibility;
      level.first = first;
      level.count = std::min(step, part.end - first);
      level.max_keys = std::min(max_keys_, keys.count);
      level.boundary = options_.boundary;
      level.identity = own_lists ? 0 : topk_; // lists of the caller are never widened
      Listed listed;                          // all rows
      if constexpr (LevelsT::count > 0)       // else its kernels would be compiled all the same
        for (int l = 0; l < LevelsT::count; ++l)
          run_level(stream, l, level, listed, queries, pooled, lists, out, parts);
      if (flat)
        run_flat(stream, level, queries, keys, out, parts);
      else
        run_tokens(stream, level, listed, queries, keys, out, parts);
    }
  }

  /// The rows of a level that are scored: pieces of groups of queries, or pairs.
  struct Listed {
    PieceLists pieces;
    PairBuffers pairs;
  };

  /// Has a level's blocks chosen: `level` becomes the level below, `listed` its rows to score.
  void run_level(cudaStream_t stream, int l, Level& level, Listed& listed,
                 const Queries<e4m3fn>& queries, const std::array<Pooled, LevelsT::count>& pooled,
                 const BlockLists& lists, const Selection& out, const Parts& parts) const {
    const Pooled* const rows = pooled.data() + l;
    set_level(level, l, rows, out);
    if (!own_lists && keeps_all(level, l))
      return;          // the level below starts from all rows
    PairBuffers pairs; // of the level below
    if (l + 1 == LevelsT::count && rows->blocks > 0)
      pairs = parts.pairs;
    bool scored = false;
    if constexpr (!own_lists)
      scored = score(stream, level, queries, {rows->values, rows->scales, rows->blocks, 128},
                     listed.pieces, parts, pairs);
    Level next = level;
    set_level(next, l + 1, l + 1 < LevelsT::count ? rows + 1 : nullptr, out);
    std::int32_t* const blocks = parts.blocks[l % 2];
    next.parents = blocks, next.parent_counts = parts.counts[l % 2];
    next.parent_pitch = layout_.kept, next.parent_size = levels_.block_size[l];
    listed = {parts.pieces[l % 2], pairs};
    listed.pieces.piece_log2 = piece_log2(levels_, l);
    auto const keep = [&](const auto& by) {
      launch_keep(KeepTask{level, by, blocks, parts.counts[l % 2], layout_.kept, next,
                           listed.pieces, listed.pairs.lists, scored},
                  candidates(level, l), device_, stream);
    };
    if constexpr (own_lists)
      keep(lists);
    else
      keep(ScoreRows{parts.scores, layout_.scores});
    level = next;
  }

  /// Has the tokens chosen.
  void run_tokens(cudaStream_t stream, Level level, const Listed& listed,
                  const Queries<e4m3fn>& queries, const Keys& keys, const Selection& out,
                  const Parts& parts) const {
    set_level(level, levels_.count, nullptr, out);
    std::int64_t const tokens = levels_.candidates(levels_.count, level.max_keys);
    bool scored = false;
    if (level.scores_wanted || tokens > topk_) // else all that a query sees are taken
      scored = listed.pairs.weights == nullptr
                   ? score(stream, level, queries, rows_of(keys), listed.pieces, parts)
                   : score_pairs(stream, level, queries, rows_of(keys), listed.pairs, parts);
    launch_tokens({level, {parts.scores, layout_.scores}, out, options_.index_base, scored}, tokens,
                  device_, stream);
  }

  /// The same without rows of scores.
  void run_flat(cudaStream_t stream, Level level, const Queries<e4m3fn>& queries, const Keys& keys,
                const Selection& out, const Parts& parts) const {
    if constexpr (LevelsT::count == 0) {
      set_level(level, 0, nullptr, out);
      launch_flat<Heads>({level, queries, keys, out, options_.index_base, options_.arithmetic,
                          parts, layout_.ctas},
                         device_, stream);
    }
  }

  /// Whether all queries keep all blocks of a level that they can see.
  bool keeps_all(const Level& level, int l) const {
    return level.parents == nullptr && candidates(level, l) <= levels_.keep[l];
  }

  /// Blocks of a level that a query may choose among, at most.
  std::int64_t candidates(const Level& level, int l) const {
    if (level.parents != nullptr)
      return level.parent_pitch * (level.parent_size / level.block_size);
    std::int64_t const size = levels_.block_size[l];
    // Of a grid that the first key is not aligned to, a query may see a part of one block more.
    return (level.max_keys + size - 1) / size + (level.visibility.anchor == nullptr ? 0 : 1);
  }

  void set_level(Level& level, int l, const Pooled* rows, const Selection& out) const {
    bool const tokens = l == levels_.count;
    level.block_size = tokens ? 1 : levels_.block_size[l];
    level.budget = tokens ? topk_ : levels_.keep[l];
    level.scores_wanted = tokens && out.scores != nullptr;
    level.row_begin = rows == nullptr ? nullptr : rows->begin;
  }

  /// Has pairs scored. Returns whether a kernel was launched.
  bool score_pairs(cudaStream_t stream, const Level& level, const Queries<e4m3fn>& queries,
                   const Rows& rows, const PairBuffers& pairs, const Parts& parts) const {
    if constexpr (whole_tiles) {
      PairTask task;
      task.level = level;
      task.pairs = pairs.lists;
      set_rows(task, queries, rows);
      task.weight_map =
          line_map(pairs.weights, level.count * layout_.weights, static_cast<int>(layout_.weights));
      task.values = parts.scores, task.pitch = layout_.scores;
      launch_pairs<Heads>(task, device_, stream);
    }
    return whole_tiles;
  }

  /// Has all rows scored, or listed ones. Returns whether a kernel was launched.
  /// @param prepares  pairs that are listed next
  bool score(cudaStream_t stream, const Level& level, const Queries<e4m3fn>& queries,
             const Rows& rows, const PieceLists& pieces, const Parts& parts,
             const PairBuffers& prepares = {}) const {
    if (rows.count == 0)
      return false; // no row is complete: nothing has to be decided by score
    ScoreTask task;
    task.level = level;
    task.pieces = pieces;
    task.prepares = prepares;
    set_rows(task, queries, rows);
    task.values = parts.scores, task.pitch = layout_.scores;
    std::int64_t const most = pieces.rows == nullptr
                                  ? level.max_keys / level.block_size / tile_keys + 1
                                  : pieces.pitch >> pieces.pieces_log2();
    launch_score<Heads>(task, most, options_.arithmetic, device_, stream);
    return true;
  }
};

/// The same as the next, for a device as the caller describes it, which is not checked.
template <class LevelsT, CandidateSource Source = MeanPool, int Heads = dynamic,
          int HeadDim = dynamic>
Plan<LevelsT, Source, kernel_heads(Heads)>
make_plan(const Device& device, const Shape<Heads, HeadDim>& shape, const Budgets& budgets,
          const Options& options = {}) {
  using Made = Plan<LevelsT, Source, kernel_heads(Heads)>;
  constexpr const char* maker = Made::maker;
  hisa::detail::check_sizes(maker, shape.max_queries, shape.max_keys, budgets.topk, max_rows);
  hisa::detail::require_no_slots(maker, options.index_base);
  hisa::detail::require(!options.report_clamped, maker, "options.report_clamped", "true",
                        "false: plans on Kokkos report");
  Configuration const c{shape.max_queries,
                        shape.max_keys,
                        shape.heads,
                        shape.head_dim,
                        LevelTable::checked(maker, LevelsT::block_sizes(), budgets,
                                            options.boundary, 1,
                                            std::same_as<Source, CallerBlocks>),
                        budgets.topk,
                        options};
  require_covered(maker, not_covered(device, c));
  return Made(device, c);
}

/// Makes a plan: `cuda::make_plan<Levels<128>>(shape, {.keep = {64}, .topk = 2048})`, for the
/// current device. With CallerBlocks, `keep` is how many blocks a list may hold. With Shape<64> or
/// Shape<32> less is compiled.
/// @tparam LevelsT  pooled levels above the tokens, coarse to fine; Levels<> is the flat indexer
/// @tparam Source   pooling rule of the levels, or CallerBlocks
/// @throws precondition_error when shape, budgets or options contradict each other, or ask for what
///         has no path on the device
template <class LevelsT, CandidateSource Source = MeanPool, int Heads = dynamic,
          int HeadDim = dynamic>
Plan<LevelsT, Source, kernel_heads(Heads)>
make_plan(const Shape<Heads, HeadDim>& shape, const Budgets& budgets, const Options& options = {}) {
  return make_plan<LevelsT, Source>(Device::current(), shape, budgets, options);
}

} // namespace cuda
HISA_NAMESPACE_END
