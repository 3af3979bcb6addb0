// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// One-byte storage types: `e4m3fn` (OCP 8-bit floating point specification) and `e4m3fnuz`
/// (gfx942), and their conversions. No result depends on flushed denormals or on -ffast-math.
#pragma once

#include <hisa/config.hpp>
#include <hisa/float16.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN

/// OCP E4M3: bias 7, 448 at most, no infinity; 0x7f and 0xff are NaN. Subnormals are multiples of
/// 2^-9. Storage only.
struct e4m3fn {
  std::uint8_t bits;
};

/// E4M3 with bias 8, 240 at most, no infinity and no negative zero: 0x80 is NaN, the only one.
/// Subnormals are multiples of 2^-10. Storage only.
struct e4m3fnuz {
  std::uint8_t bits;
};

/// The value of a code, exact. Branch-free, so that a loop over it vectorises.
HISA_FUNCTION constexpr float to_float(e4m3fn x) {
  // Sign extension brings the sign to bit 31 and magnitude to bits 20 .. 26 with one shift.
  auto const extended = static_cast<std::uint32_t>(static_cast<std::int8_t>(x.bits)) << 20;
  float const value = detail::expand<7>(extended & 0x07f00000u);
  bool const number = detail::biased<7>(extended & 0x07f00000u) < 480.0f; // where 0x7f would be
  std::uint32_t const magnitude = number ? detail::bits_of(value) : 0x7fc00000u;
  return detail::float_of((extended & detail::fp32_sign) | magnitude);
}

/// The value of a code, exact. Branch-free, so that a loop over it vectorises.
HISA_FUNCTION constexpr float to_float(e4m3fnuz x) {
  auto const extended = static_cast<std::uint32_t>(static_cast<std::int8_t>(x.bits)) << 20;
  float const value = detail::expand<8>(extended & 0x07f00000u);
  // Only 0x80 has the sign and the least magnitude.
  bool const number = detail::biased<8>(extended & 0x87f00000u) != -0x1p-8f;
  std::uint32_t const bits = (extended & detail::fp32_sign) | detail::bits_of(value);
  return detail::float_of(number ? bits : 0x7fc00000u);
}

/// The nearest e4m3fn, ties to even, saturating: infinities too give +-448. NaN stays NaN, and the
/// sign is always kept.
HISA_FUNCTION constexpr e4m3fn e4m3fn_from_float(float value) {
  auto const bits = detail::bits_of(value);
  std::uint32_t const magnitude = bits & ~detail::fp32_sign;
  std::uint32_t const rounded = detail::round_to_code<3, 7>(magnitude);
  std::uint32_t const code =
      magnitude > detail::fp32_infinity ? 0x7fu : (rounded < 0x7eu ? rounded : 0x7eu);
  return {static_cast<std::uint8_t>(((bits >> 24) & 0x80u) | code)};
}

/// The nearest e4m3fnuz, ties to even, saturating: infinities too give +-240. NaN stays NaN. What
/// rounds to zero becomes the only zero.
HISA_FUNCTION constexpr e4m3fnuz e4m3fnuz_from_float(float value) {
  auto const bits = detail::bits_of(value);
  std::uint32_t const magnitude = bits & ~detail::fp32_sign;
  std::uint32_t const rounded = detail::round_to_code<3, 8>(magnitude);
  std::uint32_t const code = rounded < 0x7fu ? rounded : 0x7fu;
  std::uint32_t const sign = code == 0 ? 0u : (bits >> 24) & 0x80u;
  return {static_cast<std::uint8_t>(magnitude > detail::fp32_infinity ? 0x80u : sign | code)};
}

HISA_NAMESPACE_END
