// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The same bits whatever runs beside a query: repeats, thread counts, splits of the batch.
#include "support/problem.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace hisa_test;
using hisa::e4m3fn;

namespace {

/// Scores with many ties, so that an order decided by chance would show.
Problem<e4m3fn> tied_problem() {
  auto p = Problem<e4m3fn>::random(61, 24, 2000, 8, 32);
  for (std::size_t i = 0; i < std::size_t(p.N); ++i) { // 50 different keys in all
    std::copy_n(p.k.begin() + std::ptrdiff_t(i % 50) * p.D, p.D,
                p.k.begin() + std::ptrdiff_t(i) * p.D);
    p.k_scale[i] = 1.0f;
  }
  return p;
}

std::vector<Setting> settings() {
  return {Setting{{}, 300}, Setting{{{64, 8}}, 300}, Setting{{{128, 6}, {16, 40}}, 300}};
}

std::vector<Pooled<e4m3fn>> pool_levels(const Problem<e4m3fn>& p, const Setting& setting) {
  std::vector<Pooled<e4m3fn>> pooled;
  for (auto [size, keep] : setting.levels)
    pooled.push_back(pool_reference(p, size));
  return pooled;
}

/// The queries [first, first + count) of a problem.
Problem<e4m3fn> slice(const Problem<e4m3fn>& p, std::int64_t first, std::int64_t count) {
  Problem<e4m3fn> s = p;
  auto const cut = [&](auto& values, std::int64_t row) {
    values = {values.begin() + first * row, values.begin() + (first + count) * row};
  };
  s.M = count;
  cut(s.q, p.H * p.D);
  cut(s.w, p.H);
  cut(s.ks, 1);
  cut(s.ke, 1);
  return s;
}

} // namespace

TEST_CASE("100 repeats give the same bits") {
  auto const p = tied_problem();
  for (const Setting& setting : settings()) {
    auto const pooled = pool_levels(p, setting);
    auto const first = run(p, setting, pooled);
    REQUIRE(same(first, run_reference(p, setting, pooled)));
    for (int repeat = 1; repeat < 100; ++repeat)
      REQUIRE(same(run(p, setting, pooled), first));
  }
}

TEST_CASE("splitting the batch gives the same rows") {
  auto const p = tied_problem();
  for (const Setting& setting : settings()) {
    auto const pooled = pool_levels(p, setting);
    auto const whole = run(p, setting, pooled);
    for (std::int64_t size : {1, 5, 23})
      for (std::int64_t first = 0; first < p.M; first += size) {
        std::int64_t const count = std::min(size, p.M - first);
        auto const part = run(slice(p, first, count), setting, pooled);
        std::ptrdiff_t const at = first * setting.topk;
        REQUIRE(std::equal(part.indices.begin(), part.indices.end(), whole.indices.begin() + at));
        REQUIRE(std::equal(part.scores.begin(), part.scores.end(), whole.scores.begin() + at,
                           same_score));
      }
  }
}

#ifdef KOKKOS_ENABLE_OPENMP
TEST_CASE("one thread and several give the same bits") {
  Kokkos::OpenMP const all, three(3), one(1);
  auto const p = tied_problem();
  DeviceProblem<e4m3fn> const d(p);
  for (const Setting& setting : settings()) {
    std::vector<DevicePooled<e4m3fn>> levels;
    std::vector<hisa::PooledKeys<const e4m3fn>> views;
    for (const auto& level : pool_levels(p, setting))
      levels.emplace_back(level);
    for (const auto& level : levels)
      views.push_back(level.view);
    auto const on = [&](const Kokkos::OpenMP& exec) {
      return run_on_device(exec, setting, d.queries, d.keys, views, d.ranges);
    };
    REQUIRE(same(on(one), on(all)));
    REQUIRE(same(on(three), on(all)));
  }
}
#endif
