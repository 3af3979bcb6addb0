// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The k best of a row of scores, by a group of lanes or by the groups of a cluster. All calls are
/// collective, and the storage is prepared (radix.hpp).
///
///   select_held    a row that should fit the lanes' registers (held.hpp);
///   select_stream  a long row, read once through a buffer in shared memory (stream.hpp);
///   select_again   any row and any k: the row is read again and again (again.hpp).
#pragma once

#include <hisa/gpu/again.hpp>
#include <hisa/gpu/held.hpp>
#include <hisa/gpu/stream.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// The k best of a long row, which the groups of the cluster share: emit(rank, position) for each,
/// ranks ascending with positions, each by a lane of the group in whose slice it is. StreamSelect
/// says how large k may be.
template <Group G, Cluster C, int Capacity, int Bins, int Rounds, int Lanes, StoredScoreRow Row,
          class Emit>
HISA_FUNCTION void select_stream(const G& g, const C& cluster,
                                 StreamStorage<Capacity, Bins, Rounds, Lanes>& storage,
                                 const Row& row, std::int32_t k, const Emit& emit) {
  StreamSelect stream(g, storage, k);
  std::uint32_t const first = row.first / 4 * 4, all = row.end - first;
  auto const ranks = static_cast<std::uint32_t>(cluster.ranks());
  constexpr std::uint32_t line = 32; // of memory
  std::uint32_t const share = (all + ranks * line - 1) / (ranks * line) * line;
  Row slice = row;
  std::uint32_t const begin = first + share * static_cast<std::uint32_t>(cluster.rank());
  slice.first = begin < row.first ? row.first : (begin < row.end ? begin : row.end);
  slice.end = row.end - slice.first / 4 * 4 < share ? row.end : slice.first / 4 * 4 + share;
  auto const wanted = row.end - row.first < static_cast<std::uint32_t>(k)
                          ? static_cast<std::int32_t>(row.end - row.first)
                          : k;
  stream.read(slice, &row);
  while (!stream.join(cluster, wanted)) { // once at most: the seed was too high
    stream.restart();
    stream.read(slice, static_cast<const Row*>(nullptr));
  }
  stream.finish(emit);
  if (cluster.ranks() > 1)
    cluster.barrier(); // others read this group's shared memory
}

} // namespace gpu
HISA_NAMESPACE_END
