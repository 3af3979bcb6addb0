// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// How a call divides the caller's workspace: one group of queries at a time.
#pragma once

#include <hisa/carve.hpp>
#include <hisa/score.hpp>

#include <cstddef>
#include <cstdint>

HISA_NAMESPACE_BEGIN

/// The parts of the workspace that the steps of a group share.
struct GroupWorkspace {
  detail::PreparedQueries prepared;
  ScoreRowsOut scores;
  KeptLists lists[2]; ///< kept blocks of alternating levels
  std::byte* strategy_scratch = nullptr;
};

namespace detail {

/// The sizes that a workspace is laid out from, all per query of a group but `queries`.
struct WorkspaceLayout {
  std::int64_t queries = 0; ///< of a group
  int heads = 0;
  int head_dim = 0;
  std::int64_t scores = 0;          ///< candidates of the widest level
  std::int64_t kept = 0;            ///< blocks of the longest kept list
  std::size_t strategy_scratch = 0; ///< bytes

  /// Bytes of the workspace; exact.
  std::size_t bytes() const {
    Carver carver;
    place(carver);
    return carver.bytes();
  }

  /// Divides the caller's memory.
  GroupWorkspace divide(void* data) const {
    Carver carver(data);
    return place(carver);
  }

private:
  using Carver = detail::Carver<64>;

  GroupWorkspace place(Carver& carver) const {
    GroupWorkspace w;
    w.prepared.head_dim = head_dim;
    w.prepared.padded_heads = PreparedQueries::pad(heads);
    w.prepared.values =
        carver.take<float>(queries, std::int64_t(head_dim) * w.prepared.padded_heads);
    w.prepared.weights = carver.take<float>(queries, w.prepared.padded_heads);
    w.scores.values = carver.take<float>(queries, scores);
    w.scores.pitch = scores;
    for (KeptLists& list : w.lists) {
      list.blocks = carver.take<std::int32_t>(queries, kept);
      list.counts = carver.take<std::int32_t>(queries, 1);
      list.pitch = kept;
    }
    w.strategy_scratch =
        carver.take<std::byte>(queries, static_cast<std::int64_t>(strategy_scratch));
    return w;
  }
};

} // namespace detail
HISA_NAMESPACE_END
