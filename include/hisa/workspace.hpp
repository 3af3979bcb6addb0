// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// How a call divides the caller's workspace: one group of queries at a time.
#pragma once

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

  static constexpr std::size_t alignment = 64;

  /// Bytes of a workspace that is 16-byte aligned.
  std::size_t bytes() const {
    Cursor cursor{nullptr};
    place(cursor);
    return cursor.used + alignment;
  }

  /// Divides the caller's memory.
  GroupWorkspace divide(void* data) const {
    std::uintptr_t const at = reinterpret_cast<std::uintptr_t>(data);
    std::uintptr_t const aligned = (at + alignment - 1) / alignment * alignment;
    Cursor cursor{static_cast<std::byte*>(data) + (aligned - at)};
    return place(cursor);
  }

private:
  struct Cursor {
    std::byte* base;
    std::size_t used = 0;

    template <class T>
    T* take(std::int64_t rows, std::int64_t columns) {
      std::size_t const bytes =
          static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns) * sizeof(T);
      T* const here = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
      used += (bytes + alignment - 1) / alignment * alignment;
      return here;
    }
  };

  GroupWorkspace place(Cursor& cursor) const {
    GroupWorkspace w;
    w.prepared.head_dim = head_dim;
    w.prepared.padded_heads = PreparedQueries::pad(heads);
    w.prepared.values =
        cursor.take<float>(queries, std::int64_t(head_dim) * w.prepared.padded_heads);
    w.prepared.weights = cursor.take<float>(queries, w.prepared.padded_heads);
    w.scores.values = cursor.take<float>(queries, scores);
    w.scores.pitch = scores;
    for (KeptLists& list : w.lists) {
      list.blocks = cursor.take<std::int32_t>(queries, kept);
      list.counts = cursor.take<std::int32_t>(queries, 1);
      list.pitch = kept;
    }
    w.strategy_scratch =
        cursor.take<std::byte>(queries, static_cast<std::int64_t>(strategy_scratch));
    return w;
  }
};

} // namespace detail
HISA_NAMESPACE_END
