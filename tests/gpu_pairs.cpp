// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Listing pairs of queries and tiles, and dividing them among workers, in lockstep on the host:
// held against the candidates that the portable path has (hisa/candidates.hpp).
#include <hisa/gpu/lockstep.hpp>
#include <hisa/gpu/pairs.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <tuple>
#include <vector>

using namespace hisa;
using gpu::group_queries;
using gpu::Lockstep;
using gpu::Pair;
using gpu::tile_keys;

namespace {

constexpr std::uint32_t untouched = 0xa5a5a5a5;

/// Bins of pairs, empty.
struct Bins {
  std::vector<Pair> pairs;
  std::vector<std::uint32_t> counts;
  gpu::PairLists lists;

  Bins(std::int32_t bins, std::int64_t capacity, int spread)
      : pairs(std::size_t(bins * capacity), Pair{-7, -7, -7, -7}),
        counts(std::size_t(bins) << spread, untouched) {
    lists = {pairs.data(), counts.data(), bins, spread, capacity};
    for (std::int32_t bin = 0; bin < bins; ++bin)
      *lists.count(bin) = 0;
  }
};

/// Queries and the blocks that they kept.
struct Problem {
  std::vector<std::int32_t> ks, ke, anchor;
  std::vector<std::vector<std::int32_t>> kept; ///< counted from the query's anchor
  std::int64_t block_size = 128;
  gpu::Level next; ///< the tokens, without the pointers

  gpu::Level level() const {
    gpu::Level l = next;
    l.visibility = {ks.data(), ke.data(), anchor.data()};
    l.count = std::int64_t(ks.size());
    return l;
  }
  KeptBlocks of(std::size_t q) const {
    return {kept[q].data(), std::int64_t(kept[q].size()), block_size};
  }
};

/// Of `groups` groups, each with a grid of its own; the first sees little, the last from ks >
/// anchor.
Problem random_problem(unsigned seed, std::int64_t block_size, int groups, int keep, int topk) {
  std::mt19937 random(seed);
  Problem p;
  p.block_size = block_size;
  p.next.budget = topk, p.next.max_keys = 20000, p.next.identity = topk;
  for (int g = 0; g < groups; ++g)
    for (int q = 0; q < group_queries; ++q) {
      p.anchor.push_back(g == 0 ? 0 : g * 1000 + q % 2 * 37);
      p.ks.push_back(p.anchor.back() + (g + 1 == groups ? 201 : 0));
      p.ke.push_back(p.ks.back() + (g == 0 ? 50 * q : 3000 + int(random() % 5000)));
      Visible const v = p.level().visible(std::int64_t(p.ks.size()) - 1);
      auto const first = std::int32_t(v.first_row(block_size)),
                 end = std::int32_t(v.end_row(block_size));
      std::set<std::int32_t> kept;
      if (end > first)
        kept = {first, end - 1};
      while (std::int32_t(kept.size()) < std::min(keep, end - first))
        kept.insert(first + std::int32_t(random() % unsigned(end - first)));
      p.kept.emplace_back(kept.begin(), kept.end());
    }
  return p;
}

/// Lists the pairs of all groups, and holds them against the candidates of the queries.
void check(const Problem& p, int lanes, int spread) {
  gpu::Level const level = p.level();
  auto const ratio = int(p.block_size);
  Bins bins((*std::ranges::max_element(p.ke) + tile_keys - 1) / tile_keys, level.count, spread);
  for (std::int64_t g = 0; g < level.count / group_queries; ++g) {
    gpu::ListedQuery queries[group_queries];
    for (int q = 0; q < group_queries; ++q) {
      auto const t = std::size_t(g * group_queries + q);
      queries[q] = listed_query(level, level.visible(std::int64_t(t)), p.of(t));
    }
    Lockstep(lanes).run(
        [&](const Lockstep::Lane& lane) { list_pairs(lane, bins.lists, g, queries, ratio); });
  }
  std::map<std::pair<std::int32_t, std::int32_t>, Pair> all; // by query and bin
  for (std::int32_t bin = 0; bin < bins.lists.bins; ++bin)
    for (std::int64_t i = 0; i < level.count; ++i) {
      Pair const& pair = bins.lists.of(bin)[i];
      if (i >= *bins.lists.count(bin)) {
        REQUIRE(pair.query == -7);
        continue;
      }
      REQUIRE(pair.row / tile_keys == bin);
      REQUIRE(all.emplace(std::pair(pair.query, bin), pair).second);
    }
  for (std::size_t i = 0; i < bins.counts.size(); ++i)
    if (i % (std::size_t(1) << spread) != 0)
      REQUIRE(bins.counts[i] == untouched);
  std::size_t wanted = 0;
  for (std::int64_t t = 0; t < level.count; ++t) {
    Visible const v = level.visible(t);
    Candidates const c = level.candidates(v, p.of(std::size_t(t)));
    if (!level.must_score(level.contest(c, v), v))
      continue;
    std::set<std::int32_t> tiles; // first rows of pairs that have a candidate
    for (std::int64_t i = 0; i < c.count; ++i) {
      auto const row = std::int32_t(v.anchor + c.row(i));
      auto const begin =
          std::int32_t(v.anchor) + (row - std::int32_t(v.anchor)) / tile_keys * tile_keys;
      auto const pair = all.find({std::int32_t(t), begin / tile_keys});
      REQUIRE(pair != all.end());
      REQUIRE(pair->second.row == begin);
      REQUIRE(pair->second.position + row - begin == i);
      REQUIRE(pair->second.limit == c.count);
      tiles.insert(begin);
    }
    wanted += tiles.size();
  }
  REQUIRE(all.size() == wanted);
}

/// Counts of bins, random ones of which a share is used.
std::vector<std::uint32_t> random_counts(unsigned seed, std::size_t bins, unsigned one_of) {
  std::mt19937 random(seed);
  std::vector<std::uint32_t> counts(bins);
  for (std::uint32_t& count : counts)
    count = random() % one_of == 0 ? 1 + unsigned(random() % 9) : 0;
  return counts;
}

/// All workers' pairs are the bins' pairs in order, as equally divided as may be.
void check_shares(const std::vector<std::uint32_t>& counts, unsigned workers, int spread) {
  Bins bins(std::int32_t(counts.size()), 0, spread);
  for (std::size_t bin = 0; bin < counts.size(); ++bin)
    *bins.lists.count(std::int32_t(bin)) = counts[bin];
  auto used = std::make_unique<gpu::UsedBins>();
  Lockstep(workers == 7 ? 512 : 64).run([&](const Lockstep::Lane& lane) {
    find_used(lane, bins.lists, *used);
  });
  auto const all = std::accumulate(counts.begin(), counts.end(), 0u);
  std::vector<std::pair<std::int32_t, std::uint32_t>> found, expected;
  for (std::size_t bin = 0; bin < counts.size(); ++bin)
    for (std::uint32_t i = 0; i < counts[bin]; ++i)
      expected.emplace_back(std::int32_t(bin), i);
  for (unsigned w = 0; w < workers; ++w)
    Lockstep(32).run([&](const Lockstep::Lane& lane) {
      auto const share = pair_share(lane, bins.lists, *used, w, workers);
      if (lane.lane() == 0)
        REQUIRE((share.count == all / workers || share.count == all / workers + 1));
      std::int32_t bin = share.bin;
      std::uint32_t at = share.begin;
      for (std::uint32_t left = share.count; left > 0; --left) {
        if (lane.lane() == 0)
          found.emplace_back(bin, at);
        if (++at == counts[std::size_t(bin)] && left > 1)
          bin = used_bin(lane, bins.lists, *used, bin + 1), at = 0;
      }
    });
  REQUIRE(found == expected);
}

} // namespace

TEST_CASE("pairs are the candidates of the queries") {
  for (unsigned seed = 1; seed <= 6; ++seed)
    for (int size : {128, 256, 512})
      for (int spread : {0, 3})
        check(random_problem(seed, size, 3, 9, 300), seed % 2 != 0 ? 64 : 256, spread);
}

TEST_CASE("queries with nothing to score, or all") {
  Problem p = random_problem(1, 128, 2, 5, 8000); // no more candidates than tokens are wanted
  check(p, 64, 0);
  p.next.scores_wanted = true; // taken as they are, but scored
  check(p, 64, 0);
  p = random_problem(2, 256, 2, 5, 3500); // some take all that they see, whatever was kept
  p.next.scores_wanted = true;
  check(p, 64, 0);
}

TEST_CASE("workers divide all pairs") {
  for (std::size_t bins : {1, 5, 31, 32, 33, 257, 1025, 4000})
    for (unsigned one_of : {1u, 2u, 50u})
      for (auto const& [workers, spread] : {std::pair(1u, 0), std::pair(7u, 2), std::pair(30u, 5)})
        check_shares(random_counts(unsigned(bins), bins, one_of), workers, spread);
  check_shares(random_counts(3, gpu::max_bins, 9), 7, 0);
  for (std::size_t at : {0, 40, 999}) {
    std::vector<std::uint32_t> counts(1000);
    check_shares(counts, 7, 0); // no pairs
    counts[at] = 1;
    check_shares(counts, 7, 0);
    counts[at] = 1000;
    check_shares(counts, 7, 0);
    counts[500] = 3;
    check_shares(counts, 30, 0);
  }
  std::vector<std::uint32_t> gaps(9000); // of more words than a wave has lanes
  gaps[5] = gaps[2000] = gaps[4500] = 2;
  check_shares(gaps, 1, 0);
}

TEST_CASE("a share needs the barrier behind what is used") {
  auto const share = [](int skipped) {
    Bins bins(100, 0, 0);
    *bins.lists.count(70) = 5;
    auto used = std::make_unique<gpu::UsedBins>();
    gpu::PairShare found;
    Lockstep(64, skipped).run([&](const Lockstep::Lane& lane) {
      find_used(lane, bins.lists, *used);
      lane.barrier();
      gpu::PairShare const own = pair_share(lane, bins.lists, *used, 0, 1);
      if (lane.lane() == 0)
        found = own;
    });
    return std::tuple(found.bin, found.begin, found.count);
  };
  REQUIRE(share(-1) == std::tuple(70, 0u, 5u));
  REQUIRE_THROWS_AS(share(0), gpu::lockstep_error);
}
