// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Flat selection by a bound, in lockstep on the host: the bounds that a sample gives, the items of
// the sift kernel, and the choice from its lists, held against the reference's selection.
#include <hisa/gpu/bound.hpp>
#include <hisa/gpu/lockstep.hpp>
#include <hisa/gpu/sift_items.hpp>
#include <hisa/gpu/sifted.hpp>
#include <hisa/reference.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <vector>

using namespace hisa;
using gpu::Contender, gpu::Lockstep, gpu::group_queries;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(n);
  for (float& v : values)
    v = distribution(random);
  return values;
}

/// A quarter of a group's lanes. All quarters pass the same barriers here.
struct Quarter : Lockstep::Lane {
  int lane() const { return Lane::lane() % size(); }
  int size() const { return Lane::size() / group_queries; }
};

constexpr int lanes = 256, capacity = 40;
using Storage = gpu::SiftedStorage<256, 16>; // windows of 512 positions

/// The scores of a group's queries, and the lists of what reaches their bounds.
struct Lists {
  std::vector<float> rows[group_queries];
  float low[group_queries], likely[group_queries];
  std::vector<Contender> contenders; ///< [lanes / 32, capacity, 32]
  std::vector<int> counts;

  /// @param factor  of what the bounds let pass, over k
  Lists(const std::vector<std::vector<float>>& scores, int k, double factor, unsigned seed)
      : contenders(lanes * capacity, {infinity, 0}), counts(lanes) {
    std::mt19937 random(seed);
    std::vector<Contender> all;
    for (int q = 0; q < group_queries; ++q) {
      rows[q] = scores[std::size_t(q)];
      std::vector<float> sorted = rows[q];
      std::sort(sorted.rbegin(), sorted.rend());
      auto const at = [&](double rank) {
        return sorted[std::min(sorted.size() - 1, std::size_t(rank))];
      };
      low[q] = at(factor * k + 2), likely[q] = at(k);
      for (std::size_t i = 0; i < rows[q].size(); ++i)
        if (rows[q][i] >= low[q])
          all.push_back({rows[q][i], std::int32_t(i) * group_queries + q});
    }
    std::shuffle(all.begin(), all.end(), random);
    for (const Contender& c : all) {
      std::size_t lane = random() % lanes;
      while (counts[lane] == capacity)
        lane = (lane + 1) % lanes;
      contenders[(lane / 32 * capacity + std::size_t(counts[lane]++)) * 32 + lane % 32] = c;
    }
  }
};

struct Chosen {
  bool lost = false;
  std::vector<std::int64_t> rows[group_queries];
  std::vector<std::int64_t> likely[group_queries]; ///< in any order
};

Chosen choose(const Lists& lists, int k, int skipped = -1, int* barriers = nullptr) {
  auto storage = std::make_unique<Storage>();
  Chosen chosen;
  for (auto& row : chosen.rows)
    row.assign(std::size_t(k), -1);
  Lockstep machine(lanes, skipped);
  machine.run([&](const Lockstep::Lane& g) {
    prepare(g, *storage);
    if (g.lane() < group_queries) {
      gpu::SiftedQuery query;
      query.set_range(lists.low[g.lane()], lists.likely[g.lane()]);
      query.limit = std::int32_t(lists.rows[g.lane()].size()), query.k = k;
      g.store(&storage->queries[g.lane()], query);
    }
    g.barrier();
    auto const lane = std::size_t(g.lane());
    gpu::SiftedList const list{lists.contenders.data() + lane / 32 * capacity * 32 + lane % 32,
                               lists.counts[lane]};
    gpu::Sifted const sifted(g, *storage);
    sifted.count(list);
    g.barrier();
    Quarter const part{g};
    int const q = g.lane() / part.size();
    gpu::SiftedPart const of_query(part, *storage, q);
    of_query.choose();
    g.barrier();
    if (g.load(&storage->lost) != 0) {
      chosen.lost = true;
      return;
    }
    sifted.gather(list);
    g.barrier();
    of_query.emit([&](std::int32_t rank, std::uint32_t position) {
      chosen.rows[q].at(std::size_t(rank)) = position;
    });
    sifted.for_each_likely(list, [&](int of, std::uint32_t position, float score) {
      CHECK(lists.rows[of][position] == score);
      chosen.likely[of].push_back(position);
    });
  });
  if (barriers != nullptr)
    *barriers = machine.barriers();
  return chosen;
}

/// Four rows of n scores each.
std::vector<std::vector<float>> four(std::size_t n, unsigned seed) {
  return {normal(n, seed), normal(n, seed + 1), normal(n, seed + 2), normal(n, seed + 3)};
}

/// Whether it was told; then it has to be right.
bool right(const std::vector<std::vector<float>>& rows, int k, double factor, unsigned seed) {
  Lists const lists(rows, k, factor, seed);
  Chosen const chosen = choose(lists, k);
  for (int q = 0; q < group_queries && !chosen.lost; ++q) {
    auto const expected = reference::select(lists.rows[q], k);
    CHECK(chosen.rows[q] == expected);
    for (std::int64_t position : expected)
      CHECK(std::ranges::count(chosen.likely[q], position) == 1);
  }
  return !chosen.lost;
}

} // namespace

TEST_CASE("the k best of four queries come from lists in any order") {
  for (std::size_t n : {300, 513, 1500}) // of one window, two and three
    for (int k : {1, 17, 100, 256})
      for (double factor : {1.0, 1.5, 2.5}) {
        INFO("n = " << n << ", k = " << k << ", " << factor << " k pass");
        if (factor * k < double(n) / 2)
          CHECK(right(four(n, unsigned(n) + unsigned(k)), k, factor, 7));
      }
}

TEST_CASE("all that reaches the bound wins") {
  auto rows = four(900, 5);
  Lists lists(rows, 200, 1.5, 3);
  int least = 900;
  for (int q = 0; q < group_queries; ++q)
    least = std::min(least, int(std::ranges::count_if(rows[std::size_t(q)],
                                                      [&](float s) { return s >= lists.low[q]; })));
  Chosen const chosen = choose(lists, least);
  REQUIRE(!chosen.lost);
  for (int q = 0; q < group_queries; ++q)
    CHECK(chosen.rows[q] == reference::select(lists.rows[q], least));
}

TEST_CASE("too few that reach the bound, and bins that do not tell, are told") {
  auto const rows = four(900, 9);
  Lists few(rows, 200, 0.5, 3);
  for (float& likely : few.likely)
    likely = few.low[0] + 1;
  CHECK(choose(few, 200).lost);
  for (int q = 0; q < group_queries; ++q) { // more equals at the k-th than a list of them holds
    auto ties = rows;
    std::fill_n(ties[std::size_t(q)].begin() + 300, 100, 1.0f);
    CHECK_FALSE(right(ties, 200, 2, 3));
  }
  auto equal = rows;
  std::ranges::fill(equal[1], 0.0f);
  CHECK_FALSE(right(equal, 60, 1.5, 3));
  auto infinite = rows;
  std::fill_n(infinite[2].begin(), 300, infinity);
  CHECK_FALSE(right(infinite, 60, 1.5, 3));
}

TEST_CASE("equals of the k-th win in order of position") {
  for (unsigned seed = 1; seed < 6; ++seed) {
    auto rows = four(700, 20 * seed);
    for (auto& row : rows)
      for (std::size_t i = 0; i < row.size(); ++i)
        row[i] = std::round(row[i] * 40) / 40; // some 10 at each
    for (int k : {90, 101, 120})
      CHECK(right(rows, k, 2, seed));
  }
}

TEST_CASE("scores that are spread unevenly are chosen rightly, or it is told") {
  int told = 0;
  for (unsigned seed = 1; seed < 4; ++seed) {
    auto rows = four(800, seed);
    for (std::size_t i = 0; i < 800; ++i) {
      rows[0][i] = std::ldexp(rows[0][i], int(i * 37 % 60) - 30);
      rows[1][i] = rows[1][i] * rows[1][i] * rows[1][i];
      rows[2][i] = i % 100 == 0 ? 1e30f : rows[2][i];
      rows[3][i] = i % 7 == 0 ? -infinity : rows[3][i];
    }
    for (int k : {30, 100, 200})
      told += right(rows, k, 1.8, seed);
  }
  CHECK(told > 0);
}

TEST_CASE("every barrier of the choice from lists is needed") {
  Lists const lists(four(1500, 4), 150, 2, 1);
  int barriers = 0;
  REQUIRE(!choose(lists, 150, -1, &barriers).lost);
  for (int skipped = 0; skipped < barriers; ++skipped) {
    INFO("without barrier " << skipped << " of " << barriers);
    if (skipped == 1 || skipped == 2) // the group's behind `count`, and the quarter's behind that
      CHECK_NOTHROW(choose(lists, 150, skipped)); // are the same here
    else
      CHECK_THROWS_AS(choose(lists, 150, skipped), gpu::lockstep_error);
  }
}

TEST_CASE("bounds are what so many scores reach") {
  for (int n : {1, 2, 31, 40, 1000, 1024, 1500, 5000})
    for (unsigned seed : {1u, 2u}) {
      std::vector<float> scores = normal(std::size_t(n), seed);
      if (seed == 2)
        for (std::size_t i = 0; i < scores.size(); ++i)
          scores[i] = i % 3 == 0 ? scores[i] : (i % 2 == 0 ? 0.0f : -0.0f);
      for (int many : {1, n / 2, n})
        for (int few : {1, n / 4, many}) {
          if (few < 1 || few > many)
            continue;
          gpu::TwoBounds bounds = {};
          Lockstep(32).run([&](const Lockstep::Lane& lane) {
            auto const found = gpu::bounds_reached(lane, scores.data(), n, many, few);
            if (lane.lane() == 5)
              bounds = found;
          });
          std::vector<float> sorted = scores;
          std::sort(sorted.rbegin(), sorted.rend());
          for (auto const& [bound, rank] :
               {std::pair(bounds.low, many), std::pair(bounds.high, few)}) {
            float const exact = sorted[std::size_t(rank) - 1];
            CHECK(std::ranges::count_if(scores, [b = bound](float s) { return s >= b; }) >= rank);
            CHECK(bound >= exact - std::abs(exact) * 0x1p-6f); // 7 bits behind the leading one
          }
        }
    }
  std::vector<float> const lowest(50, -infinity);
  Lockstep(32).run([&](const Lockstep::Lane& lane) {
    CHECK(gpu::bounds_reached(lane, lowest.data(), 50, 9, 3).low == -infinity);
  });
}

TEST_CASE("the items of the sift kernel take each tile of a group once, and are found") {
  for (unsigned ctas : {1u, 2u, 5u, 132u})
    for (std::int64_t groups : {1, 2, 3, 7, 131, 132, 133, 256, 264, 300})
      for (std::int64_t tiles : {1, 3, 40}) {
        INFO(groups << " groups of " << tiles << " tiles, " << ctas << " CTAs");
        gpu::SiftItems const items(groups, tiles, ctas);
        auto const n = static_cast<std::size_t>(groups);
        std::vector<std::vector<int>> taken(n, std::vector<int>(static_cast<std::size_t>(tiles)));
        std::vector<std::vector<std::int64_t>> made(n);
        auto const most = static_cast<std::size_t>(gpu::SiftItems::max_items(groups, ctas));
        std::vector<int> used(most);
        for (unsigned cta = 0; cta < ctas; ++cta) {
          gpu::Items<gpu::SplitGroups> of_cta(groups, {cta, ctas},
                                              gpu::SplitGroups(groups, items.tiles, {cta, ctas}));
          for (bool last = false; !last;) {
            gpu::Item const item = of_cta.next();
            last = item.last;
            auto& of_group = taken.at(std::size_t(item.group));
            std::int64_t const end = std::min<std::int64_t>(tiles, item.first + item.tiles);
            for (std::int64_t t = item.first; t < end; ++t)
              ++of_group[std::size_t(t)];
            std::int64_t const number = items.item(item.group, cta);
            ++used.at(std::size_t(number));
            if (item.first < end)
              made[std::size_t(item.group)].push_back(number);
          }
        }
        CHECK(std::ranges::all_of(used, [](int times) { return times <= 1; }));
        for (std::int64_t group = 0; group < groups; ++group) {
          CHECK(std::ranges::all_of(taken[std::size_t(group)], [](int n) { return n == 1; }));
          gpu::GroupItems const found(items, group);
          std::vector<std::int64_t> numbers;
          for (int i = 0; i < found.count; ++i)
            numbers.push_back(found[i]);
          for (std::int64_t number : made[std::size_t(group)])
            CHECK(std::ranges::count(numbers, number) == 1);
          for (std::int64_t number : numbers) // what is read has been written
            CHECK(used.at(std::size_t(number)) == 1);
        }
      }
}
