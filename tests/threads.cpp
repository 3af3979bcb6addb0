// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Host threads that call at the same time: one plan, an instance and a workspace each, and the
// result of a call alone. Kokkos' OpenMP serialises the kernels of one instance and runs different
// instances at once, so both are legal.
#include "support/instances.hpp"
#include "support/paged.hpp"

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <memory>
#include <thread>

using namespace hisa_test;
using hisa::e4m3fn, hisa::Levels, hisa::MeanPool;

namespace {

constexpr int topk = 64, repeats = 100;

/// Starts all calls together and waits for them. Nothing in a thread uses Catch2, which is not made
/// for it.
template <class Call>
void at_the_same_time(int threads, const Call& call) {
  std::atomic<int> waiting{threads};
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i)
    all.emplace_back([&, i] {
      --waiting;
      while (waiting > 0)
        std::this_thread::yield();
      call(i);
    });
  for (std::thread& thread : all)
    thread.join();
}

/// Two problems of one shape: each thread has its own, so that a mix-up shows.
struct Fixture {
  std::vector<Problem<e4m3fn>> problems{Problem<e4m3fn>::random(120, 6, 1500, 16, 32),
                                        Problem<e4m3fn>::random(121, 6, 1500, 16, 32)};
  hisa::Shape<> shape{.max_queries = 6, .max_keys = 1500, .heads = 16, .head_dim = 32};
  decltype(hisa::make_plan<Levels<64, 16>>(Exec(), hisa::Shape<>(), {})) plan =
      hisa::make_plan<Levels<64, 16>>(Exec(), shape, {.keep = {8, 12}, .topk = topk});
  std::vector<hisa::reference::Result> expected;

  struct Own {
    DeviceProblem<e4m3fn> device;
    DevicePooled<e4m3fn> coarse, fine;
    DeviceSelection out{6, topk};
    Device<std::uint64_t> workspace;
    Own(const Problem<e4m3fn>& p, std::size_t bytes)
        : device(p), coarse(pool_reference(p, 64)), fine(pool_reference(p, 16)),
          workspace(make_workspace(bytes)) {}
  };
  std::vector<std::unique_ptr<Own>> own;

  Fixture() {
    for (const auto& p : problems) {
      expected.push_back(run_reference(p, {{{64, 8}, {16, 12}}, topk},
                                       {pool_reference(p, 64), pool_reference(p, 16)}));
      own.push_back(std::make_unique<Own>(p, plan.workspace_bytes()));
    }
    REQUIRE_FALSE(same(expected[0], expected[1]));
  }

  void call(const Exec& exec, int i) const {
    const Own& mine = *own[std::size_t(i)];
    plan(exec, mine.device.queries, mine.device.keys,
         std::array<hisa::PooledKeys<const e4m3fn>, 2>{mine.coarse.view, mine.fine.view},
         mine.device.ranges, mine.out.view(), span(mine.workspace, plan.workspace_bytes()));
    exec.fence();
  }

  /// Calls made at once, again and again; each result must be that of a call alone.
  void require_equal_results(const std::vector<Exec>& instances) const {
    std::atomic<int> equal = 0;
    at_the_same_time(2, [&](int i) {
      const Own& mine = *own[std::size_t(i)];
      Kokkos::View<std::int32_t*, Exec::memory_space, Kokkos::MemoryUnmanaged> const indices(
          mine.out.indices.data(), mine.out.indices.size());
      for (int repeat = 0; repeat < repeats; ++repeat) {
        Kokkos::deep_copy(instances[std::size_t(i)], indices, -77);
        call(instances[std::size_t(i)], i);
        equal += same(mine.out.result(), expected[std::size_t(i)]);
      }
    });
    REQUIRE(equal == 2 * repeats);
  }
};

} // namespace

TEST_CASE("two threads call one plan on two instances with a workspace each") {
  auto const instances = two_instances();
  if (instances[0] == instances[1])
    WARN("this Kokkos gives two handles of one instance");
  Fixture().require_equal_results(instances);
}

TEST_CASE("two threads call one plan on one instance with a workspace each") {
  Fixture().require_equal_results({Exec(), Exec()});
}

TEST_CASE("threads make plans, pool and refuse at the same time") {
  Fixture const f;
  auto const instances = two_instances();
  Device<std::int32_t> const length(std::vector<std::int32_t>{1500});
  std::vector<DevicePooled<e4m3fn>> rows;
  for (int i = 0; i < 2; ++i)
    rows.emplace_back(Pooled<e4m3fn>(1500 / 64, 64, 32));
  std::atomic<int> refusals = 0;
  at_the_same_time(2, [&](int i) {
    for (int repeat = 0; repeat < repeats; ++repeat) {
      const Exec& exec = instances[std::size_t(i)];
      hisa::pool_rebuild<MeanPool>(exec, f.own[std::size_t(i)]->device.keys,
                                   rows[std::size_t(i)].view, {1, nullptr, length.data(), nullptr});
      try {
        (void)hisa::make_plan<Levels<64, 16>>(exec, f.shape, {.keep = {1, 99}, .topk = 1});
      } catch (const hisa::precondition_error&) {
        ++refusals;
      }
      exec.fence();
    }
  });
  REQUIRE(refusals == 2 * repeats);
  for (std::size_t i = 0; i < 2; ++i) {
    auto const expected = pool_reference(f.problems[i], 64);
    REQUIRE(rows[i].scales.host() == expected.scales);
    REQUIRE(std::memcmp(rows[i].values.host().data(), expected.values.data(),
                        expected.values.size()) == 0);
  }
}
