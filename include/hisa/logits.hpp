// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The scores themselves, written out: the logits of the indexer.
#pragma once

#include <hisa/backend.hpp>
#include <hisa/checks.hpp>

#include <algorithm>
#include <limits>

HISA_NAMESPACE_BEGIN

/// Where scores go: the score of query t for its i-th visible key (counted from ks) at
/// values[t * row_stride + i]. What lies beyond a query's visible keys is not written.
struct Logits {
  float* values = nullptr;     ///< [M, row_stride]
  std::int64_t row_stride = 0; ///< floats, at least the keys that a query may see
};

namespace detail {
inline WorkspaceLayout score_layout(int heads, int head_dim, std::int64_t queries) {
  WorkspaceLayout layout;
  layout.queries = queries;
  layout.heads = heads;
  layout.head_dim = head_dim;
  return layout;
}
} // namespace detail

/// Bytes of workspace that `score` takes for working on `queries` queries at a time. Any number
/// from one up serves calls of any size.
inline std::size_t score_workspace_bytes(int heads, int head_dim, std::int64_t queries = 64) {
  return detail::score_layout(heads, head_dim, queries).bytes();
}

/// Writes the scores of all visible keys, by the same formula and to the same bits as the indexers.
/// Asynchronous on `exec`. O(M H D L).
/// @param queries     [M, H, D] and weights [M, H]
/// @param visibility  Ranges with contiguous keys, Lengths or Ragged with paged keys
/// @param out         [M, row_stride] fp32
/// @param workspace   at least score_workspace_bytes(H, D, 1), 16-byte aligned
/// @param rows        the queries to score; all of them by default
/// @tparam Backend  void: the execution space's own
/// @throws precondition_error before anything is launched
template <class Backend = void, class Exec, class T, class Keys, VisibilityOf<Keys> Visibility>
void score(const Exec& exec, const Queries<T>& queries, const Keys& keys,
           const Visibility& visibility, const Logits& out, const WorkspaceSpan& workspace,
           const QueryRows& rows = {}) {
  static_assert(std::same_as<T, typename Keys::element_type>,
                "hisa::score: queries and keys must have one element type");
  constexpr const char* function = "score";
  constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
  std::string const extents = "1 .. " + std::to_string(detail::max_extent);
  detail::require(queries.heads >= 1 && queries.heads <= detail::max_extent, function,
                  "queries.heads", queries.heads, extents);
  detail::require(queries.head_dim >= 1 && queries.head_dim <= detail::max_extent, function,
                  "queries.head_dim", queries.head_dim, extents);
  detail::check_queries(function, queries, largest, queries.heads, queries.head_dim);
  detail::check_keys(function, keys, largest, queries.head_dim);
  auto const [begin, end] = detail::checked_rows(function, rows, queries.count);
  if (queries.count == 0)
    return;
  detail::check_visibility(function, keys, visibility, queries.count);
  detail::require_array(out.values, function, "out.values");
  detail::require(out.row_stride >= keys.capacity(), function, "out.row_stride", out.row_stride,
                  detail::at_least(keys.capacity()));
  detail::check_workspace(function, workspace,
                          score_workspace_bytes(queries.heads, queries.head_dim, 1));

  auto layout = detail::score_layout(queries.heads, queries.head_dim, 1);
  while (layout.queries < end - begin) { // the largest power of two that fits
    layout.queries *= 2;
    if (layout.bytes() > workspace.bytes) {
      layout.queries /= 2;
      break;
    }
  }
  GroupWorkspace space = layout.divide(workspace.data);
  for (std::int64_t first = begin; first < end; first += layout.queries) {
    Descent<TokenRows<Keys>, Visibility> descent;
    descent.group = {queries, first, std::min(layout.queries, end - first)};
    descent.visibility = visibility;
    descent.max_keys = keys.capacity();
    descent.rows = {keys};
    descent.capacity = keys.capacity();
    descent.scores_wanted = true;
    space.scores = {out.values + first * out.row_stride, out.row_stride};
    detail::backend_or_default<Backend, Exec>::score(exec, descent, space);
  }
}

HISA_NAMESPACE_END
