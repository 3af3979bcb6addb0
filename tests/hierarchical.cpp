// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The hierarchical indexer: levels, budgets, boundary options, grids, regimes.
#include "support/problem.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

using namespace hisa_test;
using hisa::bf16, hisa::Boundary, hisa::e4m3fn, hisa::e4m3fnuz, hisa::fp16;

namespace {

/// Pools every level of a setting on the grid of the whole buffer.
template <class T>
std::vector<Pooled<T>> pool_levels(const Problem<T>& p, const Setting& setting) {
  std::vector<Pooled<T>> pooled;
  for (auto [size, keep] : setting.levels)
    pooled.push_back(pool_reference(p, size));
  return pooled;
}

template <class T>
void require_reference(const Problem<T>& p, const Setting& setting) {
  auto const pooled = pool_levels(p, setting);
  REQUIRE(same(run(p, setting, pooled), run_reference(p, setting, pooled)));
}

} // namespace

TEMPLATE_TEST_CASE("one, two and three levels equal the reference bit for bit", "", float, bf16,
                   fp16, e4m3fn, e4m3fnuz) {
  auto const p = Problem<TestType>::random(21, 5, 3001, 16, 32);
  auto const boundary = GENERATE(Boundary::counted, Boundary::extra, Boundary::none);
  for (Setting setting :
       {Setting{{{128, 8}}, 200}, Setting{{{64, 4}}, 256}, Setting{{{16, 40}}, 99},
        Setting{{{128, 12}, {16, 20}}, 128}, Setting{{{96, 9}, {32, 7}}, 31},
        Setting{{{256, 6}, {64, 9}, {16, 20}}, 77}}) {
    setting.options.boundary = boundary;
    require_reference(p, setting);
  }
}

TEST_CASE("budgets from one block to more than there are") {
  auto const p = Problem<float>::random(22, 4, 1000, 4, 16);
  auto const boundary = GENERATE(Boundary::counted, Boundary::extra, Boundary::none);
  for (int keep = 1; keep <= 40; ++keep) {
    Setting setting{{{32, keep}}, std::min(keep * 32, 100)};
    setting.options.boundary = boundary;
    require_reference(p, setting);
    Setting two{{{64, std::max(1, keep / 2)}, {16, std::max(1, keep / 2)}}, 16};
    two.options.boundary = boundary;
    require_reference(p, two);
  }
}

TEST_CASE("m = 1 keeps the last block, m = 2 the first and the last") {
  auto p = Problem<float>::random(23, 3, 640, 4, 8);
  auto const pooled = pool_reference(p, 64);
  for (int keep : {1, 2}) {
    Setting const setting{{{64, keep}}, 64};
    auto const result = run(p, setting, {pooled}, false);
    for (std::int64_t t = 0; t < p.M; ++t)
      for (std::int32_t i = 0; i < result.counts[std::size_t(t)]; ++i) {
        std::int32_t const block = result.indices[std::size_t(t * 64 + i)] / 64;
        std::int32_t const last = (p.ke[std::size_t(t)] - 1) / 64;
        REQUIRE((block == last || (keep == 2 && block == 0)));
      }
  }
}

TEST_CASE("a first block that also wins is kept once") {
  auto p = Problem<float>::random(24, 2, 512, 4, 8);
  for (std::size_t i = 0; i < 64 * 8; ++i) // block 0 is the best by far
    p.k[i] = 10.0f * p.q[i % 8] * (p.w[0] > 0 ? 1.0f : -1.0f);
  for (float& w : p.w)
    w = std::abs(w);
  for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none}) {
    Setting setting{{{64, 3}}, 192};
    setting.options.boundary = boundary;
    require_reference(p, setting);
    auto const result = run(p, setting, {pool_reference(p, 64)});
    for (std::size_t i = 1; i < std::size_t(result.counts[0]); ++i)
      REQUIRE(result.indices[i - 1] < result.indices[i]);
  }
}

TEST_CASE("regime 1: no more visible keys than k gives the identity") {
  auto const p = Problem<e4m3fn>::random(25, 3, 200, 8, 16);
  Setting const setting{{{16, 16}}, 256};
  auto const pooled = pool_reference(p, 16);
  auto const result = run(p, setting, {pooled}, false);
  for (std::size_t t = 0; t < 3; ++t) {
    REQUIRE(result.counts[t] == p.ke[t]);
    for (std::int32_t i = 0; i < 256; ++i)
      REQUIRE(result.indices[t * 256 + std::size_t(i)] == (i < p.ke[t] ? i : -1));
  }
}

TEST_CASE(
    "regime 1 on a grid that the range does not start on: more blocks than m, all keys kept") {
  auto p = Problem<float>::random(25, 8, 300, 4, 8);
  p.anchor.assign(8, 0);
  for (std::size_t t = 0; t < 8; ++t) {
    p.ks[t] = std::int32_t(10 + t);
    p.ke[t] = p.ks[t] + 60 + std::int32_t(t); // 60 .. 67 keys over 5 blocks of 16 where 4 are kept
  }
  for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none}) {
    Setting one{{{16, 4}}, 64}, two{{{32, 2}, {16, 4}}, 64};
    one.options.boundary = two.options.boundary = boundary;
    auto const pooled = pool_reference(p, 16);
    for (bool scores : {true, false}) {
      auto const result = run(p, one, {pooled}, scores);
      REQUIRE(result.indices == run_reference(p, one, {pooled}).indices);
      for (std::size_t t = 0; t < 5; ++t)
        for (std::int32_t i = 0; i < 64; ++i)
          REQUIRE(result.indices[t * 64 + std::size_t(i)] == (i < 60 + std::int32_t(t) ? i : -1));
      REQUIRE(run(p, two, {pool_reference(p, 32), pooled}, scores).indices ==
              run_reference(p, two, {pool_reference(p, 32), pooled}).indices);
    }
  }
}

TEST_CASE("regime 2: no more visible blocks than m equals flat bit for bit") {
  auto const p = Problem<e4m3fn>::random(26, 6, 1000, 16, 64);
  Setting const flat{{}, 100};
  for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none}) {
    Setting setting{{{64, 16}}, 100};
    setting.options.boundary = boundary;
    REQUIRE(same(run(p, setting, {pool_reference(p, 64)}), run(p, flat)));
    Setting two{{{128, 8}, {32, 32}}, 100};
    two.options.boundary = boundary;
    REQUIRE(same(run(p, two, {pool_reference(p, 128), pool_reference(p, 32)}), run(p, flat)));
  }
}

TEST_CASE("the row of an incomplete block is never read") {
  auto p = Problem<float>::random(27, 64, 1000, 4, 16); // every remainder of the last block
  Setting setting{{{64, 5}}, 200};
  for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none}) {
    setting.options.boundary = boundary;
    auto pooled = pool_reference(p, 64);
    auto const expected = run(p, setting, {pooled});
    // The last queries see into block 15, which is not complete, and whose row lies past the end of
    // this buffer: 15 blocks. Poison what only later queries may read.
    for (std::int64_t t = 0; t < p.M; ++t)
      REQUIRE(p.ke[std::size_t(t)] <= 1000);
    REQUIRE(pooled.view.blocks == 15);
    REQUIRE(same(expected, run_reference(p, setting, {pooled})));
  }
  // A complete block that a query sees in part: its row holds keys that the query may not see.
  auto pooled = pool_reference(p, 64);
  p.ke.assign(64, 64 * 9 + 10);
  auto const expected = run(p, setting, {pooled});
  for (int d = 0; d < p.D; ++d)
    pooled.values[std::size_t(9 * p.D + d)] = 1e30f;
  REQUIRE(same(run(p, setting, {pooled}), expected));
}

TEST_CASE("packed sequences on anchored and on buffer-wide grids") {
  auto p = Problem<e4m3fn>::random(28, 24, 1500, 8, 32);
  std::vector<std::int32_t> const starts{0, 333, 340, 1111, 1500};
  for (std::int64_t t = 0; t < p.M; ++t) {
    std::size_t const s = std::size_t(t) % 4, i = std::size_t(t);
    p.ks[i] = starts[s];
    p.ke[i] = std::max(starts[s], starts[s + 1] - 11 * std::int32_t(t / 4));
  }
  for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none}) {
    Setting setting{{{32, 6}}, 100};
    setting.options.boundary = boundary;
    SECTION("buffer-wide: one grid from key 0, end blocks straddle two sequences") {
      p.anchor.assign(std::size_t(p.M), 0);
      require_reference(p, setting);
      Setting two{{{64, 5}, {16, 12}}, 90};
      two.options.boundary = boundary;
      require_reference(p, two);
    }
    SECTION("anchored: each sequence has its own grid and its own rows") {
      Pooled<e4m3fn> all(1500 / 32 + 4, 32, p.D);
      std::vector<std::int32_t> first_block;
      std::int32_t blocks = 0;
      for (std::size_t s = 0; s < 4; ++s) {
        hisa::Visible v;
        v.query = std::int64_t(s);
        v.anchor = v.begin = starts[s];
        first_block.push_back(blocks);
        hisa::PooledKeys<e4m3fn> view = all.view;
        view.begin = first_block.data();
        hisa::reference::pool(p.keys(), view, v, starts[s + 1] - starts[s]);
        blocks += (starts[s + 1] - starts[s] + 31) / 32;
      }
      for (std::int64_t t = 0; t < p.M; ++t)
        p.begin.push_back(first_block[std::size_t(t) % 4]);
      auto const result = run(p, setting, {all});
      REQUIRE(same(result, run_reference(p, setting, {all})));
      // Each sequence alone gives the same rows.
      for (std::size_t s = 0; s < 4; ++s) {
        Problem<e4m3fn> alone = p;
        alone.begin.clear();
        std::size_t const D = std::size_t(p.D);
        std::size_t const lo = std::size_t(starts[s]), hi = std::size_t(starts[s + 1]);
        alone.N = std::int64_t(hi - lo);
        alone.k.assign(p.k.begin() + std::ptrdiff_t(lo * D), p.k.begin() + std::ptrdiff_t(hi * D));
        alone.k_scale.assign(p.k_scale.begin() + std::ptrdiff_t(lo),
                             p.k_scale.begin() + std::ptrdiff_t(hi));
        for (std::size_t t = 0; t < std::size_t(p.M); ++t) {
          alone.ks[t] = 0;
          alone.ke[t] = std::max(0, p.ke[t] - starts[s]);
        }
        auto const lone = run(alone, setting, {pool_reference(alone, 32)});
        for (std::size_t t = s; t < std::size_t(p.M); t += 4)
          for (std::size_t i = 0; i < 100; ++i)
            REQUIRE(lone.indices[t * 100 + i] == result.indices[t * 100 + i]);
      }
    }
  }
}

TEST_CASE("ranges that start inside a block of an explicit grid") {
  auto p = Problem<float>::random(29, 40, 700, 4, 16);
  p.anchor.assign(std::size_t(p.M), 5);
  for (std::int64_t t = 0; t < p.M; ++t) {
    p.ks[std::size_t(t)] = std::int32_t(5 + 3 * t);
    p.ke[std::size_t(t)] = std::int32_t(5 + 3 * t + 11 * t);
  }
  std::vector<Pooled<float>> const pooled{pool_reference(p, 32, 5), pool_reference(p, 16, 5)};
  for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none})
    for (int keep : {1, 2, 3, 6}) {
      Setting setting{{{32, keep}}, 32};
      setting.options.boundary = boundary;
      REQUIRE(same(run(p, setting, {pooled[0]}), run_reference(p, setting, {pooled[0]})));
      Setting two{{{32, keep}, {16, keep}}, 16};
      two.options.boundary = boundary;
      REQUIRE(same(run(p, two, pooled), run_reference(p, two, pooled)));
    }
}
