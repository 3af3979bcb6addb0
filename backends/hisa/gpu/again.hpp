// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The k best of any row, for any k: the row is read once for every digit of the key, and once to
/// emit.
#pragma once

#include <hisa/gpu/radix.hpp>
#include <hisa/gpu/row.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// A row as a source that is read anew in every round.
template <Group G, ScoreRow Row>
struct InMemory {
  static constexpr int batch = 4;
  const G& g;
  const Row& row;

  HISA_FUNCTION int rounds() const {
    std::uint32_t const round = 4 * static_cast<std::uint32_t>(g.size());
    return static_cast<int>((row.end + round - 1) / round);
  }
  HISA_FUNCTION Four take(int round) const {
    return keys_at(row,
                   4 * (static_cast<std::uint32_t>(round) * static_cast<std::uint32_t>(g.size()) +
                        static_cast<std::uint32_t>(g.lane())));
  }
};

/// The k best of a row of any length, for any k: emit(rank, position) for each, ranks ascending
/// with positions. At most 6 passes over the row.
template <Group G, int Bins, ScoreRow Row, class Emit>
HISA_FUNCTION void select_again(const G& g, RadixStorage<Bins>& storage, const Row& row,
                                std::int32_t k, const Emit& emit) {
  Radix<G, Bins> radix(g, storage);
  InMemory<G, Row> const source{g, row};
  bool const all = row.end - row.first <= static_cast<std::uint32_t>(k);
  radix.compact(
      source, all ? Threshold{} : radix.find_threshold(source, k),
      [&](std::int32_t rank, std::uint32_t position, std::uint32_t) { emit(rank, position); });
}

} // namespace gpu
HISA_NAMESPACE_END
