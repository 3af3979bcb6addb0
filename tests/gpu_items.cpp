// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the CTAs of the scoring kernel share groups and tiles, in lockstep on the host.
#include <hisa/gpu/items.hpp>
#include <hisa/gpu/lockstep.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

using hisa::gpu::CtaOf;
using hisa::gpu::Item;
using hisa::gpu::Lockstep;

namespace {

/// Groups with so many tiles each, and the costs of these.
struct Groups {
  static constexpr std::int64_t pitch = 600; ///< in tiles
  static constexpr int pieces_log2 = 3;      ///< of a tile
  std::vector<std::int32_t> counts;
  std::vector<std::uint32_t> masks, costs;
  hisa::gpu::PieceLists pieces;

  /// @param seed  0: all tiles cost the same
  Groups(const std::vector<int>& tiles, unsigned seed)
      : masks(tiles.size() * pitch, 0xff), costs(tiles.size()) {
    std::mt19937 random(seed);
    for (std::size_t g = 0; g < tiles.size(); ++g) {
      counts.push_back(tiles[g] << pieces_log2);
      for (int t = 0; t < tiles[g]; ++t) {
        std::uint32_t const mask = seed == 0 ? 15 : 1 + unsigned(random() % 15);
        masks[g * pitch + std::size_t(t)] = mask;
        costs[g] += hisa::gpu::tile_cost(mask);
      }
    }
    pieces.masks = masks.data(), pieces.counts = counts.data(), pieces.costs = costs.data();
    pieces.piece_log2 = hisa::gpu::tile_keys_log2 - pieces_log2;
    pieces.pitch = pitch << pieces_log2;
  }
  std::int64_t size() const { return std::int64_t(counts.size()); }
  std::uint64_t cost(std::int64_t group, int tile) const {
    return hisa::gpu::tile_cost(masks[std::size_t(group * pitch + tile)]);
  }
};

/// A CTA's items as one of its warps takes them.
std::vector<Item> items_of(const Groups& groups, CtaOf at) {
  std::vector<Item> all;
  Lockstep(32).run([&](const Lockstep::Lane& lane) {
    auto const find = [&] { return find_share(lane, groups.pieces, groups.size(), at); };
    hisa::gpu::SharedGroups left(lane, groups.pieces, groups.size(), at, find);
    hisa::gpu::Items<decltype(left)> items(groups.size(), at, left);
    std::size_t n = 0;
    for (bool last = false; !last; ++n) {
      Item const item = items.next();
      last = item.last;
      if (lane.lane() == 0)
        all.push_back(item);
      Item const& first = all.at(n); // lane 0's
      if (item.group != first.group || item.first != first.first || item.tiles != first.tiles ||
          item.last != first.last)
        throw hisa::gpu::lockstep_error("lanes have different items");
    }
  });
  return all;
}

/// Takes all tiles of all CTAs, each of which has to come once, and returns the CTAs' costs.
std::vector<std::uint64_t> take_all(const Groups& groups, unsigned ctas) {
  std::vector<std::vector<int>> taken;
  for (std::int32_t const pieces : groups.counts)
    taken.emplace_back(std::size_t(pieces >> Groups::pieces_log2), 0);
  std::vector<std::uint64_t> costs(ctas);
  for (unsigned cta = 0; cta < ctas; ++cta)
    for (const Item& item : items_of(groups, {cta, ctas})) {
      REQUIRE(item.group < groups.size());
      auto& of_group = taken[std::size_t(item.group)];
      int const tiles = std::min(item.tiles, int(of_group.size()) - item.first);
      REQUIRE(item.step == 1);
      REQUIRE((item.tiles == tiles || item.tiles == INT32_MAX)); // exact but of whole groups
      for (int t = item.first; t < item.first + tiles; ++t)
        ++of_group.at(std::size_t(t)), costs[cta] += groups.cost(item.group, t);
    }
  for (const auto& of_group : taken)
    CHECK(std::ranges::all_of(of_group, [](int times) { return times == 1; }));
  return costs;
}

std::vector<int> random_tiles(unsigned seed, std::size_t groups, int least, int most) {
  std::mt19937 random(seed);
  std::vector<int> tiles;
  for (std::size_t g = 0; g < groups; ++g)
    tiles.push_back(least + int(random() % unsigned(most - least + 1)));
  return tiles;
}

} // namespace

TEST_CASE("listed groups are shared such that all CTAs come to the same cost") {
  constexpr std::uint64_t dearest = 5 + 3 * 4; // a tile
  for (auto const& [groups, ctas] : {std::pair(7, 4u), {11, 4u}, {200, 132u}, {256, 132u}}) {
    Groups const g(random_tiles(unsigned(groups), std::size_t(groups), 100, 140), 5);
    auto const costs = take_all(g, ctas);
    std::uint64_t const all = std::accumulate(costs.begin(), costs.end(), std::uint64_t(0));
    CHECK(std::ranges::max(costs) <= all / ctas + 2 * dearest);
    CHECK(std::ranges::min(costs) + 2 * dearest >= all / ctas);
  }
}

TEST_CASE("a CTA that had too much in whole groups gets no more") {
  std::vector<int> tiles(6, 10); // four whole groups, two that are left
  tiles[1] = 200;
  Groups const g(tiles, 3);
  auto const costs = take_all(g, 4);
  CHECK(costs[1] == g.costs[1]);
  CHECK(std::max({costs[0], costs[2], costs[3]}) < costs[1]);
}

TEST_CASE("listed groups of any number of tiles are shared, each tile once") {
  take_all(Groups(random_tiles(1, 9, 0, 3), 1), 4);     // some have none
  take_all(Groups({0, 0, 0, 0, 0}, 1), 4);              // no cost at all
  take_all(Groups({0, 0, 0, 0, 600}, 2), 4);            // more than a wave looks at together
  take_all(Groups(random_tiles(2, 700, 1, 2), 2), 699); // more groups than that
  take_all(Groups(random_tiles(3, 8, 1, 40), 3), 4);    // nothing is left
  take_all(Groups({5}, 4), 1);
  take_all(Groups(std::vector<int>(33, 1), 0), 32); // what is left is less than there are CTAs
}

TEST_CASE("how far a limit reaches into costs") {
  std::mt19937 random(9);
  std::vector<std::uint32_t> costs(700);
  for (auto& c : costs)
    c = unsigned(random() % 20);
  for (std::uint64_t limit : {0, 1, 2, 100, 2500, 5000, 1 << 20})
    for (std::size_t n : {0, 1, 8, 255, 256, 257, 700}) {
      std::uint64_t sum = 0, before = 0;
      std::int64_t count = 0;
      for (std::size_t i = 0; i < n && sum < limit; ++i)
        ++count, before = sum, sum += costs[i];
      Lockstep(32).run([&](const Lockstep::Lane& lane) {
        auto const r = reach(lane, std::int64_t(n), limit,
                             [&](std::int64_t i) { return costs.at(std::size_t(i)); });
        if (r.count != count || r.before != before)
          throw hisa::gpu::lockstep_error("reached " + std::to_string(r.count));
      });
    }
}

TEST_CASE("groups of all rows are cut, each tile once") {
  for (auto const& [groups, cuts, ctas] :
       {std::tuple(256, 8, 132u), {5, 3, 4u}, {3, 70, 132u}, {264, 1, 132u}, {1, 1, 1u}}) {
    constexpr int tiles = 65;
    std::vector<int> taken(std::size_t(groups * tiles));
    for (unsigned cta = 0; cta < std::min(ctas, unsigned(groups * cuts)); ++cta) {
      CtaOf const at{cta, std::min(ctas, unsigned(groups * cuts))};
      hisa::gpu::Items items(groups, at, hisa::gpu::CutGroups(groups, cuts, at));
      for (bool last = false; !last;) {
        Item const item = items.next();
        last = item.last;
        for (int t = item.first; t < tiles; t += item.step)
          ++taken.at(std::size_t(item.group * tiles + t));
      }
    }
    CHECK(std::ranges::all_of(taken, [](int times) { return times == 1; }));
  }
}
