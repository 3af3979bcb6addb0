// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The selection that CUDA and HIP share, in lockstep on the host, against the reference.
#include <hisa/gpu/lockstep.hpp>
#include <hisa/gpu/select.hpp>
#include <hisa/reference.hpp>

#include <catch2/catch_test_macros.hpp>

#include <bit>
#include <limits>
#include <random>
#include <vector>

using hisa::gpu::Lockstep;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// A lane's share of the scores from `base`; those before `begin` are no candidates.
template <int Width>
hisa::gpu::Held<Width> held(const std::vector<float>& scores, std::size_t base,
                            const Lockstep::Lane& lane, std::size_t begin = 0) {
  hisa::gpu::Held<Width> share;
  share.first = std::int32_t(base) + Width * lane.lane();
  for (int i = 0; i < Width; ++i) {
    std::size_t const at = std::size_t(share.first + i);
    if (at >= begin && at < scores.size())
      share.key[i] = hisa::gpu::candidate_key(scores[at]);
  }
  return share;
}

/// The positions that a stream through a buffer of `Capacity` selects.
template <int Capacity, int Width>
std::vector<std::int64_t> stream(const std::vector<float>& scores, int k, int lanes,
                                 int skipped = -1, int* barriers = nullptr) {
  auto storage = std::make_unique<hisa::gpu::StreamStorage<Capacity>>();
  std::vector<std::int64_t> chosen(std::size_t(k), -1);
  std::int32_t count = -1;
  Lockstep machine(lanes, skipped);
  machine.run([&](const Lockstep::Lane& lane) {
    hisa::gpu::StreamSelect<Lockstep::Lane, Capacity> select(lane, *storage, k);
    for (std::size_t base = 0; base < scores.size(); base += std::size_t(Width * lanes))
      select.push(held<Width>(scores, base, lane));
    std::int32_t const n =
        select.finish([&](std::int32_t rank, std::int32_t position, std::uint32_t key) {
          REQUIRE(key == hisa::gpu::candidate_key(scores[std::size_t(position)]));
          chosen.at(std::size_t(rank)) = position;
        });
    if (lane.lane() == 0)
      count = n;
  });
  if (barriers != nullptr)
    *barriers = machine.barriers();
  REQUIRE(count == std::int32_t(std::min<std::size_t>(std::size_t(k), scores.size())));
  chosen.resize(std::size_t(count));
  return chosen;
}

std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;
  std::vector<float> scores(n);
  for (float& s : scores)
    s = draw(random);
  return scores;
}

std::vector<std::vector<float>> adversarial(std::size_t n) {
  std::vector<std::vector<float>> rows{normal(n, 1)};
  std::vector<float> ascending = normal(n, 2);
  std::sort(ascending.begin(), ascending.end());
  rows.push_back(ascending);
  rows.emplace_back(ascending.rbegin(), ascending.rend());
  rows.emplace_back(n, -infinity);
  rows.emplace_back(n, std::bit_cast<float>(0x7fc00000u));
  std::vector<float> zeros = normal(n, 3), one_bin(n), mixed = normal(n, 4);
  for (std::size_t i = 0; i < n; ++i) {
    zeros[i] = i % 3 == 0 ? zeros[i] : (i % 2 ? 0.0f : -0.0f); // a plateau of both zeros
    one_bin[i] = std::bit_cast<float>(0x3f800000u + unsigned(i * 7919 % 64)); // equal leading bits
    if (i % 5 == 0)
      mixed[i] = std::bit_cast<float>(0x7fc00000u);
    if (i % 7 == 0)
      mixed[i] = i % 2 ? infinity : -infinity;
  }
  rows.insert(rows.end(), {zeros, one_bin, mixed});
  return rows;
}

} // namespace

TEST_CASE("streamed selection is exact on adversarial rows") {
  for (std::size_t n : {0, 1, 31, 100, 255, 256, 257, 511, 512, 513, 1500})
    for (const std::vector<float>& scores : adversarial(n))
      for (int k : {1, 7, 100, 127, 256}) {
        INFO("n = " << n << ", k = " << k);
        auto const expected = hisa::reference::select(scores, k);
        CHECK(stream<512, 4>(scores, k, 64) == expected);
        CHECK(stream<512, 8>(scores, k, 32) == expected);
      }
}

/// The positions selected from registers.
std::vector<std::int64_t> from_registers(const std::vector<float>& scores, int k, int skipped = -1,
                                         int* barriers = nullptr) {
  auto storage = std::make_unique<hisa::gpu::StreamStorage<512>>();
  std::vector<std::int64_t> chosen(std::size_t(k), -1);
  Lockstep machine(64, skipped);
  machine.run([&](const Lockstep::Lane& lane) {
    hisa::gpu::select_held(
        lane, *storage, held<8>(scores, 0, lane), std::int32_t(scores.size()), k,
        [&](std::int32_t rank, std::int32_t position) { chosen.at(std::size_t(rank)) = position; });
  });
  if (barriers != nullptr)
    *barriers = machine.barriers();
  chosen.resize(std::min(chosen.size(), scores.size()));
  return chosen;
}

TEST_CASE("selection from registers is exact on adversarial rows") {
  for (std::size_t n : {0, 1, 31, 100, 255, 257, 511, 512})
    for (const std::vector<float>& scores : adversarial(n))
      for (int k : {1, 7, 100, 256, 500})
        CHECK(from_registers(scores, k) == hisa::reference::select(scores, k));
}

TEST_CASE("every barrier of the selection from registers is needed") {
  std::vector<float> const scores = adversarial(512)[6];
  int barriers = 0;
  from_registers(scores, 100, -1, &barriers);
  for (int skipped = 0; skipped < barriers; ++skipped) {
    INFO("without barrier " << skipped);
    CHECK_THROWS_AS(from_registers(scores, 100, skipped), hisa::gpu::lockstep_error);
  }
}

TEST_CASE("n from k to 2k") {
  for (int n = 120; n <= 240; n += 5)
    CHECK(stream<512, 4>(normal(std::size_t(n), unsigned(n)), 120, 32) ==
          hisa::reference::select(normal(std::size_t(n), unsigned(n)), 120));
}

TEST_CASE("every barrier of the selection is needed") {
  std::vector<float> const scores = adversarial(1500)[1]; // ascending: compacts again and again
  int barriers = 0;
  stream<512, 4>(scores, 100, 64, -1, &barriers);
  REQUIRE(barriers > 50);
  for (int skipped = 0; skipped < barriers; ++skipped) {
    INFO("without barrier " << skipped);
    CHECK_THROWS_AS((stream<512, 4>(scores, 100, 64, skipped)), hisa::gpu::lockstep_error);
  }
}

TEST_CASE("every barrier is needed where nothing has to be decided") {
  std::vector<float> const scores = normal(50, 9); // the first two are no candidates
  auto storage = std::make_unique<hisa::gpu::StreamStorage<512>>();
  auto const run = [&](int skipped) {
    Lockstep machine(32, skipped);
    machine.run([&](const Lockstep::Lane& lane) {
      hisa::gpu::StreamSelect<Lockstep::Lane, 512> select(lane, *storage, 100);
      select.push(held<4>(scores, 0, lane, 2));
      std::int32_t const n = select.finish([&](std::int32_t rank, std::int32_t position,
                                               std::uint32_t) { REQUIRE(position == rank + 2); });
      REQUIRE(n == 48);
    });
    return machine.barriers();
  };
  int const barriers = run(-1);
  for (int skipped = 0; skipped < barriers; ++skipped)
    CHECK_THROWS_AS(run(skipped), hisa::gpu::lockstep_error);
}
