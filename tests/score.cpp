// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scores: hisa::score bit for bit against the specification, the specification within the
// contract's error bound of fp64, and the indexers' scores bit for bit those of hisa::score.
#include "support/paged.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <cmath>
#include <limits>

using namespace hisa_test;
using hisa::bf16, hisa::e4m3fn, hisa::e4m3fnuz, hisa::fp16;

namespace {

constexpr float untouched = -77.0f;

/// Logits [M, row_stride] that hisa::score writes, in a workspace for `group` queries at a time.
template <class T, class Keys, class Visibility>
std::vector<float> logits(const hisa::Queries<T>& queries, const Keys& keys,
                          const Visibility& visibility, std::int64_t row_stride,
                          std::size_t workspace_bytes) {
  auto const workspace = make_workspace(workspace_bytes);
  Device<float> const out(std::vector<float>(std::size_t(queries.count * row_stride), untouched));
  Exec const exec;
  hisa::score(exec, queries, keys, visibility, {out.data(), row_stride},
              span(workspace, workspace_bytes));
  exec.fence();
  return out.host();
}

template <class T>
std::vector<float> logits(const Problem<T>& p, std::int64_t row_stride = 0,
                          std::int64_t group = 64) {
  DeviceProblem<T> const d(p);
  return logits(d.queries, d.keys, d.ranges, row_stride == 0 ? p.N : row_stride,
                hisa::score_workspace_bytes(p.H, p.D, group));
}

/// The same from the specification, one key at a time.
template <class T>
std::vector<float> specified(const Problem<T>& p, std::int64_t row_stride = 0) {
  std::int64_t const stride = row_stride == 0 ? p.N : row_stride;
  std::vector<float> out(std::size_t(p.M * stride), untouched);
  for (std::int64_t t = 0; t < p.M; ++t) {
    hisa::Visible const v = p.ranges().visible(t, p.N);
    for (std::int64_t i = 0; i < v.count(); ++i)
      out[std::size_t(t * stride + i)] =
          hisa::reference::score(p.queries(), t, p.keys().row(v, hisa::TokenIndex(v.begin + i)));
  }
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_score);
}

/// |score - exact score| <= (D + H + 4) 2^-24 k_scale sum |w| sum |q k|, for every score.
template <class T>
bool within_bound(const Problem<T>& p, const std::vector<float>& scores) {
  double const eps = hisa::reference::tolerance(hisa::Arithmetic::precise, p.H, p.D);
  for (std::int64_t t = 0; t < p.M; ++t) {
    hisa::Visible const v = p.ranges().visible(t, p.N);
    for (std::int64_t i = 0; i < v.count(); ++i) {
      auto const key = p.keys().row(v, hisa::TokenIndex(v.begin + i));
      double const exact = hisa::reference::score<double>(p.queries(), t, key);
      double const bound = eps * hisa::reference::magnitude(p.queries(), t, key);
      if (!(std::abs(double(scores[std::size_t(t * p.N + i)]) - exact) <= bound))
        return false;
    }
  }
  return true;
}

template <class T>
void require_scores(const Problem<T>& p) {
  auto const scores = logits(p);
  INFO(hisa::Element<T>::name << ", H = " << p.H << ", D = " << p.D);
  bool const bits = same_bits(scores, specified(p)), bound = within_bound(p, scores);
  REQUIRE(bits);
  REQUIRE(bound);
}

} // namespace

TEMPLATE_TEST_CASE("any H and D: bit-equal to the specification and within the error bound", "",
                   float, bf16, e4m3fn) {
  for (int H : {1, 3, 8, 16, 17, 32, 64, 70, 128})
    for (int D : {1, 7, 32, 64, 128, 256, 300, 520})
      require_scores(Problem<TestType>::random(std::uint64_t(1000 * H + D), 2, 8, H, D));
}

TEMPLATE_TEST_CASE("further element types need nothing but their trait", "", fp16, e4m3fnuz) {
  for (auto [H, D] : {std::pair{1, 1}, {17, 7}, {64, 128}, {70, 300}, {3, 520}})
    require_scores(Problem<TestType>::random(std::uint64_t(1000 * H + D), 2, 8, H, D));
}

TEMPLATE_TEST_CASE("heads and dimensions one around the tile sizes", "", float, e4m3fn) {
  for (int H : {15, 31, 33, 48, 63, 65, 112, 127, 129})
    for (int D : {2, 255, 257})
      require_scores(Problem<TestType>::random(std::uint64_t(1000 * H + D), 1, 7, H, D));
}

TEMPLATE_TEST_CASE("any number of keys: tiles that are full, ragged, and shared by teams", "",
                   float, e4m3fn) {
  for (std::int64_t N = 1; N <= 26; ++N)
    require_scores(Problem<TestType>::random(std::uint64_t(N), 1, N, 5, 9));
  for (std::int64_t N : {255, 256, 257, 1000, 4099})
    require_scores(Problem<TestType>::random(std::uint64_t(N), 1, N, 3, 8));
}

TEMPLATE_TEST_CASE("element types that hold the same values give the same bits", "", bf16, fp16,
                   e4m3fn, e4m3fnuz) {
  auto const p = Problem<TestType>::random(31, 3, 50, 20, 48);
  Problem<float> wide; // scales kept: fp32 keys may carry them too
  wide.M = p.M, wide.N = p.N, wide.H = p.H, wide.D = p.D;
  wide.w = p.w, wide.k_scale = p.k_scale, wide.ks = p.ks, wide.ke = p.ke;
  for (TestType x : p.q)
    wide.q.push_back(hisa::Element<TestType>::to_float(x));
  for (TestType x : p.k)
    wide.k.push_back(hisa::Element<TestType>::to_float(x));
  REQUIRE(same_bits(logits(p), logits(wide)));
}

TEMPLATE_TEST_CASE("rows any distance apart; what lies between them is not read", "", float, bf16,
                   e4m3fn) {
  auto const p = Problem<TestType>::random(32, 3, 40, 6, 24);
  auto const expected = logits(p);
  for (std::int64_t stride : {24, 25, 32, 129}) {
    std::vector<TestType> spread(std::size_t(p.N * stride), hisa::Element<TestType>::nan());
    for (std::int64_t i = 0; i < p.N; ++i)
      std::copy_n(p.k.begin() + std::ptrdiff_t(i * p.D), p.D,
                  spread.begin() + std::ptrdiff_t(i * stride));
    spread.resize(std::size_t((p.N - 1) * stride + p.D)); // ends with the last row
    DeviceProblem<TestType> d(p);
    Device<TestType> const values(spread);
    d.keys.values = values.data();
    d.keys.row_stride = stride;
    REQUIRE(same_bits(
        logits(d.queries, d.keys, d.ranges, p.N, hisa::score_workspace_bytes(p.H, p.D)), expected));
  }
}

TEST_CASE("a workspace of any allowed size gives the same bits") {
  auto const p = Problem<e4m3fn>::random(33, 37, 90, 17, 40);
  auto const expected = specified(p);
  for (std::int64_t group : {1, 2, 3, 4, 7, 16, 36, 37, 38, 64, 1000}) {
    bool const equal = same_bits(logits(p, 0, group), expected);
    REQUIRE(equal);
  }
  DeviceProblem<e4m3fn> const d(p);
  std::size_t const least = hisa::score_workspace_bytes(p.H, p.D, 1);
  for (std::size_t extra : {8, 4096, 9000})
    REQUIRE(same_bits(logits(d.queries, d.keys, d.ranges, p.N, least + extra), expected));
  REQUIRE_THROWS_AS(logits(d.queries, d.keys, d.ranges, p.N, least - 8), hisa::precondition_error);
}

TEST_CASE("scores are counted from ks, and nothing beyond a query's keys is written") {
  auto p = Problem<float>::random(34, 8, 200, 4, 16);
  p.ks = {0, 10, 10, -50, 199, 150, 200, 120};
  p.ke = {200, 10, 11, 60, 200, 9999, 9999, 100};
  for (std::int64_t stride : {200, 203}) {
    auto const scores = logits(p, stride);
    REQUIRE(same_bits(scores, specified(p, stride)));
    auto const written = [&](std::size_t t) {
      return std::count_if(scores.begin() + std::ptrdiff_t(t) * stride,
                           scores.begin() + std::ptrdiff_t(t + 1) * stride,
                           [](float s) { return s != untouched; });
    };
    std::vector<std::ptrdiff_t> const counts{200, 0, 1, 60, 1, 50, 0, 0};
    for (std::size_t t = 0; t < 8; ++t)
      REQUIRE(written(t) == counts[t]);
  }
  p.anchor.assign(8, 0); // a grid changes nothing here
  REQUIRE(same_bits(logits(p), specified(p)));
}

TEMPLATE_TEST_CASE("paged keys have the scores of contiguous ones", "", float, bf16, e4m3fn) {
  PagedProblem<TestType> p(35, {100, 0, 1, 37}, 16, 9, 20, 2);
  p.shuffle_pages(36);
  p.poison_table();
  auto const queries = p.all_queries();
  Device<TestType> const q(queries.q);
  Device<float> const w(queries.w);
  Device<std::byte> const cache(p.pages());
  Device<std::int32_t> const table(p.table), lengths(p.lengths);
  auto const keys = p.keys(cache.data(), table.data());
  std::int64_t const stride = keys.capacity() + 5;
  auto const scores = logits(hisa::Queries<TestType>{q.data(), w.data(), queries.M, p.H, p.D}, keys,
                             hisa::Lengths{lengths.data(), p.batch, p.next_n}, stride,
                             hisa::score_workspace_bytes(p.H, p.D, 3));
  for (std::int64_t s = 0; s < p.batch; ++s) {
    const Problem<TestType>& alone = p.sequences[std::size_t(s)];
    auto const expected = specified(alone, stride);
    REQUIRE(std::equal(expected.begin(), expected.end(),
                       scores.begin() + std::ptrdiff_t(s * p.next_n * stride), same_score));
  }
}

TEMPLATE_TEST_CASE("the indexers' scores are those of hisa::score, bit for bit", "", float, bf16,
                   e4m3fn) {
  auto const p = Problem<TestType>::random(37, 5, 700, 17, 33);
  auto const scores = logits(p);
  std::vector<Setting> settings{
      {{}, 100}, {{}, 699}, {{}, 900}, {{{32, 9}}, 100}, {{{32, 4}}, 128}};
  settings.push_back({{{64, 5}, {16, 9}}, 50});
  settings.back().options.workspace_limit = 0; // one query at a time
  for (const Setting& setting : settings) {
    std::vector<Pooled<TestType>> pooled;
    for (auto [size, keep] : setting.levels)
      pooled.push_back(pool_reference(p, size));
    auto const result = run(p, setting, pooled);
    for (std::size_t at = 0; at < result.indices.size(); ++at) {
      std::size_t const t = at / std::size_t(setting.topk);
      if (result.indices[at] >= 0) {
        bool const equal =
            same_score(result.scores[at], scores[t * 700 + std::size_t(result.indices[at])]);
        REQUIRE(equal);
      }
    }
  }
}

TEST_CASE("a score depends on its query and key only, not on what else is in the call") {
  auto const p = Problem<e4m3fn>::random(38, 9, 300, 17, 40);
  auto const all = logits(p);
  for (std::size_t t : {0, 4, 8}) { // one query alone, seeing some of its keys only
    auto one = p;
    std::size_t const H = std::size_t(p.H), D = std::size_t(p.D);
    one.M = 1;
    one.q.assign(p.q.begin() + std::ptrdiff_t(t * H * D),
                 p.q.begin() + std::ptrdiff_t((t + 1) * H * D));
    one.w.assign(p.w.begin() + std::ptrdiff_t(t * H), p.w.begin() + std::ptrdiff_t((t + 1) * H));
    for (std::int32_t begin : {0, 1, 5, 111}) {
      one.ks = {begin}, one.ke = {begin + 100};
      auto const some = logits(one);
      REQUIRE(std::equal(some.begin(), some.begin() + 100,
                         all.begin() + std::ptrdiff_t(t * 300) + begin, same_score));
    }
  }
}

TEMPLATE_TEST_CASE("values beyond the range of fp16", "", float, bf16, e4m3fn) {
  auto p = Problem<TestType>::random(39, 2, 20, 16, 128);
  for (std::size_t i = 0; i < p.k.size(); ++i)
    p.k[i] = hisa::Element<TestType>::from_float(
        (i % 3 ? 1.0f : -1.0f) * (hisa::Element<TestType>::quantised ? 448.0f : 3.0e5f));
  for (std::size_t i = 0; i < p.q.size(); ++i)
    p.q[i] = hisa::Element<TestType>::from_float(
        (i % 5 ? 1.0f : -1.0f) * (hisa::Element<TestType>::quantised ? 448.0f : 7.0e5f));
  for (float& s : p.k_scale)
    s *= 1e10f;
  auto const scores = logits(p);
  REQUIRE(std::any_of(scores.begin(), scores.end(), [](float s) { return std::abs(s) > 65504; }));
  for (std::int64_t t = 0; t < p.M; ++t)
    for (std::int32_t i = 0; i < p.ke[std::size_t(t)]; ++i)
      REQUIRE(std::isfinite(scores[std::size_t(t * p.N + i)]));
  require_scores(p);
}

TEST_CASE("sums that fp32 cannot hold, and denormal ones, follow the specification's bits") {
  for (float size : {1e18f, 1e30f, 1e-20f, 1e-30f}) {
    auto p = Problem<float>::random(40, 3, 30, 17, 24);
    for (float& x : p.k)
      x *= size;
    for (float& w : p.w)
      w *= size;
    bool const equal = same_bits(logits(p), specified(p));
    REQUIRE(equal);
  }
}

TEMPLATE_TEST_CASE("NaN and infinities in keys, queries and weights", "", float, bf16, fp16) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  float const NaN = std::numeric_limits<float>::quiet_NaN();
  for (int H : {1, 16, 21}) {
    auto p = Problem<TestType>::random(41, 4, 60, H, 12);
    for (auto* values : {&p.k, &p.q})
      for (std::size_t i = 0; i < values->size(); i += 17)
        (*values)[i] = hisa::Element<TestType>::from_float(i % 3 == 0   ? NaN
                                                           : i % 3 == 1 ? inf
                                                                        : -inf);
    p.w[0] = NaN;
    p.w[std::size_t(H)] = inf;
    p.w[std::size_t(2 * H)] = -inf;
    auto const scores = logits(p);
    REQUIRE(same_bits(scores, specified(p)));
    for (std::int32_t i = 0; H == 1 && i < p.ke[0]; ++i)
      REQUIRE(std::isnan(scores[std::size_t(i)])); // NaN * 0 too
  }
}

TEMPLATE_TEST_CASE("a key of NaN scores +0; a NaN scale makes its score NaN", "", float, e4m3fn) {
  auto p = Problem<TestType>::random(42, 2, 20, 18, 8);
  p.k_scale.assign(20, 1.5f);
  for (std::size_t d = 0; d < 8; ++d)
    p.k[7 * 8 + d] = hisa::Element<TestType>::nan();
  p.k_scale[3] = std::numeric_limits<float>::quiet_NaN();
  p.ke = {20, 20};
  auto const scores = logits(p);
  for (std::size_t t = 0; t < 2; ++t) {
    REQUIRE(std::bit_cast<std::uint32_t>(scores[t * 20 + 7]) == 0);
    for (std::size_t i = 0; i < 20; ++i)
      REQUIRE(std::isnan(scores[t * 20 + i]) == (i == 3));
  }
}

TEST_CASE("zeros of either sign come out as specified for any number of heads") {
  // Negative weights on vanishing dot products: each chain underflows to -0, or stays +0.
  for (int H : {1, 15, 16, 17, 31, 32, 33, 64}) {
    auto p = Problem<float>::random(43, 1, 8, H, 4);
    p.q.assign(p.q.size(), 1.0f);
    for (std::size_t i = 0; i < p.k.size(); ++i)
      p.k[i] = i % 8 < 4 ? 1e-30f : -1e-30f;
    p.w.assign(p.w.size(), -1e-30f);
    p.ke = {8};
    INFO("H = " << H);
    bool const equal = same_bits(logits(p), specified(p));
    REQUIRE(equal);
  }
}

TEST_CASE("calls without queries, and queries without keys, write nothing") {
  auto p = Problem<float>::random(44, 3, 10, 2, 4);
  p.ks = {0, 5, 10}, p.ke = {0, 5, -1};
  for (float s : logits(p))
    REQUIRE(s == untouched);
  auto none = Problem<float>::random(45, 0, 10, 2, 4);
  REQUIRE(logits(none).empty());
}
