// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Refining the caller's block lists.
#include "support/problem.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace hisa_test;
using hisa::e4m3fn;

namespace {

hisa::reference::Result refine(const Problem<e4m3fn>& p, const std::vector<std::int32_t>& lists,
                               int capacity, int size, int topk, bool scores = true) {
  DeviceProblem<e4m3fn> const d(p);
  Device<std::int32_t> const blocks(lists);
  Exec const exec;
  hisa::Shape<> const shape{
      .max_queries = p.M, .max_keys = p.N, .heads = p.H, .head_dim = p.D};
  auto const plan = hisa::make_plan<hisa::Levels<hisa::dynamic>, hisa::CallerBlocks>(
      exec, shape, {.keep = {capacity + 3}, .topk = topk, .block_size = {size}});
  auto const workspace = make_workspace(plan.workspace_bytes());
  DeviceSelection out(p.M, topk);
  plan(exec, d.queries, d.keys, hisa::BlockLists{blocks.data(), capacity}, d.ranges,
       out.view(scores), span(workspace, plan.workspace_bytes()));
  exec.fence();
  return out.result();
}

} // namespace

TEST_CASE("refine takes lists in any order, with -1, duplicates and invisible blocks") {
  auto p = Problem<e4m3fn>::random(41, 20, 1000, 8, 32);
  p.anchor.assign(20, 10);
  for (std::size_t t = 0; t < 20; ++t) {
    p.ks[t] = std::int32_t(10 + 13 * t);
    p.ke[t] = std::int32_t(40 + 45 * t);
  }
  Random random(42);
  for (int capacity : {1, 2, 7, 40}) {
    std::vector<std::int32_t> lists;
    std::uniform_int_distribution<std::int32_t> any(-2, 1000 / 16 + 2);
    for (int i = 0; i < 20 * capacity; ++i)
      lists.push_back(i % 5 == 3 ? -1 : any(random));
    for (int topk : {1, 50, 300}) {
      auto const expected =
          hisa::reference::refine(p.queries(), p.keys(), {lists.data(), capacity}, 16, p.ranges(),
                                  hisa::reference::Choice{topk});
      REQUIRE(same(refine(p, lists, capacity, 16, topk), expected));
      REQUIRE(refine(p, lists, capacity, 16, topk, false).indices == expected.indices);
    }
  }
}

TEST_CASE("refine over all blocks in any order equals flat") {
  auto const p = Problem<e4m3fn>::random(43, 4, 640, 8, 32);
  std::vector<std::int32_t> lists;
  for (int t = 0; t < 4; ++t)
    for (int b = 0; b < 40; ++b)
      lists.push_back((b * 7 + t) % 40);
  REQUIRE(same(refine(p, lists, 40, 16, 64), run(p, Setting{{}, 64})));
}

TEST_CASE("refine over empty lists gives empty rows") {
  auto const p = Problem<e4m3fn>::random(44, 3, 640, 8, 32);
  auto const result = refine(p, std::vector<std::int32_t>(3 * 5, -1), 5, 16, 8);
  REQUIRE(result.counts == std::vector<std::int32_t>{0, 0, 0});
  REQUIRE(result.indices == std::vector<std::int32_t>(24, -1));
}
