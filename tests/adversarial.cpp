// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Flat and hierarchical plans on adversarial data: keys are made so that their scores are given
// numbers, and the selection must be what a sort by the words of the contract gives, and what the
// reference gives.
#include "support/paged.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <cmath>
#include <limits>
#include <string>

using namespace hisa_test;
using hisa::Boundary, hisa::e4m3fn;

namespace {

constexpr float NaN = std::numeric_limits<float>::quiet_NaN();
constexpr float inf = std::numeric_limits<float>::infinity();
constexpr int head_dim = 4;

using Scores = std::vector<float>;
using Ints = std::vector<std::int32_t>;

/// Scores of the keys of a buffer, and the k with which they are hard.
struct DataSet {
  std::string name;
  Scores scores;
  std::vector<int> topk;
};

/// A problem in which key s has exactly the score scores[s] for query 0, its negative for query 1
/// (a zero keeps its sign), and that of query 0 for the queries 2 .. 4, which see a part of the
/// keys.
///
/// Two heads look along the same dimension in opposite directions, with weights of opposite signs.
template <class T>
Problem<T> planted(const Scores& scores) {
  auto const n = std::int32_t(scores.size());
  Problem<T> p;
  p.M = 5, p.N = n, p.H = 2, p.D = head_dim;
  auto const element = [](float x) { return hisa::Element<T>::from_float(x); };
  p.q.assign(std::size_t(p.M * p.H * p.D), element(0));
  for (std::int64_t t = 0; t < p.M; ++t) {
    p.q[std::size_t(t * 2 * head_dim)] = element(1);
    p.q[std::size_t((t * 2 + 1) * head_dim)] = element(-1);
    float const sign = t == 1 ? -1.0f : 1.0f;
    p.w.push_back(sign), p.w.push_back(-sign);
  }
  // Fp32 holds the score itself, unless it is NaN or -0; else the scale holds it.
  bool const by_scale =
      hisa::Element<T>::quantised || std::any_of(scores.begin(), scores.end(), [](float s) {
        return std::isnan(s) || (s == 0 && std::signbit(s));
      });
  p.k.assign(scores.size() * head_dim, element(0));
  for (std::size_t i = 0; i < scores.size(); ++i) {
    float const s = scores[i], direction = std::signbit(s) ? -1.0f : 1.0f;
    T& value = p.k[i * head_dim];
    if (!by_scale)
      value = element(s);
    else if (s == 0) // -0 is a negative scale times nothing
      p.k_scale.push_back(direction);
    else
      value = element(direction), p.k_scale.push_back(std::abs(s));
  }
  p.ks = {0, 0, n / 3, 0, n / 2};
  p.ke = {n, n, n - n / 7, n / 2, n / 2};
  p.anchor.assign(5, 0);
  return p;
}

float seen_by(std::size_t query, float score) {
  return query == 1 && score != 0 ? -score : score;
}

/// True when candidate i comes before candidate j.
bool better(float a, std::int32_t i, float b, std::int32_t j) {
  if (std::isnan(a) != std::isnan(b))
    return std::isnan(b);
  if (!std::isnan(a) && a != b) // -0 == +0
    return a > b;
  return i < j;
}

/// What a flat call must select, relative to ks, from the planted scores alone.
template <class T>
hisa::reference::Result expected_flat(const Problem<T>& p, const Scores& scores, int topk) {
  hisa::reference::Result result;
  result.topk = topk;
  for (std::size_t t = 0; t < std::size_t(p.M); ++t) {
    Ints tokens;
    for (std::int32_t s = p.ks[t]; s < p.ke[t]; ++s)
      tokens.push_back(s);
    auto const score = [&](std::int32_t s) { return seen_by(t, scores[std::size_t(s)]); };
    std::sort(tokens.begin(), tokens.end(),
              [&](std::int32_t a, std::int32_t b) { return better(score(a), a, score(b), b); });
    tokens.resize(std::min(tokens.size(), std::size_t(topk)));
    std::sort(tokens.begin(), tokens.end());
    result.counts.push_back(std::int32_t(tokens.size()));
    for (std::size_t i = 0; i < std::size_t(topk); ++i) {
      bool const present = i < tokens.size();
      result.indices.push_back(present ? tokens[i] - p.ks[t] : -1);
      result.scores.push_back(present ? score(tokens[i]) : -inf);
    }
  }
  return result;
}

/// Flat and one- and two-level plans on one data set.
template <class T>
void require_exact(const DataSet& data) {
  auto const p = planted<T>(data.scores);
  std::vector<Pooled<T>> const pooled{pool_reference(p, 64), pool_reference(p, 16)};
  int const blocks = int((p.N + 63) / 64);
  for (int topk : data.topk) {
    INFO(data.name << ", n = " << p.N << ", k = " << topk);
    bool const flat = same(run(p, Setting{{}, topk}), expected_flat(p, data.scores, topk));
    REQUIRE(flat);
    for (int keep :
         p.N > 8000 ? std::vector{3, blocks / 2} : std::vector{1, 2, 3, blocks / 2, blocks})
      for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none}) {
        if (keep < 1)
          continue;
        Setting one{{{64, keep}}, std::min(topk, 64 * keep)};
        Setting two{{{64, keep}, {16, 2 * keep}}, std::min(topk, 32 * keep)};
        one.options.boundary = two.options.boundary = boundary;
        INFO("m = " << keep << ", boundary option " << int(boundary));
        bool const first = same(run(p, one, {pooled[0]}), run_reference(p, one, {pooled[0]}));
        bool const second = same(run(p, two, pooled), run_reference(p, two, pooled));
        REQUIRE(first);
        REQUIRE(second);
      }
  }
}

template <class T>
void require_exact(const std::vector<DataSet>& all) {
  for (const DataSet& data : all)
    require_exact<T>(data);
}

float with_low_bits(float upper, std::uint32_t low) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(upper) | low);
}

} // namespace

TEMPLATE_TEST_CASE("all equal: the lowest tokens of the lowest blocks", "", float, e4m3fn) {
  std::vector<DataSet> all;
  for (float value : {1.0f, 0.0f, -2.5f})
    all.push_back({"all " + std::to_string(value), Scores(3000, value), {1, 63, 512, 2999}});
  require_exact<TestType>(all);
}

TEMPLATE_TEST_CASE("a plateau of zeros at the boundary (sglang 31115, 35257)", "", float, e4m3fn) {
  Random random(91);
  Scores few(4096, 0.0f), signed_few(4096, 0.0f);
  for (int i = 0; i < 300; ++i) {
    few[random() % 4096] = 1.0f + float(random() % 8);
    signed_few[random() % 4096] = float(int(random() % 9) - 4);
  }
  require_exact<TestType>({{"ReLU zeros", few, {299, 301, 1024}},
                           {"zeros among both signs", signed_few, {101, 1024, 3900}}});
}

TEMPLATE_TEST_CASE("a plateau of zeros that the ReLU itself makes", "", float, e4m3fn) {
  auto p = Problem<TestType>::random(92, 4, 3000, 3, 8);
  for (float& w : p.w)
    w = std::abs(w);
  for (std::size_t i = 0; i < p.q.size(); ++i) // queries point one way, most keys the other
    p.q[i] = hisa::Element<TestType>::from_float(1.0f);
  for (std::size_t i = 0; i < p.k.size(); ++i)
    if (i / 8 % 10)
      p.k[i] =
          hisa::Element<TestType>::from_float(-std::abs(hisa::Element<TestType>::to_float(p.k[i])));
  for (int topk : {100, 301, 1024}) {
    auto const flat = run(p, Setting{{}, topk});
    REQUIRE(same(flat, run_reference(p, Setting{{}, topk})));
    REQUIRE((topk < 301 || std::count(flat.scores.begin(), flat.scores.end(), 0.0f) > 0));
    Setting const setting{{{64, 17}}, topk};
    std::vector<Pooled<TestType>> const pooled{pool_reference(p, 64)};
    REQUIRE(same(run(p, setting, pooled), run_reference(p, setting, pooled)));
  }
}

TEMPLATE_TEST_CASE("plus and minus zero mixed are one plateau", "", float, e4m3fn) {
  Random random(93);
  Scores mixed, sorted(1000, -0.0f);
  for (int i = 0; i < 2000; ++i)
    mixed.push_back(random() % 2 ? 0.0f : -0.0f);
  sorted.resize(2000, 0.0f);
  require_exact<TestType>({{"mixed", mixed, {1, 777, 1999}}, {"-0 first", sorted, {1, 999, 1500}}});
}

TEMPLATE_TEST_CASE("rows of -inf, and of +inf", "", float, e4m3fn) {
  Scores all(1500, -inf), some(1500, -inf);
  for (std::size_t i = 0; i < 1500; i += 5)
    some[i] = i % 2 ? inf : -float(i);
  require_exact<TestType>({{"all", all, {1, 200, 1499}}, {"some", some, {1, 151, 299, 301, 700}}});
}

TEMPLATE_TEST_CASE("NaN scales: last of all, never more than there is room for (vllm 49896)", "",
                   float, e4m3fn) {
  Random random(94);
  Scores some, most(1500, NaN), none(1500, NaN);
  for (int i = 0; i < 1500; ++i)
    some.push_back(random() % 3 ? float(int(random() % 50) - 25) : random() % 2 ? NaN : -inf);
  for (std::size_t i = 0; i < 40; ++i)
    most[random() % 1500] = -float(i);
  require_exact<TestType>({{"some", some, {1, 500, 1001, 1400}},
                           {"most", most, {3, 64, 200}},
                           {"none", none, {1, 64, 1000}}});
}

TEMPLATE_TEST_CASE("values beyond the range of fp16, and denormal ones", "", float, e4m3fn) {
  Random random(95);
  Scores large, denormal;
  for (int i = 0; i < 2000; ++i) {
    large.push_back((random() % 2 ? 1.0f : -1.0f) *
                    std::ldexp(1.0f + float(random() % 1000) * 1e-3f, int(random() % 108) + 16));
    denormal.push_back(with_low_bits(random() % 2 ? 0.0f : -0.0f, std::uint32_t(random() % 700)));
  }
  require_exact<TestType>(
      {{"large", large, {1, 301, 1024}}, {"denormal", denormal, {1, 999, 1024}}});
}

TEMPLATE_TEST_CASE("16384 and 16385 scores in one bin (vllm 51782, 52149; flashinfer 2604)", "",
                   float, e4m3fn) {
  Random random(96);
  for (std::size_t n : {16384, 16385}) {
    Scores half, byte, bit;
    for (std::size_t i = 0; i < n; ++i) {
      half.push_back(with_low_bits(1.0f, std::uint32_t(random()) & 0xffffu));
      byte.push_back(with_low_bits(-3.0f, std::uint32_t(random()) & 0xffu));
      bit.push_back(with_low_bits(1e20f, std::uint32_t(random()) & 1u));
    }
    require_exact<TestType>({{"16 bits", half, {2048}},
                             {"8 bits", byte, {2048}},
                             {"1 bit", bit, {2048}},
                             {"equal", Scores(n, 1.5f), {2048}}});
  }
}

TEMPLATE_TEST_CASE("16384 and 16385 blocks in one bin", "", float, e4m3fn) {
  for (std::int64_t blocks : {16384, 16385}) {
    auto const p = planted<TestType>(Scores(std::size_t(blocks * 2), 1.0f));
    std::vector<Pooled<TestType>> const pooled{pool_reference(p, 2)};
    Setting const setting{{{2, 5000}}, 9999};
    auto const result = run(p, setting, pooled);
    REQUIRE(same(result, run_reference(p, setting, pooled)));
    for (std::int32_t i = 0; i < 9998; ++i) // the lowest blocks and the last one
      REQUIRE(result.indices[std::size_t(i)] == i);
    REQUIRE(result.indices[9998] == std::int32_t(blocks * 2 - 2));
  }
}

TEMPLATE_TEST_CASE("exactly k and k + 1 equal at the threshold", "", float, e4m3fn) {
  int const k = 200;
  std::vector<DataSet> all;
  for (float threshold : {1.0f, 0.0f, -1.0f})
    for (int above : {0, 70, k - 1})
      for (int equal : {k - above, k - above + 1}) {
        Scores scores(100, -5.0f);
        scores.resize(std::size_t(100 + equal), threshold);
        scores.resize(std::size_t(100 + equal + above), 7.0f);
        scores.resize(700, -6.0f);
        all.push_back({std::to_string(above) + " above " + std::to_string(threshold), scores, {k}});
      }
  require_exact<TestType>(all);
}

TEMPLATE_TEST_CASE("n = k - 1, k, k + 1, 2k, and in between (vllm 50576)", "", float, e4m3fn) {
  Random random(97);
  std::vector<DataSet> all;
  for (int k : {64, 301})
    for (int n : {k - 1, k, k + 1, k + k / 2, 2 * k - 1, 2 * k, 2 * k + 1}) {
      Scores scores;
      for (int i = 0; i < n; ++i)
        scores.push_back(float(int(random() % 40) - 20));
      all.push_back({"sweep", scores, {k}});
    }
  require_exact<TestType>(all);
}

TEMPLATE_TEST_CASE("winners that arrive after 4096 losers (sglang 36807, 37893, 38144)", "", float,
                   e4m3fn) {
  Scores ascending;
  for (std::uint32_t i = 0; i < 10000; ++i)
    ascending.push_back(with_low_bits(1.0f, i << 4));
  Scores descending(ascending.rbegin(), ascending.rend());
  require_exact<TestType>(
      {{"ascending", ascending, {512, 2048, 4097}}, {"descending", descending, {2048}}});
}

TEST_CASE("paged keys: plateaus, NaN scales, one bin") {
  Random random(98);
  Scores plateau(3000, 0.0f), with_nan, bin;
  for (int i = 0; i < 3000; ++i) {
    if (random() % 20 == 0)
      plateau[std::size_t(i)] = float(random() % 5);
    with_nan.push_back(random() % 3 ? float(random() % 9) : NaN);
    bin.push_back(with_low_bits(1.0f, std::uint32_t(random()) & 0xffffu));
  }
  for (const Scores& scores : {plateau, with_nan, bin}) {
    auto keys = planted<e4m3fn>(scores);
    PagedProblem<e4m3fn> p(99, {3000, 77}, 64, 2, head_dim, 1);
    keys.M = 1;
    p.sequences[0].k = keys.k, p.sequences[0].k_scale = keys.k_scale;
    for (auto& sequence : p.sequences) {
      sequence.q.assign(keys.q.begin(), keys.q.begin() + 2 * head_dim);
      sequence.w.assign(keys.w.begin(), keys.w.begin() + 2);
    }
    p.shuffle_pages(100);
    p.poison_table();
    for (int topk : {1, 301, 1024}) {
      auto const flat = p.run(Setting{{}, topk});
      REQUIRE(same(flat, p.run_reference(Setting{{}, topk})));
      keys.ks = {0}, keys.ke = {3000};
      auto const expected = expected_flat(keys, scores, topk);
      REQUIRE(std::equal(expected.indices.begin(), expected.indices.end(), flat.indices.begin()));
      for (int size : {16, 64, 128}) {
        Setting const setting{{{size, 2048 / size}}, topk};
        REQUIRE(same(p.run(setting), p.run_reference(setting)));
      }
    }
  }
}
