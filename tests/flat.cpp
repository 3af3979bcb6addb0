// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The flat indexer: ranges, index bases, outputs, extents.
#include "support/problem.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

using namespace hisa_test;
using hisa::bf16, hisa::e4m3fn, hisa::e4m3fnuz, hisa::fp16;

TEMPLATE_TEST_CASE("flat equals the reference bit for bit", "", float, bf16, fp16, e4m3fn,
                   e4m3fnuz) {
  auto const [M, N, H, D] = GENERATE(table<int, int, int, int>(
      {{5, 1500, 64, 128}, {3, 777, 5, 7}, {4, 600, 32, 300}, {1, 1, 1, 1}, {7, 130, 17, 16}}));
  int const topk = GENERATE(1, 2, 63, 512);
  auto const p = Problem<TestType>::random(11, M, N, H, D);
  Setting const setting{{}, topk};
  REQUIRE(same(run(p, setting), run_reference(p, setting)));
}

TEST_CASE("k around the number of visible keys") {
  auto const p = Problem<float>::random(12, 4, 260, 3, 8);
  for (int topk = 120; topk <= 270; ++topk) { // n = k - 1, k, k + 1, 2k among others
    Setting const setting{{}, topk};
    REQUIRE(same(run(p, setting), run_reference(p, setting)));
  }
}

TEST_CASE("ranges of every kind: empty, single, negative, reversed, beyond the buffer") {
  auto p = Problem<e4m3fn>::random(13, 9, 500, 16, 32);
  p.ks = {0, 100, 100, -50, 499, 400, 500, 200, 0};
  p.ke = {0, 100, 101, 60, 500, 9999, 9999, 100, -3};
  for (auto base : {hisa::IndexBase::relative, hisa::IndexBase::absolute})
    for (int topk : {1, 33, 64}) {
      Setting setting{{}, topk};
      setting.options.index_base = base;
      auto const result = run(p, setting);
      REQUIRE(same(result, run_reference(p, setting)));
      REQUIRE(result.counts[0] == 0);
      REQUIRE(result.indices[0] == -1);
      REQUIRE(result.counts[2] == 1);
    }
}

TEST_CASE("packed sequences: a query never sees its neighbour's keys") {
  auto p = Problem<float>::random(14, 12, 900, 8, 16);
  std::vector<std::int32_t> const starts{0, 250, 251, 700, 900};
  for (std::int64_t t = 0; t < p.M; ++t) {
    auto const s = std::size_t(t) % 4;
    p.ks[std::size_t(t)] = starts[s];
    p.ke[std::size_t(t)] = starts[s + 1] - std::int32_t(t / 4);
  }
  Setting setting{{}, 128};
  setting.options.index_base = hisa::IndexBase::absolute;
  auto const result = run(p, setting);
  REQUIRE(same(result, run_reference(p, setting)));
  for (std::size_t i = 0; i < result.indices.size(); ++i) {
    std::size_t const t = i / 128;
    REQUIRE((result.indices[i] == -1 ||
             (result.indices[i] >= p.ks[t] && result.indices[i] < p.ke[t])));
  }
}

TEST_CASE("scores and counts are optional and do not change the indices") {
  auto const p = Problem<bf16>::random(15, 6, 400, 8, 16);
  for (int topk : {10, 500}) {
    Setting const setting{{}, topk};
    auto const with = run(p, setting), without = run(p, setting, {}, false);
    REQUIRE(with.indices == without.indices);
    REQUIRE(with.counts == without.counts);
    for (float score : without.scores)
      REQUIRE(score == -77.0f); // untouched
  }
}

TEST_CASE("static extents give the bits of dynamic ones") {
  auto const p = Problem<e4m3fn>::random(16, 4, 1000, 64, 128);
  DeviceProblem<e4m3fn> const d(p);
  Exec const exec;
  hisa::Shape<64, 128> const shape{.max_queries = 4, .max_keys = 1000};
  auto const plan = hisa::make_plan<hisa::Levels<>>(exec, shape, {.topk = 100});
  auto const workspace = make_workspace(plan.workspace_bytes());
  DeviceSelection out(4, 100);
  plan(exec, d.queries, d.keys, d.ranges, out.view(), span(workspace, plan.workspace_bytes()));
  exec.fence();
  REQUIRE(same(out.result(), run(p, Setting{{}, 100})));
}

TEST_CASE("a small workspace limit changes the groups, not the result") {
  auto const p = Problem<float>::random(17, 37, 800, 4, 16);
  Setting setting{{}, 50};
  auto const whole = run(p, setting);
  for (std::size_t limit : {std::size_t(0), std::size_t(20000), std::size_t(100000)}) {
    setting.options.workspace_limit = limit;
    REQUIRE(same(run(p, setting), whole));
  }
}
