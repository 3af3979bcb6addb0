// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The union of kept lists that CUDA and HIP share, in lockstep on the host.
#include <hisa/gpu/list_union.hpp>
#include <hisa/gpu/lockstep.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <bit>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

using hisa::gpu::Lockstep;

namespace {

constexpr int lists = 4, capacity = 1024;
using Union = hisa::gpu::ListUnion<Lockstep::Lane, lists, capacity>;
using Lists = std::vector<std::vector<std::int32_t>>;

using Ranked = std::map<std::int32_t, Union::Entry>;

struct Result {
  Ranked entries;
  std::int32_t distinct = -1;
  int barriers = 0;
};

Result build(const Lists& in, int lanes, int skipped = -1) {
  Result result;
  auto storage = std::make_unique<Union::Storage>();
  Lockstep machine(lanes, skipped);
  machine.run([&](const Lockstep::Lane& lane) {
    std::int32_t counts[lists];
    for (int l = 0; l < lists; ++l)
      counts[l] = std::int32_t(in[std::size_t(l)].size());
    Union joined(lane, *storage);
    std::int32_t const n = joined.build(
        counts, [&](int l, std::int32_t i) { return in[std::size_t(l)].at(std::size_t(i)); },
        [&](std::int32_t rank, const Union::Entry& e) {
          REQUIRE(result.entries.emplace(rank, e).second);
        });
    if (lane.lane() == 0)
      result.distinct = n;
  });
  result.barriers = machine.barriers();
  return result;
}

Ranked union_of(const Lists& in, int lanes) {
  return build(in, lanes).entries;
}

int check(const Lists& in, int lanes, int skipped = -1) {
  auto const [got, distinct, barriers] = build(in, lanes, skipped);
  std::set<std::int32_t> expected;
  for (const auto& list : in)
    expected.insert(list.begin(), list.end());
  REQUIRE(distinct == std::int32_t(expected.size()));
  REQUIRE(got.size() == expected.size());
  std::set<std::uint32_t> complete; // sets of holders whose entries have all come
  std::uint32_t holders = 0;
  std::int32_t rank = 0;
  for (const auto& [at, e] : got) {
    REQUIRE(at == rank++);
    REQUIRE(expected.erase(e.value) == 1);
    if (e.holders() != holders) { // the sets come one after the other
      complete.insert(holders);
      REQUIRE(!complete.contains(e.holders()));
      holders = e.holders();
    }
    for (int l = 0; l < lists; ++l) {
      const auto& list = in[std::size_t(l)];
      auto const found = std::lower_bound(list.begin(), list.end(), e.value);
      bool const present = found != list.end() && *found == e.value;
      REQUIRE(e.index[l] == (present ? std::int32_t(found - list.begin()) : -1));
    }
  }
  return barriers;
}

Lists random_lists(unsigned seed, int range, int most) {
  std::mt19937 random(seed);
  Lists in;
  for (int l = 0; l < lists; ++l) {
    std::set<std::int32_t> values;
    int const n = int(random() % unsigned(most + 1));
    for (int i = 0; i < n; ++i)
      values.insert(std::int32_t(random() % unsigned(range)));
    in.emplace_back(values.begin(), values.end());
  }
  return in;
}

} // namespace

TEST_CASE("unions of kept lists") {
  for (unsigned seed = 0; seed < 40; ++seed) {
    check(random_lists(seed, 80, 64), 32);
    check(random_lists(seed, 2000, 200), 128);
  }
  check({{}, {}, {}, {}}, 32);
  check({{}, {5}, {}, {5}}, 32);
  check({{1, 2, 3}, {1, 2, 3}, {1, 2, 3}, {1, 2, 3}}, 64);
}

TEST_CASE("neighbouring sets of holders differ by one list") {
  Lists in(lists);
  for (std::int32_t set = 1; set < 1 << lists; ++set) // one entry for each set
    for (int l = 0; l < lists; ++l)
      if (set >> l & 1)
        in[std::size_t(l)].push_back(set);
  std::uint32_t before = 0;
  for (const auto& [rank, entry] : union_of(in, 32)) {
    if (rank > 0)
      CHECK(std::popcount(before ^ entry.holders()) == 1);
    before = entry.holders();
  }
}

TEST_CASE("every barrier of a union is needed") {
  Lists const in = random_lists(7, 300, 200);
  int const barriers = check(in, 64);
  for (int skipped = 0; skipped < barriers; ++skipped) {
    INFO("without barrier " << skipped);
    CHECK_THROWS_AS(check(in, 64, skipped), hisa::gpu::lockstep_error);
  }
}
