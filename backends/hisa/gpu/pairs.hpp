// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What queries kept, the other way round: for every tile of keys the queries that want it, as
/// *pairs*, and how workers divide them.
#pragma once

#include <hisa/gpu/group.hpp>
#include <hisa/gpu/listed_query.hpp>
#include <hisa/gpu/pieces.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// A query and tile_keys neighbouring rows of a level's buffer, of a block that it kept. It sees
/// one of them at least.
struct alignas(16) Pair {
  std::int32_t query;    ///< counted from the level's first
  std::int32_t row;      ///< the first of the rows
  std::int32_t position; ///< of that row among the query's candidates; less than 0 if not seen
  std::int32_t limit;    ///< candidates of the query
};

/// Pairs in *bins* by their first row: bin b has those from row b * tile_keys on that come before
/// the next bin's, in any order. In the workspace.
struct PairLists {
  Pair* pairs = nullptr;           ///< [bins, capacity]; null: no pairs are listed
  std::uint32_t* counts = nullptr; ///< [bins << spread], of which every `1 << spread`th is used
  std::int32_t bins = 0;
  int spread = 0;            ///< keeps counts apart, of which a cache line serves one at a time
  std::int64_t capacity = 0; ///< of a bin, in which each query has one pair at most

  HISA_FUNCTION std::uint32_t* count(std::int32_t bin) const {
    return counts + (std::int64_t(bin) << spread);
  }
  HISA_FUNCTION Pair* of(std::int32_t bin) const { return pairs + bin * capacity; }
};

/// Adds the pairs of a group of neighbouring queries, when all bins were emptied. Other groups may
/// add theirs at the same time.
/// @param ratio  rows of the level that a block holds, a multiple of tile_keys
template <Group G>
HISA_FUNCTION void list_pairs(const G& g, const PairLists& lists, std::int64_t group,
                              const ListedQuery (&queries)[group_queries], int ratio) {
  int const of_block = ratio / tile_keys;
  std::int32_t ends[group_queries], all = 0; // the queries' pairs, one query behind the other
  for (int q = 0; q < group_queries; ++q)
    ends[q] = all += queries[q].count * of_block;
  HISA_ROLLED
  for (std::int32_t i = g.lane(); i < all; i += g.size()) {
    int q = 0;
    std::int32_t first = 0;
    for (int before = 0; before + 1 < group_queries; ++before)
      if (i >= ends[before])
        q = before + 1, first = ends[before];
    std::int32_t const entry = (i - first) / of_block, offset = (i - first) % of_block * tile_keys;
    Pair pair;
    pair.query = static_cast<std::int32_t>(group) * group_queries + q;
    pair.row = queries[q].origin + queries[q].block(entry) * ratio + offset;
    pair.position = entry * ratio - queries[q].skip + offset;
    pair.limit = queries[q].limit;
    if (pair.position + tile_keys <= 0 || pair.position >= pair.limit)
      continue; // of the tiles of a block at an end, the query sees none of this; nor need it exist
    std::int32_t const bin = pair.row / tile_keys;
    g.store(lists.of(bin) + g.ticket(lists.count(bin)), pair);
  }
}

/// The most bins that pairs may have, and those that go together in a word.
inline constexpr int max_bins = 1 << 14, word_bins = 32;

/// What a group keeps of the bins. In shared memory.
struct UsedBins {
  std::uint32_t bits[max_bins / word_bins]; ///< of those that are not empty
  std::uint32_t sums[max_bins / word_bins]; ///< of their pairs
};

/// The lanes of a wave, among the first word_bins, for which a condition holds.
template <Group G>
HISA_FUNCTION std::uint32_t lanes_where(const G& g, bool condition) {
  static_assert(G::wave >= word_bins);
  int const lane = g.lane() % G::wave;
  return g.sum(lane < word_bins && condition ? 1u << lane : 0u);
}

/// How many pairs a wave's lane, one of the first word_bins, finds in its bin of a word.
template <Group G>
HISA_FUNCTION std::uint32_t pairs_of_lane(const G& g, const PairLists& lists, std::int32_t word) {
  std::int32_t const lane = g.lane() % G::wave, bin = word * word_bins + lane;
  return lane < word_bins && bin < lists.bins ? *lists.count(bin) : 0;
}

/// Finds out which bins are used, by how many pairs. By all lanes; known behind a barrier.
/// Complexity: O(bins) for the group.
template <Group G>
HISA_FUNCTION void find_used(const G& g, const PairLists& lists, UsedBins& used) {
  std::int32_t const words = (lists.bins + word_bins - 1) / word_bins, waves = g.size() / G::wave;
  HISA_ROLLED
  for (std::int32_t first = 0; first < words; first += waves) { // a word for each wave
    std::int32_t const word = first + g.lane() / G::wave;
    std::uint32_t const count = pairs_of_lane(g, lists, word);
    std::uint32_t const bits = lanes_where(g, count > 0), sum = g.sum(count);
    if (g.lane() % G::wave == 0 && word < words) {
      g.store(&used.bits[word], bits);
      g.store(&used.sums[word], sum);
    }
  }
}

/// A worker's pairs: those from one on, in the order of the bins.
struct PairShare {
  std::int32_t bin = 0;
  std::uint32_t begin = 0; ///< in that bin
  std::uint32_t count = 0;
};

/// The share of one of some workers, whose shares differ by one pair at most. By a wave.
/// Complexity: O(bins / 1024) for a lane.
template <Group G>
HISA_FUNCTION PairShare pair_share(const G& g, const PairLists& lists, const UsedBins& used,
                                   unsigned worker, unsigned workers) {
  // Each lane has some neighbouring words.
  std::int32_t const words = (lists.bins + word_bins - 1) / word_bins;
  std::int32_t const each = (words + word_bins - 1) / word_bins, lane = g.lane() % G::wave;
  std::int32_t const first = lane * each < words ? lane * each : words;
  std::int32_t const end = first + each < words ? first + each : words;
  std::uint32_t own = 0;
  HISA_ROLLED
  for (std::int32_t word = first; word < end; ++word)
    own += g.load(&used.sums[word]);
  std::uint32_t const through = wave_scan(g, own), all = g.sum(own);
  auto const cut = [&](unsigned w) {
    return static_cast<std::uint32_t>(std::uint64_t(all) * w / workers);
  };
  std::uint32_t const begin = cut(worker);
  PairShare share;
  share.count = cut(worker + 1) - begin;
  if (share.count == 0)
    return share;

  // The lane that has the first pair finds its word, then the wave its bin.
  bool const has = through - own <= begin && begin < through;
  std::uint32_t left = begin - (through - own); // pairs before it, from the word on
  std::int32_t word = first;
  if (has)
    for (std::uint32_t sum; left >= (sum = g.load(&used.sums[word])); ++word)
      left -= sum;
  int const finder = lowest_bit(lanes_where(g, has));
  word = static_cast<std::int32_t>(g.shuffle(static_cast<std::uint32_t>(word), finder));
  left = static_cast<std::uint32_t>(g.shuffle(left, finder));
  std::uint32_t const count = pairs_of_lane(g, lists, word), before = wave_scan(g, count) - count;
  int const holder = lowest_bit(lanes_where(g, before <= left && left < before + count));
  share.bin = word * word_bins + holder;
  share.begin = left - static_cast<std::uint32_t>(g.shuffle(before, holder));
  return share;
}

/// The first bin from `bin` on that is used. There is one. By a wave.
template <Group G>
HISA_FUNCTION std::int32_t used_bin(const G& g, const PairLists& lists, const UsedBins& used,
                                    std::int32_t bin) {
  std::int32_t const lane = g.lane() % G::wave, first = bin / word_bins;
  for (std::int32_t words = first;; words += word_bins) {
    std::int32_t const word = words + lane;
    bool const exists = lane < word_bins && word * word_bins < lists.bins;
    std::uint32_t bits = exists ? g.load(&used.bits[word]) : 0;
    if (word == first)
      bits &= ~0u << bin % word_bins;
    std::uint32_t const any = lanes_where(g, bits != 0);
    if (any == 0)
      continue;
    int const finder = lowest_bit(any);
    return (words + finder) * word_bins +
           lowest_bit(static_cast<std::uint32_t>(g.shuffle(bits, finder)));
  }
}

} // namespace gpu
HISA_NAMESPACE_END
