// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sorting out a list that may hold anything, as CUDA and HIP share it, in lockstep on the host.
#include <hisa/gpu/distinct.hpp>
#include <hisa/gpu/lockstep.hpp>

#include <catch2/catch_test_macros.hpp>

#include <bit>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

using hisa::gpu::Lockstep;

namespace {

using Storage = hisa::gpu::DistinctStorage<80>; // windows of 2560 values

int check(const std::vector<std::int32_t>& list, std::int32_t first, std::int32_t end, int lanes,
          int skipped = -1) {
  auto storage = std::make_unique<Storage>();
  for (auto& word : storage->bits)
    word = 0xa5a5a5a5u;
  std::map<std::int32_t, std::int32_t> got;
  std::vector<std::int32_t> counts(std::size_t(lanes), -1);
  Lockstep machine(lanes, skipped);
  machine.run([&](const Lockstep::Lane& lane) {
    hisa::gpu::Distinct distinct(lane, *storage);
    counts[std::size_t(lane.lane())] = distinct.find(
        std::int64_t(list.size()), first, end,
        [&](std::int64_t i) { return list.at(std::size_t(i)); },
        [&](std::int32_t rank, std::int32_t value) { REQUIRE(got.emplace(rank, value).second); });
  });
  std::set<std::int32_t> expected;
  for (std::int32_t value : list)
    if (value >= first && value < end)
      expected.insert(value);
  REQUIRE(counts == std::vector(std::size_t(lanes), std::int32_t(expected.size())));
  REQUIRE(got.size() == expected.size());
  std::int32_t rank = 0;
  for (std::int32_t value : expected)
    REQUIRE(got.at(rank++) == value);
  return machine.barriers();
}

std::vector<std::int32_t> random_list(unsigned seed, int size, std::int32_t low,
                                      std::int32_t high) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<std::int32_t> any(low, high);
  std::vector<std::int32_t> list;
  for (int i = 0; i < size; ++i)
    list.push_back(i % 5 == 3 ? -1 : any(random));
  return list;
}

} // namespace

TEST_CASE("bits are counted") {
  for (std::uint32_t x : {0u, 1u, 0x80000000u, 0xffffffffu, 0xa5a5a5a5u, 0x12345678u})
    CHECK(hisa::gpu::bit_count(x) == std::uint32_t(std::popcount(x)));
}

TEST_CASE("the distinct values of a list in any order") {
  for (unsigned seed = 0; seed < 20; ++seed) {
    check(random_list(seed, int(seed) * 7, -3, 70), 5, 60, 32);
    check(random_list(seed, 300, 0, 12000), 17, 11111, 32); // windows
    check(random_list(seed, 300, 0, 12000), 17, 11111, 128);
    check(random_list(seed, 3000, 0, 2000), 0, 2001, 64); // most values, many times
  }
  constexpr std::int32_t least = std::numeric_limits<std::int32_t>::min(),
                         most = std::numeric_limits<std::int32_t>::max();
  check({least, most, -1, 7, 0, least, 2559, 2560, 2561, 7}, 0, 2561, 32);
  check({most - 1, most, least, most - 40, most - 3000}, most - 5000, most, 32);
  check({}, 0, 100, 32);
  check({3, 4, 5}, 4, 4, 32);
  check({3, 4, 5}, 4, 5, 32);
}

TEST_CASE("windows that are full, or end with a word") {
  std::vector<std::int32_t> all;
  for (std::int32_t v = 6000; v >= 0; --v)
    all.push_back(v);
  for (std::int32_t end : {2559, 2560, 2561, 2592, 5120, 5121})
    check(all, 0, end, 32);
  for (std::int32_t first : {1, 31, 32, 33})
    check(all, first, 2560, 64);
}

TEST_CASE("every barrier is needed") {
  auto const list = random_list(7, 400, 0, 6000);
  int const barriers = check(list, 0, 6000, 64);
  for (int skipped = 0; skipped < barriers; ++skipped) {
    INFO("without barrier " << skipped);
    CHECK_THROWS_AS(check(list, 0, 6000, 64, skipped), hisa::gpu::lockstep_error);
  }
}
