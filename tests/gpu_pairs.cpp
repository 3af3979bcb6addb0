// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Listing for each tile of keys the queries that want it, and how workers share these pairs, in
// lockstep on the host: held against the candidates that the portable path has
// (hisa/candidates.hpp).
#include <hisa/gpu/lockstep.hpp>
#include <hisa/gpu/pairs.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>
#include <utility>
#include <vector>

using namespace hisa;
using gpu::group_queries;
using gpu::Lockstep;
using gpu::Pair;
using gpu::tile_keys;
using gpu::word_bins;

namespace {

constexpr std::uint32_t pattern = 0xa5a5a5a5; ///< of words that nobody may write, or read
constexpr Pair nobody{-7, -7, -7, -7};

/// Queries and the blocks that they kept.
struct Problem {
  std::vector<std::int32_t> ks, ke, anchor;
  std::vector<std::vector<std::int32_t>> kept; ///< counted from the query's anchor
  std::int64_t block_size = 128;
  gpu::Level tokens; ///< without the pointers

  gpu::Level level() const {
    gpu::Level l = tokens;
    l.visibility = {ks.data(), ke.data(), anchor.data()};
    l.count = std::int64_t(ks.size());
    return l;
  }
  KeptBlocks of(std::int64_t q) const {
    auto const& blocks = kept[std::size_t(q)];
    return {blocks.data(), std::int64_t(blocks.size()), block_size};
  }
  /// Adds a query that keeps about one of `each` blocks that it sees, but the first always.
  void add(std::mt19937& random, std::int32_t grid, std::int32_t begin, std::int32_t end,
           unsigned each) {
    anchor.push_back(grid), ks.push_back(begin), ke.push_back(end);
    auto& blocks = kept.emplace_back();
    for (auto b = std::int32_t((begin - grid) / block_size); grid + b * block_size < end; ++b)
      if (begin < end && (blocks.empty() || random() % each == 0))
        blocks.push_back(b);
  }
};

/// Queries of which every fourth has a grid of its own, and some see few keys or none.
Problem random_problem(unsigned seed, std::int64_t block_size, int queries) {
  std::mt19937 random(seed);
  Problem p;
  p.block_size = block_size;
  p.tokens.budget = 8, p.tokens.max_keys = 6000; // not whole tiles
  for (int q = 0; q < queries; ++q) {
    auto const grid = q % 4 == 0 ? std::int32_t(random() % 1500) : q % 4 == 1 ? 0 : 1203;
    auto const begin = q % 3 == 0 ? grid : grid + std::int32_t(random() % 800);
    auto const most = std::int32_t(p.tokens.max_keys) - begin;
    auto const sees = std::int32_t(random() % (q % 5 == 4 ? 9 : unsigned(most)));
    p.add(random, grid, begin, begin + (q % 4 == 3 ? most : sees), 1 + unsigned(q % 3));
  }
  p.add(random, 5000, 5050, 5050, 1);                        // it sees nothing
  p.add(random, 37, 37 + tile_keys, 37 + 11 * tile_keys, 1); // of blocks at both ends, whole tiles
  return p;
}

/// All pairs of the queries' groups, bin by bin. Nothing else was written.
std::vector<Pair> list(const Problem& p, int lanes, int spread) {
  gpu::Level const level = p.level();
  auto const bins = std::int32_t((level.max_keys + tile_keys - 1) / tile_keys);
  std::vector<Pair> pairs(std::size_t((bins + 2) * level.count), nobody); // two bins too many
  std::vector<std::uint32_t> counts(std::size_t(bins + 2) << spread, pattern);
  gpu::PairLists const lists{pairs.data() + level.count, counts.data() + (1 << spread), bins,
                             spread, level.count};
  for (std::int32_t bin = 0; bin < bins; ++bin)
    counts[std::size_t(1 + bin) << spread] = 0;
  Lockstep machine(lanes, -1, int(level.count + group_queries - 1) / group_queries);
  machine.run([&](const Lockstep::Lane& lane) {
    std::int64_t const group = Lockstep::Cluster(lane, 0).rank();
    gpu::ListedQuery queries[group_queries];
    for (int i = 0; i < group_queries; ++i)
      if (std::int64_t const q = group * group_queries + i; q < level.count)
        queries[i] = listed_query(level, level.visible(q), p.of(q));
    list_pairs(lane, lists, group, queries, int(p.block_size));
  });
  std::vector<Pair> all;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    auto const bin = std::int32_t(i >> spread) - 1;
    bool const used = bin >= 0 && bin < bins && i % (std::size_t(1) << spread) == 0;
    REQUIRE((used ? counts[i] <= level.count : counts[i] == pattern));
    for (std::int64_t n = 0; used && n < counts[i]; ++n) {
      REQUIRE(lists.of(bin)[n].row / tile_keys == bin);
      all.push_back(std::exchange(lists.of(bin)[n], nobody));
    }
  }
  REQUIRE(std::ranges::all_of(pairs, [](const Pair& of) { return of.query == nobody.query; }));
  return all;
}

/// The pairs hold every candidate of those that must be scored once, at its position, and nothing
/// else.
std::vector<Pair> check(const Problem& p, int lanes, int spread) {
  std::vector<Pair> const pairs = list(p, lanes, spread);
  gpu::Level const level = p.level();
  std::size_t found = 0;
  for (std::int64_t q = 0; q < level.count; ++q) {
    Visible const v = level.visible(q);
    Candidates const c = level.candidates(v, p.of(q));
    bool const scored = level.must_score(level.contest(c, v), v);
    std::vector<int> times(scored ? std::size_t(c.count) : 0);
    std::set<std::int32_t> bins;
    for (const Pair& pair : pairs) {
      if (pair.query != q)
        continue;
      REQUIRE((scored && pair.limit == c.count));
      REQUIRE(bins.insert(pair.row / tile_keys).second);
      std::int64_t const begin = std::max(pair.position, 0);
      std::int64_t const end = std::min<std::int64_t>(pair.position + tile_keys, c.count);
      REQUIRE(begin < end);
      bool right = true;
      for (std::int64_t i = begin; i < end; ++times[std::size_t(i++)])
        right &= v.anchor + c.row(i) == pair.row + (i - pair.position);
      REQUIRE(right);
      ++found;
    }
    REQUIRE(std::ranges::all_of(times, [](int n) { return n == 1; }));
  }
  REQUIRE(found == pairs.size()); // no other queries
  return pairs;
}

/// Counts of bins that have so many pairs, kept apart, with more behind them.
std::vector<std::uint32_t> spread_out(const std::vector<std::uint32_t>& pairs, int spread) {
  std::vector<std::uint32_t> counts((pairs.size() + word_bins) << spread, pattern);
  for (std::size_t bin = 0; bin < pairs.size(); ++bin)
    counts[bin << spread] = pairs[bin];
  return counts;
}

/// Finds the used bins by some lanes. Nothing else was written.
gpu::UsedBins find(const gpu::PairLists& lists, int lanes) {
  gpu::UsedBins used, expected;
  for (auto* of : {&used, &expected})
    std::ranges::fill(of->bits, pattern), std::ranges::fill(of->sums, pattern);
  Lockstep(lanes).run([&](const Lockstep::Lane& lane) { find_used(lane, lists, used); });
  for (std::int32_t bin = 0; bin < lists.bins; ++bin) {
    int const word = bin / word_bins, bit = bin % word_bins;
    std::uint32_t const count = lists.counts[bin << lists.spread];
    expected.bits[word] = (bit > 0 ? expected.bits[word] : 0) | std::uint32_t(count > 0) << bit;
    expected.sums[word] = (bit > 0 ? expected.sums[word] : 0) + count;
  }
  REQUIRE(std::ranges::equal(used.bits, expected.bits));
  REQUIRE(std::ranges::equal(used.sums, expected.sums));
  return used;
}

/// Takes the pairs of all workers as one wave of each does. Each pair has to come once, in the
/// order of the bins.
void check(const std::vector<std::uint32_t>& pairs, int spread, unsigned workers, int lanes) {
  auto counts = spread_out(pairs, spread);
  gpu::PairLists const lists{nullptr, counts.data(), std::int32_t(pairs.size()), spread, 0};
  gpu::UsedBins const used = find(lists, lanes);
  std::vector<std::uint32_t> taken(pairs.size()), shares;
  std::vector<gpu::PairShare> all; // of bins, as lane 0 takes them
  Lockstep(32).run([&](const Lockstep::Lane& lane) {
    std::size_t n = 0;
    for (unsigned worker = 0; worker < workers; ++worker) {
      auto [bin, begin, left] = pair_share(lane, lists, used, worker, workers);
      if (lane.lane() == 0)
        shares.push_back(left);
      for (; left > 0; begin = 0) {
        std::uint32_t const there = pairs.at(std::size_t(bin));
        std::uint32_t const count = begin < there ? std::min(left, there - begin) : 0;
        if (lane.lane() == 0)
          all.push_back({bin, begin, count});
        gpu::PairShare const& first = all.at(n++);
        if (count == 0 || first.bin != bin || first.begin != begin || first.count != count)
          throw gpu::lockstep_error("lanes take nothing, or different pairs");
        if ((left -= count) > 0)
          bin = used_bin(lane, lists, used, bin + 1);
      }
    }
  });
  bool in_order = true;
  std::int32_t last = 0;
  for (const auto& [bin, begin, count] : all) {
    in_order &= bin >= last && begin == taken[std::size_t(bin)];
    last = bin, taken[std::size_t(bin)] += count;
  }
  CHECK(in_order);
  CHECK((taken == pairs));
  CHECK(std::ranges::max(shares) - std::ranges::min(shares) <= 1);
}

} // namespace

TEST_CASE("pairs of the blocks that queries kept") {
  for (unsigned seed = 0; seed < 4; ++seed)
    for (std::int64_t block_size : {128, 256})
      for (auto const& [lanes, spread] : {std::pair(64, 0), {256, 3}}) {
        Problem p = random_problem(seed, block_size, 13); // the last group has a query less
        auto const few = check(p, lanes, spread);
        p.tokens.scores_wanted = true; // of those that take all, too
        CHECK(check(p, lanes, spread).size() > few.size());
        p.tokens.identity = 2000; // these do whatever was kept
        CHECK(check(p, lanes, spread).size() > few.size());
      }
}

TEST_CASE("queries that need no scores have no pairs") {
  std::mt19937 random(1);
  Problem p;
  p.tokens.budget = 8, p.tokens.max_keys = 3000;
  for (std::int32_t sees : {8, 9, 0, 5})
    p.add(random, 130, 250, 250 + sees, 1);
  auto const pairs = check(p, 64, 0);
  REQUIRE(pairs.size() == 2); // the ends of two blocks
  CHECK(pairs[0].query == 1);
  p.tokens.identity = 9;
  CHECK(check(p, 64, 0).empty());
}

TEST_CASE("workers share the pairs of all bins") {
  std::mt19937 random(7);
  for (std::size_t bins : {1, 5, 31, 32, 33, 257, 1024, 8193, gpu::max_bins}) {
    std::vector<std::uint32_t> const none(bins);
    auto one = none, heap = none, few = none, many = none;
    one[random() % bins] = 1;
    heap[random() % bins] = 3'000'000'000;
    for (std::size_t bin : {std::size_t(0), random() % bins, bins - 1}) // far apart
      few[bin] = 1 + unsigned(random() % 100);
    for (auto& n : many)
      n = random() % (1 + bins / 1024) == 0 ? unsigned(random() % 5) : 0;
    for (auto const& pairs : {none, one, heap, few, many})
      for (unsigned workers : {1u, 3u, 7u, 396u})
        if (workers < 396 || bins < 32 || bins == 8193) // for the time it takes
          check(pairs, workers == 3 ? 3 : 0, workers, workers == 7 ? 512 : 64);
  }
  std::vector<std::uint32_t> apart(2100); // just as many words as a wave has lanes
  apart[40] = apart[40 + word_bins * word_bins - 5] = 1;
  check(apart, 0, 1, 64);
}

TEST_CASE("what is used is known behind a barrier") {
  auto counts = spread_out(std::vector<std::uint32_t>(70, 2), 0);
  gpu::PairLists const lists{nullptr, counts.data(), 70, 0, 0};
  for (bool shares : {true, false}) {
    gpu::UsedBins used;
    auto const body = [&](const Lockstep::Lane& lane) {
      find_used(lane, lists, used);
      lane.barrier();
      unsigned const wave = unsigned(lane.lane() / Lockstep::Lane::wave);
      auto const share = shares ? pair_share(lane, lists, used, wave, 2) : gpu::PairShare{};
      int const bin = shares ? share.bin : used_bin(lane, lists, used, int(wave) * 35);
      if (bin != int(wave) * 35 || share.begin != 0 || share.count != (shares ? 70 : 0))
        throw std::runtime_error("wrong share");
    };
    CHECK_NOTHROW(Lockstep(64).run(body));
    CHECK_THROWS_AS(Lockstep(64, 0).run(body), gpu::lockstep_error);
  }
}
