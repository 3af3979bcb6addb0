// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The union of kept lists that CUDA and HIP share, in lockstep on the host.
#include <hisa/gpu/lists.hpp>
#include <hisa/gpu/lockstep.hpp>

#include <catch2/catch_test_macros.hpp>

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

int check(const Lists& in, int lanes, int skipped = -1) {
  auto storage = std::make_unique<Union::Storage>();
  std::map<std::int32_t, Union::Entry> got;
  std::int32_t distinct = -1;
  Lockstep machine(lanes, skipped);
  machine.run([&](const Lockstep::Lane& lane) {
    std::int32_t counts[lists];
    for (int l = 0; l < lists; ++l)
      counts[l] = std::int32_t(in[std::size_t(l)].size());
    Union joined(lane, *storage);
    std::int32_t const n = joined.build(
        counts, [&](int l, std::int32_t i) { return in[std::size_t(l)].at(std::size_t(i)); },
        [&](std::int32_t rank, const Union::Entry& e) { REQUIRE(got.emplace(rank, e).second); });
    if (lane.lane() == 0)
      distinct = n;
  });
  std::set<std::int32_t> expected;
  for (const auto& list : in)
    expected.insert(list.begin(), list.end());
  REQUIRE(distinct == std::int32_t(expected.size()));
  REQUIRE(got.size() == expected.size());
  std::int32_t rank = 0;
  for (std::int32_t value : expected) {
    const Union::Entry& e = got.at(rank++);
    REQUIRE(e.value == value);
    for (int l = 0; l < lists; ++l) {
      const auto& list = in[std::size_t(l)];
      auto const at = std::lower_bound(list.begin(), list.end(), value);
      bool const present = at != list.end() && *at == value;
      REQUIRE(e.index[l] == (present ? std::int32_t(at - list.begin()) : -1));
    }
  }
  return machine.barriers();
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

TEST_CASE("every barrier of a union is needed") {
  Lists const in = random_lists(7, 300, 200);
  int const barriers = check(in, 64);
  for (int skipped = 0; skipped < barriers; ++skipped) {
    INFO("without barrier " << skipped);
    CHECK_THROWS_AS(check(in, 64, skipped), hisa::gpu::lockstep_error);
  }
}
