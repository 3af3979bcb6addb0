// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Two-byte storage types, `bf16` and `fp16` (IEEE binary16), and their conversions. No result
/// depends on flushed denormals or on -ffast-math.
#pragma once

#include <hisa/config.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN

/// The upper half of an fp32: 8 exponent bits, 7 mantissa bits. Storage only.
struct bf16 {
  std::uint16_t bits;
};

/// IEEE binary16: 5 exponent bits of bias 15, 10 mantissa bits, 65504 at most. Storage only.
struct fp16 {
  std::uint16_t bits;
};

namespace detail {

inline constexpr std::uint32_t fp32_sign = 0x80000000u;
inline constexpr std::uint32_t fp32_infinity = 0x7f800000u;

// std::bit_cast is not callable from CUDA device code without an experimental flag; the compilers'
// own is.
HISA_FUNCTION constexpr std::uint32_t bits_of(float value) {
  return __builtin_bit_cast(std::uint32_t, value);
}
HISA_FUNCTION constexpr float float_of(std::uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}

// How the magnitude of a smaller format becomes fp32: its code, shifted to where fp32 has exponent
// and mantissa, with the exponent moved to fp32's bias, is `biased`. For a normal that is the
// value. A subnormal m * least, 0 <= m < 1, `least` being the least normal, comes out as (1 + m) *
// least / 2. Either way the value is min(biased, 2 * biased - least), exactly. No operand is an
// fp32 denormal, which a CPU may flush, and every decision compares floats to select between
// operands at hand: the form that GCC 12 vectorises for AVX2 and SSE4 too, where it gives up on
// comparing codes.

/// A code of a format with exponent bias `Bias`, shifted to the place of fp32's fields, as if it
/// were normal.
template <int Bias>
HISA_FUNCTION constexpr float biased(std::uint32_t shifted) {
  return float_of(shifted + (std::uint32_t(127 - Bias) << 23));
}

/// The value of a shifted code without a sign. Codes of infinity and NaN count as normal numbers.
template <int Bias>
HISA_FUNCTION constexpr float expand(std::uint32_t shifted) {
  constexpr float least_normal = biased<Bias>(1u << 23);
  float const normal = biased<Bias>(shifted);
  float const subnormal = normal + normal - least_normal;
  return subnormal < normal ? subnormal : normal;
}

/// Rounds the magnitude bits of an fp32 to nearest even, in a format of `Mantissa` explicit
/// mantissa bits and exponent bias `Bias` with subnormals. Codes count on past the format's
/// largest, so that the caller saturates by a minimum; the code of infinity is beyond them all.
template <int Mantissa, int Bias>
HISA_FUNCTION constexpr std::uint32_t round_to_code(std::uint32_t magnitude) {
  constexpr std::uint32_t min_exponent = 128 - Bias; // of the least normal, as fp32 has it
  std::uint32_t const field = magnitude >> 23;
  std::uint32_t const exponent = field == 0 ? 1 : field;
  std::uint32_t const significand = (magnitude & 0x7fffffu) | (field == 0 ? 0u : 1u << 23);
  std::uint32_t const rounding = exponent < min_exponent ? min_exponent : exponent;
  std::uint32_t const wanted = (23 - Mantissa) + (rounding - exponent);
  std::uint32_t const shift = wanted < 31 ? wanted : 31; // from 25 on nothing is left
  std::uint32_t const odd = (significand >> shift) & 1;
  std::uint32_t const rounded = (significand + (1u << (shift - 1)) - 1 + odd) >> shift;
  // The implicit bit, and a carry out of the mantissa, add one to the exponent.
  return ((rounding - min_exponent) << Mantissa) + rounded;
}

} // namespace detail

/// The value of a code: exact for all of them, NaN payloads included.
HISA_FUNCTION constexpr float to_float(bf16 x) {
  return detail::float_of(static_cast<std::uint32_t>(x.bits) << 16);
}

/// The value of a code: exact for all of them, NaN payloads included. Branch-free, so that a loop
/// over it vectorises.
HISA_FUNCTION constexpr float to_float(fp16 x) {
  std::uint32_t const shifted = (x.bits & 0x7fffu) << 13;
  std::uint32_t const sign = (x.bits & 0x8000u) << 16;
  auto const finite = detail::bits_of(detail::expand<15>(shifted));
  // Infinity and NaN take the exponent 31 + (127 - 15) + (127 - 15) = 255.
  std::uint32_t const rest = detail::biased<15>(shifted) < 65536.0f ? 0u : (127u - 15u) << 23;
  return detail::float_of(sign | (finite + rest));
}

/// The nearest bf16, ties to even. Overflow gives infinity; NaN stays NaN, made quiet.
HISA_FUNCTION constexpr bf16 bf16_from_float(float value) {
  auto const bits = detail::bits_of(value);
  std::uint32_t const magnitude = bits & ~detail::fp32_sign;
  std::uint32_t const code = magnitude > detail::fp32_infinity
                                 ? (magnitude >> 16) | 0x0040u
                                 : detail::round_to_code<7, 127>(magnitude);
  return {static_cast<std::uint16_t>(((bits >> 16) & 0x8000u) | code)};
}

/// The nearest fp16, ties to even. Overflow (65520 and more) gives infinity; NaN stays NaN, made
/// quiet.
HISA_FUNCTION constexpr fp16 fp16_from_float(float value) {
  auto const bits = detail::bits_of(value);
  std::uint32_t const magnitude = bits & ~detail::fp32_sign;
  std::uint32_t const rounded = detail::round_to_code<10, 15>(magnitude);
  std::uint32_t const code = magnitude > detail::fp32_infinity
                                 ? 0x7e00u | ((magnitude >> 13) & 0x01ffu)
                                 : (rounded < 0x7c00u ? rounded : 0x7c00u);
  return {static_cast<std::uint16_t>(((bits >> 16) & 0x8000u) | code)};
}

HISA_NAMESPACE_END
