// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// bf16 and fp16 against their definition, computed in double, and against the compiler's own type.
#include <hisa/element.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
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

using hisa::bf16;
using hisa::Element;
using hisa::fp16;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// What the definition of a type says of its codes.
template <class T>
struct Format;

template <>
struct Format<bf16> {
  static constexpr int mantissa_bits = 7, bias = 127;
  static constexpr unsigned infinity = 0x7f80, quiet = 0x0040;
};

template <>
struct Format<fp16> {
  static constexpr int mantissa_bits = 10, bias = 15;
  static constexpr unsigned infinity = 0x7c00, quiet = 0x0200;
};

template <class T>
bool is_nan(unsigned code) {
  return (code & 0x7fffu) > Format<T>::infinity;
}

/// The value of a code; that of infinity is where the next binade would begin.
template <class T>
double defined_value(unsigned code) {
  constexpr int width = Format<T>::mantissa_bits, bias = Format<T>::bias;
  int const exponent = int((code & 0x7fffu) >> width), mantissa = int(code & ((1u << width) - 1));
  double const magnitude = exponent == 0
                               ? std::ldexp(mantissa, 1 - bias - width)
                               : std::ldexp((1 << width) + mantissa, exponent - bias - width);
  return (code & 0x8000u) != 0 ? -magnitude : magnitude;
}

/// The nearest code by search among all values, ties to even, from the middle to infinity on
/// infinity.
template <class T>
unsigned nearest(double x) {
  static std::vector<double> const values = [] {
    std::vector<double> v;
    for (unsigned c = 0; c <= Format<T>::infinity; ++c)
      v.push_back(defined_value<T>(c));
    return v;
  }();
  double const magnitude = std::abs(x);
  auto const above = std::lower_bound(values.begin(), values.end(), magnitude);
  auto code = static_cast<unsigned>(above - values.begin());
  if (above == values.end())
    code = Format<T>::infinity;
  else if (code > 0) {
    double const up = *above - magnitude, down = magnitude - *(above - 1);
    if (down < up || (down == up && code % 2 == 1))
      --code;
  }
  return code | (std::signbit(x) ? 0x8000u : 0u);
}

template <class T>
T from_code(unsigned code) {
  return {static_cast<std::uint16_t>(code)};
}

std::uint32_t bits_of(float x) {
  return std::bit_cast<std::uint32_t>(x);
}

/// Fails if `x` does not round to `expected`.
template <class T>
void check_rounds(float x, unsigned expected) {
  unsigned const found = Element<T>::from_float(x).bits;
  if (found != expected)
    FAIL(x << " (fp32 bits " << bits_of(x) << ") gave code " << found << ", expected " << expected);
}

} // namespace

static_assert(sizeof(bf16) == 2 && sizeof(fp16) == 2 && alignof(bf16) == 2 && alignof(fp16) == 2);
static_assert(std::is_trivial_v<bf16> && std::is_standard_layout_v<bf16>);
static_assert(std::is_trivial_v<fp16> && std::is_standard_layout_v<fp16>);
static_assert(!std::is_same_v<bf16, fp16> && !std::is_convertible_v<bf16, fp16>);
static_assert(hisa::ElementType<bf16> && hisa::ElementType<fp16> && hisa::ElementType<float>);
static_assert(!hisa::ElementType<std::uint16_t> && !hisa::ElementType<double>);

// Usable in constant expressions, both ways.
static_assert(hisa::to_float(bf16{0x3f80}) == 1.0f && hisa::to_float(bf16{0xc040}) == -3.0f);
static_assert(hisa::to_float(fp16{0x3c00}) == 1.0f && hisa::to_float(fp16{0x8001}) == -0x1p-24f);
static_assert(hisa::bf16_from_float(0x1.01p0f).bits == 0x3f80);
static_assert(hisa::fp16_from_float(65504.0f).bits == 0x7bff);
static_assert(hisa::fp16_from_float(std::numeric_limits<float>::infinity()).bits == 0x7c00);
static_assert(hisa::bf16_from_float(std::numeric_limits<float>::quiet_NaN()).bits == 0x7fc0);

TEMPLATE_TEST_CASE("every 16-bit code converts to its value", "[float16]", bf16, fp16) {
  for (unsigned code = 0; code < 65536; ++code) {
    float const found = Element<TestType>::to_float(from_code<TestType>(code));
    std::uint32_t const sign = (code & 0x8000u) << 16;
    INFO("code " << code << " gave " << found);
    if (is_nan<TestType>(code)) {
      if ((bits_of(found) & 0x7fffffffu) <= 0x7f800000u || (bits_of(found) & 0x80000000u) != sign)
        FAIL("expected NaN with its sign");
    } else if ((code & 0x7fffu) == Format<TestType>::infinity) {
      if (bits_of(found) != (sign | 0x7f800000u))
        FAIL("expected infinity");
    } else if (bits_of(found) != bits_of(static_cast<float>(defined_value<TestType>(code)))) {
      FAIL("expected " << defined_value<TestType>(code));
    }
  }
  SUCCEED();
}

TEMPLATE_TEST_CASE("every 16-bit code survives the way to fp32 and back", "[float16]", bf16, fp16) {
  for (unsigned code = 0; code < 65536; ++code) {
    // NaN keeps sign and payload and is made quiet.
    unsigned const expected = is_nan<TestType>(code) ? code | Format<TestType>::quiet : code;
    unsigned const back =
        Element<TestType>::from_float(Element<TestType>::to_float(from_code<TestType>(code))).bits;
    if (back != expected)
      FAIL("code " << code << " came back as " << back << ", expected " << expected);
  }
  SUCCEED();
}

TEMPLATE_TEST_CASE("16-bit types round to nearest even at every midpoint", "[float16]", bf16,
                   fp16) {
  for (unsigned const sign : {0u, 0x8000u}) {
    float const factor = sign != 0 ? -1.0f : 1.0f;
    // The last midpoint is the threshold of overflow.
    for (unsigned code = 0; code < Format<TestType>::infinity; ++code) {
      auto const midpoint = static_cast<float>(
          (defined_value<TestType>(code) + defined_value<TestType>(code + 1)) / 2);
      check_rounds<TestType>(factor * midpoint, sign | (code + code % 2));
      check_rounds<TestType>(factor * std::nextafter(midpoint, 0.0f), sign | code);
      check_rounds<TestType>(factor * std::nextafter(midpoint, infinity), sign | (code + 1));
    }
  }
  SUCCEED();
}

TEST_CASE("16-bit types overflow to infinity", "[float16]") {
  CHECK(Element<fp16>::max_finite == defined_value<fp16>(0x7bff));
  CHECK(hisa::fp16_from_float(65504.0f).bits == 0x7bff);
  CHECK(hisa::fp16_from_float(std::nextafter(65520.0f, 0.0f)).bits == 0x7bff);
  CHECK(hisa::fp16_from_float(65520.0f).bits == 0x7c00);
  CHECK(hisa::fp16_from_float(-65520.0f).bits == 0xfc00);
  CHECK(hisa::fp16_from_float(65536.0f).bits == 0x7c00);
  CHECK(hisa::fp16_from_float(131072.0f).bits == 0x7c00);

  CHECK(Element<bf16>::max_finite == defined_value<bf16>(0x7f7f));
  CHECK(hisa::bf16_from_float(0x1.fep127f).bits == 0x7f7f);
  CHECK(hisa::bf16_from_float(0x1.fefffep127f).bits == 0x7f7f);
  CHECK(hisa::bf16_from_float(0x1.ffp127f).bits == 0x7f80);
  CHECK(hisa::bf16_from_float(-0x1.ffp127f).bits == 0xff80);

  for (float const beyond : {std::numeric_limits<float>::max(), infinity}) {
    CHECK(hisa::fp16_from_float(beyond).bits == 0x7c00);
    CHECK(hisa::fp16_from_float(-beyond).bits == 0xfc00);
    CHECK(hisa::bf16_from_float(beyond).bits == 0x7f80);
    CHECK(hisa::bf16_from_float(-beyond).bits == 0xff80);
  }
}

TEST_CASE("fp32 denormals round like other numbers", "[float16]") {
  for (std::uint32_t const bits : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0x17fffu, 0x18000u, 0x18001u,
                                   0x400000u, 0x7f7fffu, 0x7f8000u, 0x7fffffu})
    for (std::uint32_t const sign : {0u, 0x80000000u}) {
      auto const x = std::bit_cast<float>(bits | sign);
      check_rounds<bf16>(x, nearest<bf16>(double(x)));
      check_rounds<fp16>(x, sign >> 16); // the sign of a zero is kept
    }
  CHECK(hisa::bf16_from_float(std::bit_cast<float>(0x8000u)).bits == 0);
  CHECK(hisa::bf16_from_float(std::bit_cast<float>(0x8001u)).bits == 1);
  CHECK(hisa::bf16_from_float(std::bit_cast<float>(0x18000u)).bits == 2);
}

TEMPLATE_TEST_CASE("16-bit types keep NaN, made quiet", "[float16]", bf16, fp16) {
  // Payloads in the low bits only must not turn into infinity.
  for (std::uint32_t const bits :
       {0x7f800001u, 0x7f80ffffu, 0x7f801fffu, 0x7f900000u, 0x7fbfffffu, 0x7fc00000u, 0x7fffffffu})
    for (std::uint32_t const sign : {0u, 0x80000000u}) {
      INFO("fp32 bits " << (bits | sign));
      unsigned const code = Element<TestType>::from_float(std::bit_cast<float>(bits | sign)).bits;
      CHECK(is_nan<TestType>(code));
      CHECK((code & Format<TestType>::quiet) != 0);
      CHECK((code & 0x8000u) == sign >> 16);
    }
  CHECK(is_nan<TestType>(Element<TestType>::nan().bits));
  for (unsigned code = 0; code < 65536; ++code)
    if (Element<TestType>::is_finite(from_code<TestType>(code)) !=
        ((code & 0x7fffu) < Format<TestType>::infinity))
      FAIL("is_finite of code " << code);
}

TEMPLATE_TEST_CASE("random numbers go to the nearest 16-bit code", "[float16]", bf16, fp16) {
  std::mt19937 random(2);
  std::uniform_int_distribution<std::uint32_t> anything;
  std::uniform_int_distribution<std::uint32_t> near(bits_of(0x1p-27f), bits_of(131072.0f));
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
TEMPLATE_TEST_CASE("16-bit conversions do not notice flushed denormals", "[float16]", bf16, fp16) {
  struct FlushDenormals {
    unsigned const before = _mm_getcsr();
    FlushDenormals() { _mm_setcsr(before | 0x8040u); } // FTZ, DAZ
    ~FlushDenormals() { _mm_setcsr(before); }
  };
  std::vector<float> values(65536);
  std::vector<std::uint32_t> found(65536);
  std::vector<unsigned> back(65536);
  for (unsigned code = 0; code < 65536; ++code)
    values[code] = static_cast<float>(defined_value<TestType>(code));
  {
    FlushDenormals const guard;
    for (unsigned code = 0; code < 65536; ++code) {
      found[code] = bits_of(Element<TestType>::to_float(from_code<TestType>(code)));
      back[code] = Element<TestType>::from_float(values[code]).bits;
    }
  }
  for (unsigned code = 0; code < 65536; ++code)
    if (Element<TestType>::is_finite(from_code<TestType>(code)) &&
        (found[code] != bits_of(values[code]) || back[code] != code))
      FAIL("code " << code);
  SUCCEED();
}
#endif

#if defined(__FLT16_MAX__)
__extension__ using Half = _Float16;

TEST_CASE("fp16 agrees with the compiler's _Float16", "[float16]") {
  for (unsigned code = 0; code < 65536; ++code) {
    if (is_nan<fp16>(code))
      continue;
    auto const theirs = static_cast<float>(std::bit_cast<Half>(static_cast<std::uint16_t>(code)));
    if (bits_of(theirs) != bits_of(hisa::to_float(from_code<fp16>(code))))
      FAIL("code " << code);
  }
  std::mt19937 random(3);
  std::uniform_int_distribution<std::uint32_t> anything;
  for (int i = 0; i < 1'000'000; ++i) {
    auto const x = std::bit_cast<float>(anything(random)); // NaN too
    check_rounds<fp16>(x, std::bit_cast<std::uint16_t>(static_cast<Half>(x)));
  }
  SUCCEED();
}
#endif

TEST_CASE("fp32 is an element type too", "[float16]") {
  STATIC_REQUIRE(!Element<float>::exact_products);
  CHECK(Element<float>::is_finite(Element<float>::max_finite));
  CHECK(Element<float>::is_finite(-0.0f));
  CHECK_FALSE(Element<float>::is_finite(infinity));
  CHECK_FALSE(Element<float>::is_finite(-infinity));
  CHECK_FALSE(Element<float>::is_finite(Element<float>::nan()));
  CHECK_FALSE(Element<float>::is_finite(std::bit_cast<float>(0xff800001u)));
}
