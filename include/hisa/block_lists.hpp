// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The caller's block lists as a source of candidates: any order and any content comes in, what a
/// pooled level would hand on goes out.
#pragma once

#include <hisa/descend.hpp>

#include <Kokkos_Core.hpp>

HISA_NAMESPACE_BEGIN
namespace detail {

/// Turns block lists into kept lists: visible blocks, ascending, each once. Team i, query i. Ranks
/// are found by counting, O(capacity^2) a query.
template <class Visibility>
struct NormaliseLists {
  BlockLists lists;
  Visibility visibility;
  std::int64_t first = 0;    ///< row of the group's first query
  std::int64_t max_keys = 0; ///< keys that a query may see
  KeptLists kept;
  std::int32_t* unique = nullptr; ///< workspace [queries, kept.pitch]

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    std::int64_t const i = team.league_rank();
    Visible const visible = visibility.visible(first + i, max_keys);
    std::int32_t const* const in = lists.blocks + (first + i) * lists.capacity;
    std::int32_t* const is_unique = unique + i * kept.pitch;
    auto const entries = Kokkos::TeamThreadRange(team, lists.capacity);

    // 1. Mark the first entry of each visible block.
    Kokkos::parallel_for(entries, [&](std::int64_t a) {
      bool good =
          in[a] >= visible.first_row(kept.block_size) && in[a] < visible.end_row(kept.block_size);
      for (std::int64_t b = 0; b < a; ++b)
        good = good && in[b] != in[a];
      is_unique[a] = good;
    });
    team.team_barrier();

    // 2. Put each marked entry at its rank among the marked ones.
    std::int64_t count = 0;
    Kokkos::parallel_reduce(
        entries,
        [&](std::int64_t a, std::int64_t& marked) {
          if (!is_unique[a])
            return;
          std::int64_t rank = 0;
          for (std::int64_t b = 0; b < lists.capacity; ++b)
            rank += is_unique[b] && in[b] < in[a];
          kept.blocks[i * kept.pitch + rank] = in[a];
          ++marked;
        },
        count);
    Kokkos::single(Kokkos::PerTeam(team),
                   [&] { kept.counts[i] = static_cast<std::int32_t>(count); });
  }
};

} // namespace detail
HISA_NAMESPACE_END
