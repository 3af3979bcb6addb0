// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The block-sparse baseline.
#include "support/problem.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

using namespace hisa_test;
using hisa::Boundary, hisa::e4m3fn;

TEST_CASE("block-sparse keeps all visible tokens of topk / B blocks, as the reference does") {
  auto const p = Problem<e4m3fn>::random(31, 6, 1999, 16, 32);
  int const size = GENERATE(16, 64, 128);
  auto const boundary = GENERATE(Boundary::counted, Boundary::none);
  int const topk = 512;
  auto const pooled = pool_reference(p, size);

  DeviceProblem<e4m3fn> const d(p);
  DevicePooled<e4m3fn> const rows(pooled);
  Exec const exec;
  hisa::Shape<> const shape{.max_queries = 6, .max_keys = 1999, .heads = 16, .head_dim = 32};
  auto const plan = hisa::make_block_sparse_plan<hisa::Levels<hisa::dynamic>>(
      exec, shape, {.topk = topk, .block_size = {size}}, {.boundary = boundary});
  auto const workspace = make_workspace(plan.workspace_bytes());
  DeviceSelection out(6, topk);
  plan(exec, d.queries, d.keys, rows.view, d.ranges, out.view(),
       span(workspace, plan.workspace_bytes()));
  exec.fence();
  auto const result = out.result();
  REQUIRE(same(result, hisa::reference::block_sparse(
                           p.queries(), p.keys(), hisa::PooledKeys<const e4m3fn>(pooled.view),
                           p.ranges(), {topk, boundary})));
  for (std::size_t t = 0; t < 6; ++t) { // whole blocks
    std::int32_t const last = (p.ke[t] - 1) / size;
    for (std::int32_t i = 0; i < result.counts[t]; ++i) {
      std::int32_t const token = result.indices[t * std::size_t(topk) + std::size_t(i)];
      if (token % size == 0 && token / size != last)
        REQUIRE(result.indices[t * std::size_t(topk) + std::size_t(i + size - 1)] ==
                token + size - 1);
    }
  }
}
