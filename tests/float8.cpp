// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The fp8 types against their definition, computed in double.
#include <hisa/element.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace {

using hisa::e4m3fn;
using hisa::e4m3fnuz;
using hisa::Element;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// What the definition of a type says of its codes.
template <class T>
struct Format;

template <>
struct Format<e4m3fn> {
  static constexpr int bias = 7;
  static constexpr unsigned largest = 0x7e; // 448
  static bool nan(unsigned code) { return code == 0x7f || code == 0xff; }
};

template <>
struct Format<e4m3fnuz> {
  static constexpr int bias = 8;
  static constexpr unsigned largest = 0x7f; // 240
  static bool nan(unsigned code) { return code == 0x80; }
};

template <class T>
double defined_value(unsigned code) {
  int const exponent = int(code >> 3 & 15), mantissa = int(code & 7);
  double const magnitude = exponent == 0 ? std::ldexp(mantissa, 1 - Format<T>::bias - 3)
                                         : std::ldexp(8 + mantissa, exponent - Format<T>::bias - 3);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

/// The code of a number that rounds to +-`magnitude`, a code.
template <class T>
unsigned with_sign(unsigned magnitude, bool negative) {
  bool const no_negative_zero = std::is_same_v<T, e4m3fnuz> && magnitude == 0;
  return magnitude | (negative && !no_negative_zero ? 0x80u : 0u);
}

/// The nearest code by search among all values, ties to even, saturating.
template <class T>
unsigned nearest(double x) {
  static std::vector<double> const values = [] {
    std::vector<double> v;
    for (unsigned c = 0; c <= Format<T>::largest; ++c)
      v.push_back(defined_value<T>(c));
    return v;
  }();
  double const magnitude = std::abs(x);
  auto const above = std::lower_bound(values.begin(), values.end(), magnitude);
  auto code = static_cast<unsigned>(above - values.begin());
  if (above == values.end())
    code = Format<T>::largest;
  else if (code > 0) {
    double const up = *above - magnitude, down = magnitude - *(above - 1);
    if (down < up || (down == up && code % 2 == 1))
      --code;
  }
  return with_sign<T>(code, std::signbit(x));
}

template <class T>
T from_code(unsigned code) {
  return {static_cast<std::uint8_t>(code)};
}

std::uint32_t bits_of(float x) {
  return std::bit_cast<std::uint32_t>(x);
}

/// Fails at the first code that does not convert to its value.
template <class T>
void check_values() {
  for (unsigned code = 0; code < 256; ++code) {
    float const found = Element<T>::to_float(from_code<T>(code));
    INFO("code " << code << " gave " << found);
    if (Format<T>::nan(code)) {
      if ((bits_of(found) & 0x7fffffffu) <= 0x7f800000u)
        FAIL("expected NaN");
    } else if (bits_of(found) != bits_of(static_cast<float>(defined_value<T>(code)))) {
      FAIL("expected " << defined_value<T>(code));
    }
  }
  SUCCEED();
}

/// Fails if `x` does not round to `expected`.
template <class T>
void check_rounds(float x, unsigned expected) {
  unsigned const found = Element<T>::from_float(x).bits;
  if (found != expected)
    FAIL(x << " (fp32 bits " << bits_of(x) << ") gave code " << found << ", expected " << expected);
}

} // namespace

static_assert(sizeof(e4m3fn) == 1 && sizeof(e4m3fnuz) == 1);
static_assert(std::is_trivial_v<e4m3fn> && std::is_standard_layout_v<e4m3fn>);
static_assert(std::is_trivial_v<e4m3fnuz> && std::is_standard_layout_v<e4m3fnuz>);
static_assert(!std::is_same_v<e4m3fn, e4m3fnuz> && !std::is_convertible_v<e4m3fn, e4m3fnuz>);
static_assert(hisa::ElementType<e4m3fn> && hisa::ElementType<e4m3fnuz>);
static_assert(!hisa::ElementType<std::uint8_t>);

// Usable in constant expressions, both ways.
static_assert(hisa::to_float(e4m3fn{0x7e}) == 448.0f);
static_assert(hisa::to_float(e4m3fn{0x81}) == -0x1p-9f);
static_assert(hisa::e4m3fn_from_float(1.0f).bits == 0x38);
static_assert(hisa::to_float(e4m3fnuz{0x7f}) == 240.0f);
static_assert(hisa::to_float(e4m3fnuz{0x81}) == -0x1p-10f);
static_assert(hisa::e4m3fnuz_from_float(1.0f).bits == 0x40);
static_assert(hisa::e4m3fn_from_float(std::numeric_limits<float>::quiet_NaN()).bits == 0x7f);

TEST_CASE("e4m3fn has the values written in the OCP specification", "[float8]") {
  struct Row {
    unsigned code;
    float value;
  };
  constexpr std::array<Row, 20> rows{{
      {0x00, 0.0f},      {0x01, 0.001953125f}, {0x02, 0.00390625f}, {0x07, 0.013671875f},
      {0x08, 0.015625f}, {0x09, 0.017578125f}, {0x10, 0.03125f},    {0x30, 0.5f},
      {0x38, 1.0f},      {0x39, 1.125f},       {0x3f, 1.875f},      {0x40, 2.0f},
      {0x45, 3.25f},     {0x77, 240.0f},       {0x78, 256.0f},      {0x7d, 416.0f},
      {0x7e, 448.0f},    {0xb8, -1.0f},        {0xfe, -448.0f},     {0x81, -0.001953125f},
  }};
  for (Row const& row : rows) {
    INFO("code " << row.code);
    CHECK(hisa::to_float(from_code<e4m3fn>(row.code)) == row.value);
    CHECK(hisa::e4m3fn_from_float(row.value).bits == row.code);
  }
  CHECK(std::signbit(hisa::to_float(e4m3fn{0x80})));
  CHECK(std::isnan(hisa::to_float(e4m3fn{0x7f})));
  CHECK(std::isnan(hisa::to_float(e4m3fn{0xff})));
}

TEMPLATE_TEST_CASE("every fp8 code converts to its value", "[float8]", e4m3fn, e4m3fnuz) {
  check_values<TestType>();
}

TEMPLATE_TEST_CASE("every fp8 code survives the way to fp32 and back", "[float8]", e4m3fn,
                   e4m3fnuz) {
  for (unsigned code = 0; code < 256; ++code) {
    INFO("code " << code);
    unsigned const back =
        Element<TestType>::from_float(Element<TestType>::to_float(from_code<TestType>(code))).bits;
    CHECK(Format<TestType>::nan(back) == Format<TestType>::nan(code));
    if (!Format<TestType>::nan(code))
      CHECK(back == code);
  }
}

TEMPLATE_TEST_CASE("fp8 rounds to nearest even at every midpoint", "[float8]", e4m3fn, e4m3fnuz) {
  using F = Format<TestType>;
  for (bool const negative : {false, true}) {
    float const sign = negative ? -1.0f : 1.0f;
    for (unsigned code = 0; code < F::largest; ++code) {
      auto const midpoint = static_cast<float>(
          (defined_value<TestType>(code) + defined_value<TestType>(code + 1)) / 2);
      unsigned const even = code + code % 2;
      check_rounds<TestType>(sign * midpoint, with_sign<TestType>(even, negative));
      check_rounds<TestType>(sign * std::nextafter(midpoint, 0.0f),
                             with_sign<TestType>(code, negative));
      check_rounds<TestType>(sign * std::nextafter(midpoint, infinity),
                             with_sign<TestType>(code + 1, negative));
      // One ulp beside a value is still that value.
      auto const value = static_cast<float>(defined_value<TestType>(code + 1));
      check_rounds<TestType>(sign * std::nextafter(value, 0.0f),
                             with_sign<TestType>(code + 1, negative));
      check_rounds<TestType>(sign * std::nextafter(value, infinity),
                             with_sign<TestType>(code + 1, negative));
    }
  }
  SUCCEED();
}

TEMPLATE_TEST_CASE("fp8 saturates", "[float8]", e4m3fn, e4m3fnuz) {
  using F = Format<TestType>;
  float const largest = Element<TestType>::max_finite;
  CHECK(largest == defined_value<TestType>(F::largest));
  auto const spacing = static_cast<float>(defined_value<TestType>(F::largest) -
                                          defined_value<TestType>(F::largest - 1));
  float const midpoint = largest + spacing / 2; // where a further code would begin to be nearer
  for (float const beyond :
       {std::nextafter(largest, infinity), std::nextafter(midpoint, 0.0f), midpoint,
        std::nextafter(midpoint, infinity), largest + spacing, 2 * largest, 65536.0f, 1e30f,
        std::numeric_limits<float>::max(), infinity}) {
    INFO("magnitude " << beyond);
    CHECK(Element<TestType>::from_float(beyond).bits == F::largest);
    CHECK(Element<TestType>::from_float(-beyond).bits == (F::largest | 0x80u));
  }
}

TEMPLATE_TEST_CASE("tiny numbers become an fp8 zero", "[float8]", e4m3fn, e4m3fnuz) {
  auto const half_least = static_cast<float>(defined_value<TestType>(1) / 2);
  for (float const tiny :
       {0.0f, std::numeric_limits<float>::denorm_min(), 0x1.234p-130f, 0x1.fffffcp-127f,
        std::numeric_limits<float>::min(), 1e-20f, half_least / 2, half_least}) {
    INFO("magnitude " << tiny);
    CHECK(Element<TestType>::from_float(tiny).bits == 0);
    CHECK(Element<TestType>::from_float(-tiny).bits == with_sign<TestType>(0, true));
  }
  CHECK(Element<TestType>::from_float(std::nextafter(half_least, 1.0f)).bits == 1);
}

TEMPLATE_TEST_CASE("fp8 keeps NaN", "[float8]", e4m3fn, e4m3fnuz) {
  for (std::uint32_t const bits : {0x7f800001u, 0x7f900000u, 0x7fbfffffu, 0x7fc00000u, 0x7fffffffu})
    for (std::uint32_t const sign : {0u, 0x80000000u}) {
      INFO("fp32 bits " << (bits | sign));
      CHECK(Format<TestType>::nan(
          Element<TestType>::from_float(std::bit_cast<float>(bits | sign)).bits));
    }
  CHECK(Format<TestType>::nan(Element<TestType>::nan().bits));
  for (unsigned code = 0; code < 256; ++code)
    CHECK(Element<TestType>::is_finite(from_code<TestType>(code)) == !Format<TestType>::nan(code));
}

TEMPLATE_TEST_CASE("random numbers go to the nearest fp8 code", "[float8]", e4m3fn, e4m3fnuz) {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::uint32_t> anything;
  std::uniform_int_distribution<std::uint32_t> near(bits_of(0x1p-14f), bits_of(1024.0f));
  for (int i = 0; i < 1'000'000; ++i) {
    std::uint32_t const bits =
        i % 2 == 0 ? anything(random) : near(random) | (anything(random) & 0x80000000u);
    auto const x = std::bit_cast<float>(bits);
    if (!std::isnan(x))
      check_rounds<TestType>(x, nearest<TestType>(double(x)));
  }
  SUCCEED();
}

#if defined(__SSE2__)
TEMPLATE_TEST_CASE("fp8 conversions do not notice flushed denormals", "[float8]", e4m3fn,
                   e4m3fnuz) {
  struct FlushDenormals {
    unsigned const before = _mm_getcsr();
    FlushDenormals() { _mm_setcsr(before | 0x8040u); } // FTZ, DAZ
    ~FlushDenormals() { _mm_setcsr(before); }
  };
  std::array<std::uint32_t, 256> found{};
  std::array<float, 256> values{};
  for (unsigned code = 0; code < 256; ++code)
    values[code] = static_cast<float>(defined_value<TestType>(code));
  std::array<unsigned, 256> back{};
  {
    FlushDenormals const guard;
    for (unsigned code = 0; code < 256; ++code) {
      found[code] = bits_of(Element<TestType>::to_float(from_code<TestType>(code)));
      back[code] = Element<TestType>::from_float(values[code]).bits;
    }
  }
  for (unsigned code = 0; code < 256; ++code) {
    INFO("code " << code);
    if (Format<TestType>::nan(code))
      continue;
    CHECK(found[code] == bits_of(values[code]));
    CHECK(back[code] == code);
  }
}
#endif
