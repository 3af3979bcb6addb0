// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A plan gives the same bits with every strategy, and a streaming one stores no row of scores.
#include "support/paged.hpp"
#include "support/tools.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <functional>

using namespace hisa_test;
using hisa::Boundary, hisa::e4m3fn, hisa::Levels, hisa::MeanPool, hisa::RadixSelect,
    hisa::SortSelect, hisa::StreamSelect;

namespace {

/// A user's streaming strategy: pieces of 8, so that a share has many.
struct SmallPieces : StreamSelect {
  static constexpr const char* name = "small pieces";
  static constexpr std::int64_t piece = 8;
};

/// A user's strategy for rows: forwards.
struct Forward {
  static constexpr const char* name = "forward";
  KOKKOS_FUNCTION static constexpr std::size_t scratch_bytes(std::int64_t k) {
    return 24 + RadixSelect::scratch_bytes(k); // no multiple of 16
  }
  template <class Member, class Emit>
  KOKKOS_FUNCTION static void select(const Member& team, const float* scores, std::int64_t n,
                                     std::int64_t k, std::byte* scratch, const Emit& emit) {
    RadixSelect::select(team, scores, n, k, scratch, emit);
  }
};

template <class Strategy, class T>
hisa::reference::Result run_by(const Problem<T>& p, const Setting& setting,
                               const std::vector<Pooled<T>>& pooled, bool with_scores = true) {
  DeviceProblem<T> const device(p);
  std::vector<DevicePooled<T>> levels;
  std::vector<hisa::PooledKeys<const T>> views;
  for (const Pooled<T>& level : pooled)
    levels.emplace_back(level, p.begin);
  for (const DevicePooled<T>& level : levels)
    views.push_back(level.view);
  return run_on_device<MeanPool, Strategy>(Exec(), setting, device.queries, device.keys, views,
                                           device.ranges, with_scores);
}

template <class T>
std::vector<Pooled<T>> pool_levels(const Problem<T>& p, const Setting& setting) {
  std::vector<Pooled<T>> pooled;
  for (auto [size, keep] : setting.levels)
    pooled.push_back(pool_reference(p, size));
  return pooled;
}

std::size_t workspace(auto plan) {
  return plan.workspace_bytes();
}

} // namespace

TEMPLATE_TEST_CASE("every strategy equals the reference bit for bit", "", SortSelect, StreamSelect,
                   SmallPieces, Forward) {
  auto const [M, N] = GENERATE(table<int, int>({{1, 3000}, {3, 3000}, {40, 1500}, {5, 90}}));
  auto p = Problem<e4m3fn>::random(200, M, N, 8, 32);
  if (M == 40) // empty rows, short ones, ranges that start inside a block of the grid
    for (std::size_t t = 0; t < 40; ++t) {
      p.ks[t] = std::int32_t(t % 4 * 7);
      p.ke[t] = std::int32_t(t * t);
      p.anchor.push_back(0);
    }
  for (auto boundary : {Boundary::counted, Boundary::extra, Boundary::none})
    for (Setting setting :
         {Setting{{}, 1}, Setting{{}, 77}, Setting{{}, 2000}, Setting{{{64, 5}}, 100},
          Setting{{{64, 1}}, 20}, Setting{{{128, 6}, {16, 20}}, 100}}) {
      setting.options.boundary = boundary;
      auto const pooled = pool_levels(p, setting);
      REQUIRE(same(run_by<TestType>(p, setting, pooled), run_reference(p, setting, pooled)));
    }
}

TEST_CASE("streams of scores that arrive in the worst order, in one share and in several") {
  // One head of dimension one: the score of a key is its value.
  auto p = Problem<float>::random(201, 1, 20000, 1, 1);
  p.q = {1.0f}, p.w = {1.0f};
  auto const ascending = [](std::size_t i) { return float(i); };
  auto const descending = [](std::size_t i) { return float(20000 - i); };
  auto const equal = [](std::size_t) { return 1.0f; };
  auto const waves = [](std::size_t i) { return float(i % 997) + float(i) * 1e-3f; };
  auto const not_a_number = [](std::size_t i) { return i % 3 ? NAN : float(i % 5); };
  for (auto const& order : {std::function<float(std::size_t)>(ascending),
                            {descending},
                            {equal},
                            {waves},
                            {not_a_number}}) {
    for (std::size_t i = 0; i < 20000; ++i)
      p.k[i] = order(i);
    for (int topk : {1, 100, 2048, 9999}) {
      Setting setting{{}, topk};
      auto const expected = run_reference(p, setting);
      REQUIRE(same(run_by<StreamSelect>(p, setting, {}), expected));
      setting.options.workspace_limit = 0; // no room for a second share
      REQUIRE(same(run_by<StreamSelect>(p, setting, {}), expected));
      REQUIRE(same(run_by<SmallPieces>(p, setting, {}), expected));
    }
  }
}

TEST_CASE("several teams share a query of a streaming plan, and merge") {
  auto const p = Problem<e4m3fn>::random(202, 2, 6000, 8, 32);
  DeviceProblem<e4m3fn> const device(p);
  hisa::Shape<> const shape{.max_queries = 2, .max_keys = 6000, .heads = 8, .head_dim = 32};
  auto const plan = hisa::make_plan<Levels<>, MeanPool, StreamSelect>(Exec(), shape, {.topk = 100});
  auto const memory = make_workspace(plan.workspace_bytes());
  DeviceSelection const out(2, 100);
  auto const labels = record([&] {
                        plan(Exec(), device.queries, device.keys, device.ranges, out.view(),
                             span(memory, plan.workspace_bytes()));
                      }).labels();
  Kokkos::fence();
  REQUIRE(labels ==
          std::vector<std::string>{"hisa::score::prepare", "hisa::stream", "hisa::stream::merge"});
  REQUIRE(same(out.result(), run_reference(p, Setting{{}, 100})));
}

TEMPLATE_TEST_CASE("decode over pages equals the reference with every strategy", "", SortSelect,
                   StreamSelect) {
  PagedProblem<e4m3fn> p(203, {700, 64, 1, 333, 0, 128}, 16, 8, 32, 2);
  p.shuffle_pages(204);
  for (Setting setting :
       {Setting{{}, 100}, Setting{{{32, 4}}, 128}, Setting{{{64, 3}, {16, 8}}, 60}}) {
    setting.options.index_base = hisa::IndexBase::physical;
    REQUIRE(same(p.run<hisa::MeanPool, TestType>(setting), p.run_reference(setting)));
  }
}

TEST_CASE("without scores asked for, a streaming plan gives the same indices") {
  auto const p = Problem<e4m3fn>::random(205, 4, 500, 8, 32);
  for (int topk : {64, 499, 600}) {
    auto const quiet = run_by<StreamSelect>(p, Setting{{}, topk}, {}, false);
    REQUIRE(quiet.indices == run_reference(p, Setting{{}, topk}).indices);
  }
}

TEST_CASE("a streaming plan's workspace holds no row of scores") {
  auto const bytes = [](std::int64_t keys, auto strategy) {
    hisa::Shape<> const shape{.max_queries = 128, .max_keys = keys, .heads = 64, .head_dim = 128};
    return workspace(hisa::make_plan<Levels<128>, MeanPool, decltype(strategy)>(
        Exec(), shape, {.keep = {64}, .topk = 2048}));
  };
  std::int64_t const million = 1 << 20;
  REQUIRE(bytes(million, StreamSelect()) == bytes(million / 16, StreamSelect()));
  REQUIRE(bytes(million, StreamSelect()) == bytes(10 * million, StreamSelect()));
  REQUIRE(bytes(million, RadixSelect()) > 0);
  // Flat over ten million keys, one query: some buffers of k entries against 40 MB.
  hisa::Shape<> const shape{
      .max_queries = 1, .max_keys = 10 * million, .heads = 64, .head_dim = 128};
  hisa::Options const options{.workspace_limit = 0};
  auto const stream = workspace(
      hisa::make_plan<Levels<>, MeanPool, StreamSelect>(Exec(), shape, {.topk = 2048}, options));
  auto const radix = workspace(
      hisa::make_plan<Levels<>, MeanPool, RadixSelect>(Exec(), shape, {.topk = 2048}, options));
  REQUIRE(stream < 150'000);
  REQUIRE(radix > 40'000'000);
}

TEST_CASE("a streaming plan keeps within the workspace that it asks for") {
  auto const p = Problem<e4m3fn>::random(206, 5, 3000, 8, 32);
  DeviceProblem<e4m3fn> const device(p);
  hisa::Shape<> const shape{.max_queries = 5, .max_keys = 3000, .heads = 8, .head_dim = 32};
  for (std::size_t limit : {0, 30'000, 1'000'000}) {
    auto const plan = hisa::make_plan<Levels<>, MeanPool, StreamSelect>(
        Exec(), shape, {.topk = 200}, {.workspace_limit = limit});
    std::size_t const bytes = plan.workspace_bytes();
    std::vector<std::byte> const garbage(bytes + 64, std::byte(0x3c));
    Device<std::byte> const memory(garbage);
    DeviceSelection const out(5, 200);
    plan(Exec(), device.queries, device.keys, device.ranges, out.view(), {memory.data(), bytes});
    Kokkos::fence();
    REQUIRE(same(out.result(), run_reference(p, Setting{{}, 200})));
    auto const after = memory.host();
    REQUIRE(std::equal(after.begin() + std::ptrdiff_t(bytes), after.end(),
                       garbage.begin() + std::ptrdiff_t(bytes)));
  }
}
