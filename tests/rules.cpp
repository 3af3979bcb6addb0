// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pooling rules on every level, block size and storage: rows and selections, bit for bit against
// the specification, and the specification by hand.
#include "support/pooling.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <cmath>
#include <limits>
#include <string>

using namespace hisa_test;
using hisa::e4m3fn, hisa::MaxPool, hisa::MeanPool, hisa::MinMaxPool, hisa::MomentsPool,
    hisa::SubMeanPool;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float NaN = std::numeric_limits<float>::quiet_NaN();

/// A head rule of a user's own, with other numbers of rows and sums than the library's: first, last
/// and largest key; the value is the best of the three dot products.
struct ThreeKeys {
  static constexpr const char* name = "three keys";
  static constexpr int rows = 3, sums = 3;
  struct Fold {
    float values[3] = {0, 0, -std::numeric_limits<float>::infinity()};
    bool any = false;
    KOKKOS_FUNCTION void add(float x) {
      values[0] = any ? values[0] : x;
      values[1] = x;
      values[2] = x > values[2] ? x : values[2];
      any = true;
    }
    KOKKOS_FUNCTION float row(int r) const { return values[r]; }
  };
  KOKKOS_FUNCTION static void accumulate(float q, const float* row, float* sums) {
    for (int r = 0; r < 3; ++r)
      sums[r] = hisa::multiply_add(q, row[r], sums[r]);
  }
  KOKKOS_FUNCTION static float value(const float* sums, float) {
    float const ends = sums[0] > sums[1] ? sums[0] : sums[1];
    return ends > sums[2] ? ends : sums[2];
  }
};

/// A rule beside keys of a type.
template <class RuleT, class T>
struct Case {
  using Rule = RuleT;
  using Key = T;
  using Row = hisa::pooled_element<Rule, T>;
};

/// Rows of a level of a problem's keys, pooled on the device.
template <class Rule, class T>
auto rows_of(const Problem<T>& p, int block_size) {
  Pooled<hisa::pooled_element<Rule, T>> const before(p.N / block_size + 1, block_size, p.D,
                                                     Rule::rows);
  return rebuild<Rule>(p, before, std::int32_t(p.N));
}

/// Rows and selection of a problem equal the specification's.
template <class Rule, class T>
void require_specified(const Problem<T>& p, const Setting& setting) {
  std::vector<Pooled<hisa::pooled_element<Rule, T>>> levels;
  for (auto [size, keep] : setting.levels) {
    require_rebuilt<Rule>(p, size);
    levels.push_back(rows_of<Rule>(p, size));
  }
  bool const equal = same(run<Rule>(p, setting, levels), run_reference<Rule>(p, setting, levels));
  REQUIRE(equal);
}

/// Blocks of a size that takes the whole of `N` tokens' worth of 16 blocks, and keeps a quarter.
Setting one_level(int block_size) {
  return {{{block_size, 4}}, 3 * block_size};
}

/// The score of block b for query t, by the reference.
template <class Rule, class T, class E>
float block_score(const Problem<T>& p, const Pooled<E>& rows, std::int64_t t, std::int64_t b) {
  hisa::Visible v;
  v.query = t, v.end = p.N;
  hisa::PooledKeys<const E> const view = rows.view;
  return hisa::reference::block_score<Rule>(p.queries(), p.keys(), view, v, b);
}

/// The score of one block of all keys.
template <class Rule, class T>
float score_of(const Problem<T>& p) {
  return block_score<Rule>(p, pool_reference<T, Rule>(p, int(p.N)), 0, 0);
}

/// One query of one head of `q`, with a weight, over keys.
Problem<float> by_hand(std::vector<float> q, float w, std::vector<float> k) {
  Problem<float> p;
  p.M = 1, p.H = 1, p.D = int(q.size()), p.N = std::int64_t(k.size() / q.size());
  p.q = std::move(q), p.w = {w}, p.k = std::move(k);
  p.causal(0);
  return p;
}

} // namespace

#define RULES_AND_TYPES                                                                            \
  (Case<MaxPool, float>), (Case<MaxPool, e4m3fn>), (Case<SubMeanPool<4>, float>),                  \
      (Case<SubMeanPool<4>, e4m3fn>), (Case<MomentsPool<3, 2>, float>),                            \
      (Case<MomentsPool<1>, e4m3fn>), (Case<MinMaxPool, float>), (Case<MinMaxPool, e4m3fn>),       \
      (Case<ThreeKeys, hisa::bf16>)

TEMPLATE_TEST_CASE("rows and selections for every block size", "", RULES_AND_TYPES) {
  using Rule = typename TestType::Rule;
  for (int block_size : {16, 32, 64, 128, 256})
    for (auto [H, D] : {std::pair(3, 33), std::pair(40, 16)}) {
      auto const p = Problem<typename TestType::Key>::random(std::uint64_t(block_size + D), 3,
                                                             16 * block_size + 5, H, D);
      require_specified<Rule>(p, one_level(block_size));
    }
}

TEMPLATE_TEST_CASE("two levels, every boundary, anchored ranges", "", RULES_AND_TYPES) {
  using Rule = typename TestType::Rule;
  auto p = Problem<typename TestType::Key>::random(1, 4, 1500, 18, 20);
  for (auto boundary : {hisa::Boundary::counted, hisa::Boundary::extra, hisa::Boundary::none})
    for (Setting setting : {Setting{{{128, 4}, {16, 9}}, 100}, Setting{{{64, 8}, {32, 5}}, 70}}) {
      setting.options.boundary = boundary;
      p.anchor.clear();
      p.causal(0);
      require_specified<Rule>(p, setting);
      p.causal(77); // the first block is partly visible
      p.anchor.assign(4, 0);
      require_specified<Rule>(p, setting);
    }
}

TEMPLATE_TEST_CASE(
    "a query that sees no more than topk takes all, though more blocks than the budget", "",
    RULES_AND_TYPES) {
  using Rule = typename TestType::Rule;
  auto p = Problem<typename TestType::Key>::random(9, 1, 200, 3, 20);
  p.causal(120); // 80 keys in 6 blocks of 16
  p.anchor = {0};
  Setting const setting{{{16, 5}}, 80};
  require_specified<Rule>(p, setting);
  REQUIRE(run<Rule>(p, setting, std::vector{rows_of<Rule>(p, 16)}).counts == Ints{80});
}

TEMPLATE_TEST_CASE("appending in steps equals pooling from scratch", "", RULES_AND_TYPES) {
  using Rule = typename TestType::Rule;
  Random random(2);
  for (int block_size : {16, 64}) {
    auto const p = Problem<typename TestType::Key>::random(random(), 1, 500, 1, 17);
    Pooled<typename TestType::Row> const before(500 / block_size + 1, block_size, 17, Rule::rows);
    auto grown = before;
    for (std::int32_t length = 0; length < 500;) {
      std::int32_t const next = std::min(500, length + std::int32_t(random() % 60));
      grown = append<Rule>(p, grown, length, next);
      length = next;
    }
    bool const equal = same_rows(grown, specified<Rule>(p, before, 500));
    REQUIRE(equal);
  }
}

TEMPLATE_TEST_CASE("pages: rows and selections, equal to contiguous keys'", "", RULES_AND_TYPES) {
  using Rule = typename TestType::Rule;
  PagedProblem<typename TestType::Key> p(3, {700, 64, 513}, 32, 5, 24, 2);
  p.shuffle_pages(4);
  auto const bytes = p.pages();
  for (int block_size : {16, 32, 64}) {
    auto const before = paged_buffer<Rule>(p, block_size);
    auto const expected = specified_pages<Rule>(p, bytes, before, p.lengths);
    REQUIRE(same_rows(pool_pages<Rule>(p, bytes, before, std::nullopt, p.lengths), expected));
    Ints const half{350, 0, 256};
    auto grown = pool_pages<Rule>(p, bytes, before, Ints(3, 0), half);
    grown = pool_pages<Rule>(p, bytes, grown, half, p.lengths);
    REQUIRE(same_rows(grown, expected));
  }
  for (Setting const& setting : {one_level(32), Setting{{{64, 4}, {16, 8}}, 48}}) {
    auto const result = p.template run<Rule>(setting);
    REQUIRE(same(result, p.template run_reference<Rule>(setting)));
    std::size_t row = 0;
    for (std::size_t s = 0; s < 3; ++s) {
      auto const alone = p.template prefill<Rule>(s, setting);
      REQUIRE(std::equal(alone.indices.begin(), alone.indices.end(),
                         result.indices.begin() + std::ptrdiff_t(row * std::size_t(setting.topk))));
      row += 2;
    }
  }
}

TEMPLATE_TEST_CASE("adversarial blocks: NaN, infinite, zero, constant, saturated, enormous", "",
                   RULES_AND_TYPES) {
  using Rule = typename TestType::Rule;
  using T = typename TestType::Key;
  using E = hisa::Element<T>;
  constexpr std::size_t D = 18, B = 16;
  auto p = Problem<T>::random(5, 3, 12 * B, 17, D);
  auto const fill = [&](std::size_t block, float value) {
    for (std::size_t i = 0; i < B * D; ++i)
      p.k[block * B * D + i] = E::from_float(i % 3 == 2 ? -value : value);
  };
  p.k[2 * B * D + 40] = E::nan();
  if (!E::quantised)
    p.k[3 * B * D + 77] = E::from_float(inf);
  else
    p.k_scale[3 * B + 5] = NaN;
  fill(4, 0.0f);
  fill(5, 1.5f);
  fill(6, E::max_finite); // a sum or a variance that fp32 cannot hold, where T is wide
  fill(7, 1e-30f);
  if (E::quantised)
    for (std::size_t i = 0; i < B; ++i) {
      p.k_scale[8 * B + i] = 0x1p100f;
      p.k_scale[9 * B + i] = 0x1p-140f;
    }
  for (int parents : {1, 2})
    require_specified<Rule>(p, parents == 1 ? Setting{{{16, 5}}, 40}
                                            : Setting{{{64, 2}, {16, 5}}, 40});
  auto const rows = rows_of<Rule>(p, int(B));
  auto const row_is_nan = [&](std::size_t b) {
    std::size_t const size = std::size_t(Rule::rows) * D;
    return std::all_of(rows.values.begin() + std::ptrdiff_t(b * size),
                       rows.values.begin() + std::ptrdiff_t((b + 1) * size), [](auto x) {
                         return std::isnan(hisa::Element<typename TestType::Row>::to_float(x));
                       });
  };
  if constexpr (hisa::HeadRule<Rule>) { // a row rule's other parts stay
    REQUIRE(row_is_nan(2));
    REQUIRE(row_is_nan(3));
  }
  REQUIRE_FALSE(row_is_nan(4));
  REQUIRE(block_score<Rule>(p, rows, 0, 4) == 0); // zeros score nothing
  if constexpr (hisa::HeadRule<Rule>)
    REQUIRE(std::bit_cast<std::uint32_t>(block_score<Rule>(p, rows, 0, 2)) == 0); // +0
}

TEST_CASE("mean, max and sub-mean by hand") {
  auto const p = by_hand({1}, 1, {1, 2, 3, 10});
  REQUIRE(score_of<MeanPool>(p) == 4);
  REQUIRE(score_of<MaxPool>(p) == 10);
  REQUIRE(score_of<SubMeanPool<1>>(p) == 4);
  REQUIRE(score_of<SubMeanPool<2>>(p) == 6.5f);
  REQUIRE(score_of<SubMeanPool<4>>(p) == 10);
  REQUIRE(score_of<MaxPool>(by_hand({1}, 1, {-5, -2})) == 0); // relu of the largest, which is -2
  REQUIRE(score_of<MaxPool>(by_hand({-1}, 1, {-5, -2})) == 2);
}

TEST_CASE("moments by hand: a deviation towards the weight's sign") {
  // Keys 1, 5: mean 3, variance 4. q = 2: mu 6, sigma 4.
  REQUIRE(score_of<MomentsPool<1>>(by_hand({2}, 1, {1, 5})) == 10);
  REQUIRE(score_of<MomentsPool<1>>(by_hand({2}, -3, {1, 5})) == -6);
  REQUIRE(score_of<MomentsPool<1, 2>>(by_hand({2}, 1, {1, 5})) == 8);
  REQUIRE(score_of<MomentsPool<2>>(by_hand({2}, -1, {1, 5})) == 0); // relu(6 - 8)
  REQUIRE(score_of<MomentsPool<0>>(by_hand({2}, 5, {1, 5})) == 30); // the mean
  // Two dimensions: variances 4 and 16 make sigma^2 = 4 + 4 * 16 = 68.
  REQUIRE(score_of<MomentsPool<1>>(by_hand({1, 2}, 1, {1, 2, 5, 10})) ==
          Catch::Approx(3 + 12 + std::sqrt(68.0)));
}

TEST_CASE("the variance of keys far from zero loses nothing") {
  std::vector<float> k;
  for (int i = 0; i < 64; ++i)
    k.push_back(1000.0f + float(i % 2) * 0.25f);
  auto const rows = pool_reference<float, MomentsPool<1>>(by_hand({1}, 1, k), 64);
  REQUIRE(rows.values[0] == Catch::Approx(1000.125));
  REQUIRE(rows.values[1] == Catch::Approx(0.015625).epsilon(1e-5));
}

TEST_CASE("min-max by hand, and a bound of every key's score") {
  REQUIRE(score_of<MinMaxPool>(by_hand({1}, 2, {-3, 4})) == 8);
  REQUIRE(score_of<MinMaxPool>(by_hand({-1}, 2, {-3, 4})) == 6);
  REQUIRE(score_of<MinMaxPool>(by_hand({-1}, -2, {-3, 4})) == 0);
  REQUIRE(score_of<MinMaxPool>(by_hand({1, -1}, 1, {-3, 4, 2, 7})) ==
          -4 + 2 + 2); // relu at the end
  auto const p = Problem<e4m3fn>::random(6, 5, 256, 16, 32);
  auto const rows = pool_reference<e4m3fn, MinMaxPool>(p, 32);
  for (std::int64_t t = 0; t < p.M; ++t)
    for (std::int64_t i = 0; i < 256; ++i) {
      hisa::Visible v;
      v.query = t, v.end = 256;
      float const bound = block_score<MinMaxPool>(p, rows, t, i / 32);
      float const score =
          hisa::reference::score(p.queries(), t, p.keys().row(v, hisa::TokenIndex(i)));
      REQUIRE(score <= bound * 1.0001f);
    }
}

TEST_CASE("more heads than chains, and heads that do not fill them, are summed as scores are") {
  // Keys that are all alike have no variance: moments and min-max equal the key's own score where
  // weights are positive.
  for (int H : {1, 15, 16, 17, 40, 64}) {
    auto p = Problem<e4m3fn>::random(std::uint64_t(H), 2, 64, H, 24);
    for (std::size_t i = 24; i < p.k.size(); ++i)
      p.k[i] = p.k[i - 24];
    p.k_scale.assign(64, 1.0f);
    for (float& w : p.w)
      w = std::abs(w);
    hisa::Visible v;
    v.query = 1, v.end = 64;
    float const score =
        hisa::reference::score(p.queries(), 1, p.keys().row(v, hisa::TokenIndex(0)));
    auto const moments = pool_reference<e4m3fn, MomentsPool<1>>(p, 16);
    auto const minmax = pool_reference<e4m3fn, MinMaxPool>(p, 16);
    REQUIRE(block_score<MomentsPool<1>>(p, moments, 1, 2) == score);
    REQUIRE(block_score<MinMaxPool>(p, minmax, 1, 2) == score);
  }
}

TEST_CASE("the rules choose differently") {
  auto const p = Problem<float>::random(7, 4, 1029, 8, 24);
  Setting const setting = one_level(64);
  std::vector<std::vector<std::int32_t>> chosen;
  auto const add = [&]<class Rule>(Rule) {
    std::vector const levels{rows_of<Rule>(p, 64)};
    chosen.push_back(run<Rule>(p, setting, levels).indices);
  };
  add(MeanPool());
  add(MaxPool());
  add(SubMeanPool<4>());
  add(SubMeanPool<16>());
  add(MomentsPool<1>());
  add(MomentsPool<4>());
  add(MinMaxPool());
  for (std::size_t i = 0; i < chosen.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      REQUIRE(chosen[i] != chosen[j]);
}

TEST_CASE("what a rule cannot pool is refused with one sentence") {
  Exec const exec;
  hisa::Shape<> const shape{.max_queries = 1, .max_keys = 256, .heads = 2, .head_dim = 8};
  auto const refusal = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const hisa::precondition_error& error) {
      return error.what();
    }
    return "";
  };
  auto const said = [&](auto&& call, const std::string& part) {
    std::string const text = refusal(call);
    INFO(text);
    return text.find(part) != std::string::npos;
  };
  using hisa::Levels;
  auto const plan = [&]<class Rule, int B>() {
    hisa::make_plan<Levels<B>, Rule>(exec, shape, {.keep = {4}, .topk = 16});
  };
  CHECK(
      said([&] { plan.template operator()<SubMeanPool<3>, 16>(); }, "a multiple of the rule's 3"));
  CHECK(refusal([&] { plan.template operator()<SubMeanPool<3>, 24>(); }).empty());
  CHECK(refusal([&] { plan.template operator()<MomentsPool<1>, 17>(); }).empty()); // any block size

  auto const p = Problem<e4m3fn>::random(8, 1, 256, 2, 8);
  DeviceProblem<e4m3fn> const d(p);
  Device<float> const values(std::vector<float>(16 * 2 * 8));
  Device<std::int32_t> const length(Ints{256});
  hisa::PooledKeys<float> pooled{values.data(), nullptr, 16, 16, 8}; // no scales are asked for
  hisa::Sequences const sequences{1, nullptr, length.data()};
  auto const pool = [&] { hisa::pool_rebuild<MomentsPool<1>>(exec, d.keys, pooled, sequences); };
  CHECK(refusal(pool).empty());
  exec.fence();
  pooled.values = nullptr;
  CHECK(said(pool, "pooled.values"));
  pooled.values = values.data(), pooled.blocks = 15;
  CHECK(said(pool, "pooled.blocks"));
  pooled.blocks = 16, pooled.head_dim = 7;
  CHECK(said(pool, "pooled.head_dim"));
  pooled.head_dim = 8;

  auto const moments =
      hisa::make_plan<Levels<16>, MomentsPool<1>>(exec, shape, {.keep = {4}, .topk = 16});
  auto const workspace = make_workspace(moments.workspace_bytes());
  DeviceSelection const out(1, 16);
  pooled.values = nullptr;
  CHECK(said(
      [&] {
        moments(exec, d.queries, d.keys, pooled, d.ranges, out.view(),
                span(workspace, moments.workspace_bytes()));
      },
      "pooled.values"));
}
