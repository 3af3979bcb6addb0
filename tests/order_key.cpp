// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The order of candidates: descending score with one zero, NaN last, then ascending index.
#include <hisa/order_key.hpp>
#include <hisa/units.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace {

using hisa::order_key;
using hisa::precedes;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float denormal = std::numeric_limits<float>::denorm_min();

/// The order as the contract words it: 1 if a is better, -1 if b is, 0 if they are equal.
int compare(float a, float b) {
  if (std::isnan(a) || std::isnan(b))
    return int(std::isnan(b)) - int(std::isnan(a));
  return int(a > b) - int(a < b);
}

int compare_keys(float a, float b) {
  return int(order_key(a) > order_key(b)) - int(order_key(a) < order_key(b));
}

} // namespace

static_assert(hisa::nan_order_key == 0);
static_assert(order_key(0.0f) == order_key(-0.0f));
static_assert(order_key(std::numeric_limits<float>::quiet_NaN()) == hisa::nan_order_key);
static_assert(precedes(1.0f, 7, 0.5f, 3) && !precedes(0.5f, 3, 1.0f, 7));

TEST_CASE("keys descend with the scores, special ones included", "[order_key]") {
  std::vector<float> const descending{infinity,
                                      std::numeric_limits<float>::max(),
                                      65504.0f,
                                      std::nextafter(1.0f, 2.0f),
                                      1.0f,
                                      std::nextafter(1.0f, 0.0f),
                                      std::numeric_limits<float>::min(),
                                      std::nextafter(std::numeric_limits<float>::min(), 0.0f),
                                      2 * denormal,
                                      denormal,
                                      0.0f,
                                      -denormal,
                                      -2 * denormal,
                                      -std::numeric_limits<float>::min(),
                                      -1.0f,
                                      std::nextafter(-1.0f, -2.0f),
                                      -65504.0f,
                                      std::numeric_limits<float>::lowest(),
                                      -infinity,
                                      std::numeric_limits<float>::quiet_NaN()};
  for (std::size_t i = 1; i < descending.size(); ++i) {
    INFO(descending[i - 1] << " before " << descending[i]);
    CHECK(order_key(descending[i - 1]) > order_key(descending[i]));
  }
  CHECK(order_key(-0.0f) == order_key(0.0f));
  CHECK(order_key(-0.0f) > order_key(-denormal));
}

TEST_CASE("NaN of any sign and payload has the key that nothing else has", "[order_key]") {
  for (std::uint32_t const bits :
       {0x7f800001u, 0x7fbfffffu, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffc00000u, 0xffffffffu})
    CHECK(order_key(std::bit_cast<float>(bits)) == hisa::nan_order_key);
  for (std::uint32_t const bits :
       {0u, 0x80000000u, 1u, 0x80000001u, 0x7f7fffffu, 0xff7fffffu, 0x7f800000u, 0xff800000u})
    CHECK(order_key(std::bit_cast<float>(bits)) != hisa::nan_order_key);
}

TEST_CASE("keys of random bit patterns compare as the scores do", "[order_key]") {
  std::mt19937 random(4);
  std::uniform_int_distribution<std::uint32_t> anything;
  auto const check = [](std::uint32_t bits_a, std::uint32_t bits_b) {
    auto const a = std::bit_cast<float>(bits_a), b = std::bit_cast<float>(bits_b);
    if (compare_keys(a, b) != compare(a, b))
      FAIL(a << " (bits " << bits_a << ") and " << b << " (bits " << bits_b << ")");
  };
  for (int i = 0; i < 1'000'000; ++i) {
    std::uint32_t const bits = anything(random);
    check(bits, anything(random));
    check(bits, bits + 1); // neighbours, with a step over infinity and over both zeros now and then
    check(bits, bits ^ 0x80000000u);
  }
  for (std::uint32_t const edge : {0u, 0x7f800000u, 0x80000000u, 0xff800000u})
    for (std::uint32_t a = edge - 64; a != edge + 64; ++a)
      for (std::uint32_t b = edge - 64; b != edge + 64; ++b) {
        check(a, b);
        check(a, b ^ 0x80000000u);
      }
  SUCCEED();
}

TEST_CASE("equal scores go by ascending index", "[order_key]") {
  float const nan = std::numeric_limits<float>::quiet_NaN();
  for (float const score : {infinity, 1.0f, 0.0f, -1.0f, -infinity, nan}) {
    INFO("score " << score);
    CHECK(precedes(score, 3, score, 4));
    CHECK_FALSE(precedes(score, 4, score, 3));
    CHECK_FALSE(precedes(score, 3, score, 3));
  }
  CHECK(precedes(-0.0f, 3, 0.0f, 4));
  CHECK_FALSE(precedes(0.0f, 4, -0.0f, 3));
  CHECK(precedes(-infinity, 9, nan, 1));
  CHECK_FALSE(precedes(nan, 1, -infinity, 9));
  CHECK(precedes(nan, 1, -nan, 2));
}

TEST_CASE("indices of any type break ties", "[order_key]") {
  std::int64_t const far = std::int64_t(1) << 40;
  CHECK(precedes(1.0f, std::int64_t(2), 1.0f, far));
  CHECK_FALSE(precedes(1.0f, far, 1.0f, std::int64_t(2)));
  CHECK(precedes(1.0f, hisa::TokenIndex(2), 1.0f, hisa::TokenIndex(3)));
  CHECK_FALSE(precedes(1.0f, hisa::TokenIndex(3), 1.0f, hisa::TokenIndex(2)));
}

TEST_CASE("a sort by the order puts every score in its place", "[order_key]") {
  std::vector<float> scores;
  std::mt19937 random(5);
  std::uniform_int_distribution<int> value(-3, 3);
  for (int i = 0; i < 2000; ++i) {
    int const v = value(random);
    scores.push_back(v == 3 ? std::numeric_limits<float>::quiet_NaN() : v == 0 ? -0.0f : float(v));
    if (v == -3)
      scores.push_back(0.0f);
  }
  std::vector<std::size_t> by_order(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i)
    by_order[i] = i;
  auto stable = by_order;
  std::sort(by_order.begin(), by_order.end(),
            [&](std::size_t a, std::size_t b) { return precedes(scores[a], a, scores[b], b); });
  std::stable_sort(stable.begin(), stable.end(),
                   [&](std::size_t a, std::size_t b) { return compare(scores[a], scores[b]) > 0; });
  CHECK(by_order == stable);
}
