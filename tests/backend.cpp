// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A backend overrides one customisation point, and only that point changes. The fakes count the
// calls of their point and then either forward to the portable step, so that results stay the same
// bit for bit, or do nothing, so that exactly the kernels of that step disappear.
#include "support/problem.hpp"
#include "support/tools.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

using namespace hisa_test;
using hisa::e4m3fn, hisa::GroupWorkspace, hisa::Levels, hisa::MeanPool, hisa::Portable,
    hisa::RadixSelect;

namespace {

/// Calls of each point since the last reset.
struct Calls {
  int pool = 0, score = 0, select = 0, descend = 0, index = 0;
  bool operator==(const Calls&) const = default;
};
Calls calls;

enum class Does { forward, nothing };

template <Does D>
struct FakePool : Portable<FakePool<D>> {
  static constexpr const char* name = "fake-pool";
  template <hisa::RowRule Rule, class Exec, class Keys, class Pooled>
  static void pool(const Exec& exec, const Keys& keys, const Pooled& pooled,
                   const hisa::Sequences& sequences) {
    ++calls.pool;
    if (D == Does::forward)
      Portable<FakePool>::template pool<Rule>(exec, keys, pooled, sequences);
  }
};

template <Does D>
struct FakeScore : Portable<FakeScore<D>> {
  static constexpr const char* name = "fake-score";
  template <class Exec, class Descent>
  static void score(const Exec& exec, const Descent& descent, const GroupWorkspace& workspace) {
    ++calls.score;
    if (D == Does::forward)
      Portable<FakeScore>::score(exec, descent, workspace);
  }
};

template <Does D>
struct FakeSelect : Portable<FakeSelect<D>> {
  static constexpr const char* name = "fake-select";
  template <hisa::SelectStrategy Strategy, class Exec, class Descent, class Out>
  static void select(const Exec& exec, const Descent& descent, const Out& out,
                     const GroupWorkspace& workspace) {
    ++calls.select;
    if (D == Does::forward)
      Portable<FakeSelect>::template select<Strategy>(exec, descent, out, workspace);
  }
};

template <Does D>
struct FakeDescend : Portable<FakeDescend<D>> {
  static constexpr const char* name = "fake-descend";
  template <hisa::SelectStrategy Strategy, class Exec, class Descent, class Out>
  static void descend(const Exec& exec, const Descent& descent, const Out& out,
                      const GroupWorkspace& workspace) {
    ++calls.descend;
    if (D == Does::forward)
      Portable<FakeDescend>::template descend<Strategy>(exec, descent, out, workspace);
  }
};

template <Does D>
struct FakeIndex : Portable<FakeIndex<D>> {
  static constexpr const char* name = "fake-index";
  template <hisa::SelectStrategy Strategy, class Exec, class Call>
  static void index(const Exec& exec, const Call& call) {
    ++calls.index;
    if (D == Does::forward)
      Portable<FakeIndex>::template index<Strategy>(exec, call);
  }
};

/// Overrides nothing.
struct Bare : Portable<Bare> {};

/// Overrides everything: what the execution space has by default in this program.
struct FakeAll : Portable<FakeAll> {
  static constexpr const char* name = "fake-all";
  template <hisa::RowRule Rule, class Exec, class Keys, class Pooled>
  static void pool(const Exec& exec, const Keys& keys, const Pooled& pooled,
                   const hisa::Sequences& sequences) {
    ++calls.pool;
    Portable<FakeAll>::template pool<Rule>(exec, keys, pooled, sequences);
  }
  template <class Exec, class Descent>
  static void score(const Exec& exec, const Descent& descent, const GroupWorkspace& workspace) {
    ++calls.score;
    Portable<FakeAll>::score(exec, descent, workspace);
  }
  template <hisa::SelectStrategy Strategy, class Exec, class Descent, class Out>
  static void select(const Exec& exec, const Descent& descent, const Out& out,
                     const GroupWorkspace& workspace) {
    ++calls.select;
    Portable<FakeAll>::template select<Strategy>(exec, descent, out, workspace);
  }
  template <hisa::SelectStrategy Strategy, class Exec, class Descent, class Out>
  static void descend(const Exec& exec, const Descent& descent, const Out& out,
                      const GroupWorkspace& workspace) {
    ++calls.descend;
    Portable<FakeAll>::template descend<Strategy>(exec, descent, out, workspace);
  }
  template <hisa::SelectStrategy Strategy, class Exec, class Call>
  static void index(const Exec& exec, const Call& call) {
    ++calls.index;
    Portable<FakeAll>::template index<Strategy>(exec, call);
  }
};

} // namespace

template <>
struct hisa::DefaultBackend<Exec> {
  using type = FakeAll;
};

namespace {

using Labels = std::vector<std::string>;
using LevelsOf2 = Levels<32, 16>;

/// Two levels over 10 queries that are worked on in groups of 4: 3 groups, 3 descents each.
struct Fixture {
  static constexpr int topk = 20, groups = 3;
  Exec exec;
  Problem<e4m3fn> p = Problem<e4m3fn>::random(80, 10, 900, 16, 32);
  DeviceProblem<e4m3fn> device{p};
  std::array<DevicePooled<e4m3fn>, 2> levels{DevicePooled<e4m3fn>(pool_reference(p, 32)),
                                             DevicePooled<e4m3fn>(pool_reference(p, 16))};
  std::array<hisa::PooledKeys<const e4m3fn>, 2> pooled{levels[0].view, levels[1].view};
  hisa::Shape<> shape{.max_queries = 10, .max_keys = 900, .heads = 16, .head_dim = 32};
  hisa::Budgets budgets{.keep = {8, 10}, .topk = topk};
  std::size_t limit = 0;

  Fixture() {
    auto const one =
        hisa::make_plan_on<Bare, LevelsOf2>(exec, shape, budgets, {.workspace_limit = 0});
    limit = 4 * one.workspace_bytes() + 256;
  }
  hisa::Options options() const { return {.workspace_limit = limit}; }

  /// A call on a backend: its result, its kernels and the calls of the points.
  struct Outcome {
    hisa::reference::Result result;
    Labels labels;
    Calls calls;
  };
  template <class Plan>
  Outcome run(const Plan& plan) const {
    Device<std::uint64_t> const memory( // zeros: a fake that does nothing leaves empty lists
        std::vector<std::uint64_t>((plan.workspace_bytes() + 7) / 8, 0));
    DeviceSelection out(10, topk);
    calls = {};
    Recording const seen = record([&] {
      plan(exec, device.queries, device.keys, pooled, device.ranges, out.view(),
           span(memory, plan.workspace_bytes()));
    });
    exec.fence();
    return {out.result(), seen.labels(), calls};
  }
  template <class Backend>
  Outcome run_on() const {
    return run(hisa::make_plan_on<Backend, LevelsOf2>(exec, shape, budgets, options()));
  }
  Outcome portable() const {
    auto const outcome = run_on<Portable<>>();
    REQUIRE(same(outcome.result, run_reference(p, {{{32, 8}, {16, 10}}, topk},
                                               {pool_reference(p, 32), pool_reference(p, 16)})));
    REQUIRE(outcome.calls == Calls{});
    REQUIRE(outcome.labels.size() == groups * 3 * 3); // prepare, score, select
    return outcome;
  }
};

/// The labels that do not begin with `prefix`.
Labels without(const Labels& labels, const std::string& prefix) {
  Labels rest;
  for (const std::string& label : labels)
    if (!label.starts_with(prefix))
      rest.push_back(label);
  return rest;
}

template <template <Does> class Fake, int Calls::*Point>
struct Case {
  using Forward = Fake<Does::forward>;
  using Nothing = Fake<Does::nothing>;
  static Calls expected(int n) {
    Calls c;
    c.*Point = n;
    return c;
  }
};

} // namespace

TEST_CASE("a backend that overrides nothing is the portable one") {
  Fixture const f;
  auto const portable = f.portable(), bare = f.run_on<Bare>();
  REQUIRE(same(bare.result, portable.result));
  REQUIRE(bare.labels == portable.labels);
}

TEMPLATE_TEST_CASE("an override of one point is called and changes no other point", "",
                   (Case<FakeScore, &Calls::score>), (Case<FakeSelect, &Calls::select>),
                   (Case<FakeDescend, &Calls::descend>), (Case<FakeIndex, &Calls::index>),
                   (Case<FakePool, &Calls::pool>)) {
  Fixture const f;
  using Forward = typename TestType::Forward;
  int const expected = std::is_same_v<Forward, FakeIndex<Does::forward>>  ? 1
                       : std::is_same_v<Forward, FakePool<Does::forward>> ? 0
                                                                          : f.groups * 3;
  auto const portable = f.portable(), forward = f.run_on<Forward>();
  REQUIRE(same(forward.result, portable.result));
  REQUIRE(forward.labels == portable.labels);
  REQUIRE(forward.calls == TestType::expected(expected));
}

TEST_CASE("an override replaces the kernels of its own point and of no other") {
  Fixture const f;
  auto const portable = f.portable();
  auto const score = f.run_on<FakeScore<Does::nothing>>();
  CHECK(score.labels == without(portable.labels, "hisa::score"));
  CHECK(score.calls == Calls{.score = f.groups * 3});
  auto const select = f.run_on<FakeSelect<Does::nothing>>();
  CHECK(select.labels == without(portable.labels, "hisa::select"));
  CHECK(select.calls == Calls{.select = f.groups * 3});
  auto const descend = f.run_on<FakeDescend<Does::nothing>>();
  CHECK(descend.labels.empty());
  CHECK(descend.calls == Calls{.descend = f.groups * 3});
  auto const index = f.run_on<FakeIndex<Does::nothing>>();
  CHECK(index.labels.empty());
  CHECK(index.calls == Calls{.index = 1});
  auto const pool = f.run_on<FakePool<Does::nothing>>(); // a plan never pools
  CHECK(pool.labels == portable.labels);
  CHECK(same(pool.result, portable.result));
}

TEST_CASE("a default backend serves every entry, each by its own point") {
  Fixture const f;
  SECTION("a plan") {
    auto const outcome = f.run(hisa::make_plan<LevelsOf2>(f.exec, f.shape, f.budgets, f.options()));
    auto const portable = f.portable();
    int const n = f.groups * 3;
    REQUIRE(outcome.calls == Calls{.score = n, .select = n, .descend = n, .index = 1});
    REQUIRE(outcome.labels == portable.labels);
    REQUIRE(same(outcome.result, portable.result));
  }
  SECTION("refining the caller's blocks descends to the tokens only") {
    std::vector<std::int32_t> const lists(10 * 2, 1);
    Device<std::int32_t> const blocks(lists);
    auto const plan = hisa::make_plan<Levels<32>, hisa::CallerBlocks>(
        f.exec, f.shape, {.keep = {2}, .topk = f.topk});
    auto const memory = make_workspace(plan.workspace_bytes());
    DeviceSelection out(10, f.topk);
    calls = {};
    plan(f.exec, f.device.queries, f.device.keys, hisa::BlockLists{blocks.data(), 2},
         f.device.ranges, out.view(), span(memory, plan.workspace_bytes()));
    f.exec.fence();
    REQUIRE(calls == Calls{.score = 1, .select = 1, .descend = 1, .index = 1});
    REQUIRE(
        same(out.result(), hisa::reference::refine(f.p.queries(), f.p.keys(), {lists.data(), 2}, 32,
                                                   f.p.ranges(), hisa::reference::Choice{f.topk})));
  }
  SECTION("a block-sparse plan") {
    calls = {};
    auto const plan = hisa::make_block_sparse_plan<Levels<32>>(f.exec, f.shape, {.topk = 64});
    auto const memory = make_workspace(plan.workspace_bytes());
    DeviceSelection out(10, 64);
    plan(f.exec, f.device.queries, f.device.keys, f.pooled[0], f.device.ranges, out.view(),
         span(memory, plan.workspace_bytes()));
    f.exec.fence();
    REQUIRE(calls == Calls{.score = 2, .select = 2, .descend = 2, .index = 1});
  }
  SECTION("score") {
    std::size_t const bytes = hisa::score_workspace_bytes(16, 32, 4); // groups of 4: 3 groups
    auto const memory = make_workspace(bytes);
    Device<float> const logits(std::vector<float>(10 * 900, -77.0f));
    calls = {};
    hisa::score(f.exec, f.device.queries, f.device.keys, f.device.ranges, {logits.data(), 900},
                span(memory, bytes));
    f.exec.fence();
    REQUIRE(calls == Calls{.score = 3});
    auto const values = logits.host();
    for (std::int64_t t = 0; t < 10; ++t)
      for (std::int64_t i = 0; i < f.p.ke[std::size_t(t)]; ++i)
        REQUIRE(same_score(
            values[std::size_t(t * 900 + i)],
            hisa::reference::score(f.p.queries(), t, f.p.keys().row({}, hisa::TokenIndex(i)))));
  }
  SECTION("pool_append and pool_rebuild") {
    Device<std::int32_t> const from(std::vector<std::int32_t>{40}),
        to(std::vector<std::int32_t>{900});
    auto const expected = pool_reference(f.p, 32);
    auto const same_rows = [&](const DevicePooled<e4m3fn>& rows, std::size_t first) {
      auto const values = rows.values.host();
      auto const scales = rows.scales.host();
      for (std::size_t i = first * 32; i < values.size(); ++i)
        REQUIRE(values[i].bits == expected.values[i].bits);
      for (std::size_t b = first; b < scales.size(); ++b)
        REQUIRE(scales[b] == expected.scales[b]);
    };
    DevicePooled<e4m3fn> const rows(Pooled<e4m3fn>(28, 32, 32));
    calls = {};
    hisa::pool_append<MeanPool>(f.exec, f.device.keys, rows.view,
                                {1, from.data(), to.data(), nullptr});
    f.exec.fence();
    REQUIRE(calls == Calls{.pool = 1});
    same_rows(rows, 1);
    hisa::pool_rebuild<MeanPool>(f.exec, f.device.keys, rows.view,
                                 {1, nullptr, to.data(), nullptr});
    f.exec.fence();
    REQUIRE(calls == Calls{.pool = 2});
    same_rows(rows, 0);
  }
}

TEST_CASE("the point that a backend overrides pools on its own as the portable one does") {
  Fixture const f;
  Device<std::int32_t> const to(std::vector<std::int32_t>{900});
  hisa::Sequences const sequences{1, nullptr, to.data(), nullptr};
  auto const expected = pool_reference(f.p, 32);
  auto const pool_on = [&](auto backend, const DevicePooled<e4m3fn>& rows) {
    calls = {};
    Recording const seen = record([&] {
      decltype(backend)::template pool<MeanPool>(f.exec, f.device.keys, rows.view, sequences);
    });
    f.exec.fence();
    return seen.labels();
  };
  DevicePooled<e4m3fn> const rows(Pooled<e4m3fn>(28, 32, 32));
  REQUIRE(pool_on(FakePool<Does::nothing>(), rows).empty());
  REQUIRE(calls == Calls{.pool = 1});
  REQUIRE(pool_on(FakeScore<Does::forward>(), rows) == Labels{"hisa::pool"});
  REQUIRE(calls == Calls{});
  auto const values = rows.values.host();
  for (std::size_t i = 0; i < values.size(); ++i)
    REQUIRE(values[i].bits == expected.values[i].bits);
}

TEST_CASE("the backend is part of the plan's type and says its name") {
  Fixture const f;
  auto const fake =
      hisa::make_plan_on<FakeScore<Does::forward>, Levels<>>(f.exec, f.shape, {.topk = 1});
  auto const plain = hisa::make_plan_on<Portable<>, Levels<>>(f.exec, f.shape, {.topk = 1});
  auto const usual = hisa::make_plan<Levels<>>(f.exec, f.shape, {.topk = 1});
  static_assert(std::is_same_v<decltype(fake)::backend_type, FakeScore<Does::forward>>);
  static_assert(std::is_same_v<decltype(usual)::backend_type, FakeAll>);
  static_assert(!std::is_same_v<decltype(fake), decltype(plain)>);
  std::string const space = std::string(" pipeline on ") + Exec::name();
  REQUIRE(fake.path() == "fake-score" + space);
  REQUIRE(usual.path() == "fake-all" + space);
  REQUIRE(plain.path() ==
          "portable" + space + ": no specialised backend covers this execution space");
}
