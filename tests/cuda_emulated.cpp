// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CUDA backend on the emulated device of tests/emulation: the cases of the program for real
// devices, at sizes for a CPU, and in many orders of threads, copies and products.
#include "emulation/device.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cmath>
#include <string>

#define main suite_main // it is a program
#include "cuda_suite.cu"
#undef main

namespace {

void passes(const Case& c, unsigned seed = 1) {
  INFO(c.text());
  int const before = failures;
  dispatch(c, seed);
  CHECK(failures == before);
}

/// The thread sanitizer takes the shared memories of CTAs that run together for one.
void skip_where_watched() {
  if (emulation::order::watched)
    SKIP("not under the thread sanitizer");
}

constexpr Boundary boundaries[] = {Boundary::counted, Boundary::extra, Boundary::none};

} // namespace

TEST_CASE("flat, one level and two levels select what the contract says, on any data") {
  for (Data data : {Data::random, Data::ties, Data::zeros, Data::nan_scales, Data::one_bin,
                    Data::infinite_scales}) {
    passes({5, 1001, 64, {}, {}, 257, data});
    passes({3, 1001, 64, {128}, {3}, 257, data});
    passes({2, 1001, 32, {16}, {20}, 257, data});
    passes({1, 1501, 32, {128, 16}, {5, 20}, 290, data});
  }
}

TEST_CASE("every block size, boundary option, anchor and packing") {
  for (Boundary b : boundaries)
    for (int size : {128, 64, 32, 16}) {
      passes({5, 1003, 64, {size}, {640 / size}, 500, Data::random, b, 77});
      passes({3, 1003, 32, {size}, {640 / size}, 500, Data::random, b, 77, 40});
      passes({6, 1203, 64, {size}, {256 / size}, 200, Data::random, b, 0, -1, true});
    }
  for (Boundary b : boundaries)
    passes({5, 1805, 64, {128, 16}, {6, 30}, 300, Data::random, b, 5, 3});
}

TEST_CASE("small calls, and queries that see less than they may keep") {
  passes({1, 1, 64, {128}, {1}, 128});
  passes({1, 200, 64, {128}, {1}, 100});
  passes({5, 300, 64, {128}, {2}, 256});
  passes({8, 200, 64, {64}, {2}, 128, Data::random, Boundary::none, 70, 1});
  passes({50, 50, 64, {64}, {1}, 32});
  passes({5, 5, 64, {}, {}, 2048});
  passes({30, 70, 64, {128}, {64}, 2048});
  // Between k and 2k candidates, indices from the buffer's start.
  passes({5,
          1700,
          64,
          {128},
          {8},
          1000,
          Data::random,
          Boundary::counted,
          0,
          -1,
          false,
          IndexBase::absolute});
}

TEST_CASE("a small workspace: several passes over the queries") {
  for (std::vector<int> sizes : {std::vector<int>{}, std::vector<int>{128}}) {
    Case c{13, 901, 64, sizes, std::vector<int>(sizes.size(), 4), 300};
    c.limit = 1;
    passes(c);
  }
}

TEST_CASE("many orders of threads, copies and products") {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    INFO("seed " << seed);
    emulation::reseed(seed);
    passes({5, 1501, 64, {}, {}, 64}, seed);
    passes({5, 1501, 32, {128, 16}, {5, 20}, 290}, seed);
  }
}

TEST_CASE("one multiprocessor: a CTA goes round its rings many times") {
  emulation::settings().processors = 1;
  passes({9, 1501, 32, {}, {}, 200});
  passes({9, 1501, 32, {64}, {8}, 400});
  emulation::settings().processors = 3;
}

TEST_CASE("all CTAs of a grid at a time") {
  skip_where_watched();
  emulation::settings().all_at_once = true;
  passes({9, 1203, 64, {64}, {8}, 400});
  emulation::settings().all_at_once = false;
}

TEST_CASE("a part of a call's queries; a captured call, replayed") {
  Case const c{11, 901, 64, {128}, {4}, 300};
  Problem const p(c, 5);
  PooledLevel const level(c, p, 128);
  Device<e4m3fn> const q(p.q), k(p.k);
  Device<float> const w(p.w), scale(p.scale);
  Device<std::int32_t> const ks(p.ks), ke(p.ke);
  auto const plan = cuda::make_plan<Levels<128>>(
      Shape<>{.max_queries = c.M, .max_keys = c.N, .heads = c.H, .head_dim = 128},
      {.keep = {4}, .topk = c.topk});
  Device<std::uint8_t> const workspace(plan.workspace_bytes());
  auto const select = [&](cudaStream_t stream, const Device<std::int32_t>& out, QueryRows rows) {
    plan(stream, {q.data, w.data, c.M, c.H, 128}, {k.data, scale.data, c.N, 128, 0}, level.device(),
         {ks.data, ke.data}, {out.data}, {workspace.data, workspace.size}, rows);
  };
  std::size_t const topk = std::size_t(c.topk);
  Device<std::int32_t> const all(std::size_t(c.M) * topk), part(all.size), replayed(all.size);
  std::vector<std::int32_t> expected = part.host(), untouched = expected;
  select(nullptr, all, {});
  auto const whole = all.host();

  std::copy(whole.begin() + 3 * c.topk, whole.begin() + 10 * c.topk, expected.begin() + 3 * c.topk);
  select(nullptr, part, {3, 10});
  CHECK(part.host() == expected);

  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  cudaStreamCreate(&stream);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  select(stream, replayed, {});
  cudaStreamEndCapture(stream, &graph);
  cudaGraphInstantiate(&exec, graph, 0);
  CHECK(replayed.host() == untouched);
  cudaGraphLaunch(exec, stream);
  CHECK(replayed.host() == whole);
  cudaGraphExecDestroy(exec), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
}

TEST_CASE("pooling at once and in steps") {
  int const before = failures;
  pooling();
  CHECK(failures == before);
}

TEST_CASE("top-k alone, for k beyond every buffer too") {
  int const before = failures;
  topk_alone(8192);
  CHECK(failures == before);
}

TEST_CASE("top-k alone by clusters") {
  skip_where_watched();
  emulation::settings().processors = 64; // so that a row has several CTAs
  int const before = failures;
  topk_alone(100001);
  CHECK(failures == before);
  emulation::settings().processors = 3;
}
