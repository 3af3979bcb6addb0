// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The hierarchy as a sequence of descents: one call of an indexer, checked and ready to run.
#pragma once

#include <hisa/backend.hpp>
#include <hisa/levels.hpp>

#include <algorithm>

HISA_NAMESPACE_BEGIN
namespace detail {

/// One call. Everything in it has been checked.
/// @tparam Visibility  Ranges, Lengths or Ragged
/// @tparam Source      a pooling rule, with pooled levels, or CallerBlocks, with a block list
/// @tparam Path        what the backend decided when the plan was made (Portable::Path)
template <class Keys, class Visibility, CandidateSource Source, class Path>
struct IndexCall {
  using T = typename Keys::element_type;
  using path_type = Path;

  Queries<T> queries;
  Keys keys;
  Visibility visibility;
  PooledKeys<const pooled_element<Source, T>>
      pooled[max_levels]; ///< coarse to fine; unused with CallerBlocks
  BlockLists lists;       ///< used with CallerBlocks
  Selection out;
  LevelTable levels;
  std::int64_t topk = 0;
  IndexBase index_base = IndexBase::relative;
  QueryRows rows;              ///< the queries to work on; `end` is given
  std::int64_t max_keys = 0;   ///< keys that a query may see
  std::int64_t group_size = 0; ///< queries that the workspace holds
  WorkspaceLayout layout;
  void* workspace = nullptr;
  const Path* path = nullptr; ///< the plan's

  /// All levels for the group of queries that starts at row `first`.
  template <class Backend, SelectStrategy Strategy, class Exec>
  void descend_levels(const Exec& exec, std::int64_t first) const {
    GroupWorkspace const space = layout.divide(workspace);
    QueryGroup<T> const group{queries, first, std::min(group_size, rows.end - first)};
    KeptLists kept; // all
    for (int l = 0; l < levels.count; ++l) {
      KeptLists next = space.lists[l % 2];
      next.block_size = levels.block_size[l];
      if constexpr (std::same_as<Source, CallerBlocks>)
        Kokkos::parallel_for("hisa::block_lists", team_policy(exec, group.count),
                             NormaliseLists<Visibility>{lists, visibility, first, max_keys, next,
                                                        space.lists[1].blocks});
      else
        Backend::template descend<Strategy>(
            exec, descent(group, LevelRows<Keys, Source>{keys, pooled[l]}, kept, levels.keep[l], l),
            KeepBlocks{next}, space);
      kept = next;
    }
    auto tokens = descent(group, TokenRows<Keys>{keys}, kept, topk, levels.count);
    tokens.scores_wanted = out.scores != nullptr;
    Backend::template descend<Strategy>(
        exec, tokens, KeepTokens<Keys>{keys, out, first, topk, index_base}, space);
  }

private:
  template <class Rows>
  Descent<Rows, Visibility> descent(const QueryGroup<T>& group, const Rows& rows,
                                    const KeptLists& parents, std::int64_t budget,
                                    int level) const {
    Descent<Rows, Visibility> d;
    d.group = group;
    d.visibility = visibility;
    d.max_keys = max_keys;
    d.rows = rows;
    d.parents = parents;
    d.budget = budget;
    d.capacity = levels.candidates(level, max_keys);
    d.boundary = levels.boundary;
    d.identity = PoolingRule<Source> ? topk : 0; // lists of the caller are never widened
    return d;
  }
};

} // namespace detail
HISA_NAMESPACE_END
