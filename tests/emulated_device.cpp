// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The emulated device itself: it runs what is right and says what is wrong.
#include <hisa/cuda/barrier.cuh>
#include <hisa/cuda/machine.cuh>
#include <hisa/cuda/mma.cuh>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <numeric>
#include <string>
#include <vector>

using namespace hisa::cuda;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace hisa::cuda {
extern std::uint8_t memory[];
} // namespace hisa::cuda

namespace {

struct Storage {
  Barrier barrier;
  unsigned values[128];
};
Storage& storage() {
  return *reinterpret_cast<Storage*>(memory);
}
void run(int threads, const std::function<void()>& kernel, int ctas = 1, int cluster = 1) {
  emulation::Grid grid;
  grid.ctas[0] = static_cast<unsigned>(ctas);
  grid.threads = threads, grid.cluster = cluster, grid.shared_bytes = sizeof(Storage);
  emulation::launch(grid, kernel);
}
int thread() {
  return static_cast<int>(threadIdx.x);
}
auto says(const char* sentence) {
  return MessageMatches(ContainsSubstring(sentence));
}

/// Runs a kernel under many seeds; how often it leaves `expected` in `result`.
int right(const std::function<void()>& kernel, const int& result, int expected) {
  int n = 0;
  for (unsigned seed = 1; seed <= 50; ++seed) {
    emulation::reseed(seed);
    run(64, kernel);
    n += result == expected;
  }
  return n;
}

} // namespace

TEST_CASE("operations of a warp") {
  run(64, [] {
    int const lane = thread() % 32;
    auto const wrong = [](const char* what) { emulation::fail(what); };
    unsigned const u = static_cast<unsigned>(lane);
    if (__shfl_sync(~0u, lane, 7) != 7)
      wrong("shfl");
    if (__shfl_up_sync(~0u, lane, 3) != (lane < 3 ? lane : lane - 3))
      wrong("shfl_up");
    if (__shfl_xor_sync(~0u, 0.5f * float(lane), 5) != 0.5f * float(lane ^ 5))
      wrong("shfl_xor");
    if (__ballot_sync(~0u, lane % 3 == 0) != 0x49249249u)
      wrong("ballot");
    if (__reduce_min_sync(~0u, lane - 40) != -40 || __reduce_max_sync(~0u, u) != 31)
      wrong("reduce");
    if (__reduce_add_sync(~0u, u) != 496 || __all_sync(~0u, lane < 31) || !__all_sync(~0u, true))
      wrong("reduce");
  });
}

TEST_CASE("a barrier that is forgotten shows under some seed") {
  if (emulation::order::watched)
    SKIP("the thread sanitizer reports it in any case");
  int result = 0;
  auto const kernel = [&](bool with_barrier) {
    return [&, with_barrier] {
      storage().values[thread()] = thread();
      if (with_barrier)
        __syncthreads();
      if (thread() == 0)
        result = std::accumulate(storage().values, storage().values + 64, 0);
    };
  };
  CHECK(right(kernel(true), result, 2016) == 50);
  CHECK(right(kernel(false), result, 2016) < 50);
}

TEST_CASE("a copy that is not waited for shows under some seed") {
  if (emulation::order::watched)
    SKIP("the thread sanitizer reports it in any case");
  static int const source = 5;
  int result = 0;
  auto const kernel = [&](bool wait) {
    return [&, wait] {
      if (thread() != 0)
        return;
      copy_4(&storage().values[0], &source);
      if (wait)
        wait_copies();
      result = storage().values[0];
      wait_copies();
    };
  };
  CHECK(right(kernel(true), result, 5) == 50);
  CHECK(right(kernel(false), result, 5) < 50);
}

TEST_CASE("what would hang is an error that names what is waited for") {
  CHECK_THROWS_MATCHES(run(64,
                           [] {
                             if (thread() < 32)
                               __syncthreads();
                           }),
                       emulation::device_error, says("32 of warp 0 for __syncthreads, 32 have"));
  CHECK_THROWS_MATCHES(run(32,
                           [] {
                             if (thread() == 0)
                               storage().barrier.init(2);
                             __syncwarp();
                             if (thread() == 1)
                               storage().barrier.arrive();
                             storage().barrier.wait(0);
                           }),
                       emulation::device_error,
                       says("32 of warp 0 for a barrier in shared memory"));
  CHECK_THROWS_MATCHES(
      run(128,
          [] {
            static float products[128][32];
            static std::uint32_t const keys[4][4] = {};
            if (thread() < 96) // not the whole warpgroup
              emulation::start_products({emulation::Format::e4m3, keys, products[thread()]}, 64, 0);
            emulation::wait_products(0);
          }),
      emulation::device_error, says("for products"));
}

TEST_CASE("misuses are errors") {
  if (emulation::order::watched)
    SKIP("an abandoned kernel is not ordered before the next one");
  CHECK_THROWS_MATCHES(run(32,
                           [] {
                             if (thread() % 2)
                               __syncwarp();
                             else
                               __shfl_sync(~0u, 1, 0);
                           }),
                       emulation::device_error, says("while others wait at"));
  CHECK_THROWS_MATCHES(run(32, [] { storage().barrier.wait(0); }), emulation::device_error,
                       says("not initialized"));
  CHECK_THROWS_MATCHES(run(32,
                           [] {
                             if (thread() == 0)
                               storage().barrier.init(2);
                             __syncwarp();
                             if (thread() == 0)
                               storage().barrier.arrive_expecting(4);
                             __syncwarp();
                             storage().barrier.arrive();
                           }),
                       emulation::device_error, says("more arrivals"));
  CHECK_THROWS_MATCHES(run(32,
                           [] {
                             static int const source[32] = {};
                             copy_4(&storage().values[thread()], &source[thread()]);
                           }),
                       emulation::device_error, says("ended before their copies"));
  CHECK_THROWS_MATCHES(run(32, [] { copy_16(&storage().values[1], memory); }),
                       emulation::device_error, says("not aligned"));
}

TEST_CASE("the CTAs of a cluster see each other's shared memory") {
  if (emulation::order::watched)
    SKIP("the thread sanitizer takes it for one");
  std::vector<int> sums(8, 0);
  run(
      64,
      [&] {
        CtaCluster const cluster;
        storage().values[thread()] = 100 * cluster.rank() + thread();
        cluster.barrier();
        if (thread() == 0)
          for (int r = 0; r < cluster.ranks(); ++r)
            sums[blockIdx.x] += cluster.at(&storage(), r)->values[r];
        cluster.barrier();
      },
      8, 4);
  CHECK(sums == std::vector<int>(8, 606));
}
