// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Types of the scale that a key carries, and the one place where a new one is added.
#pragma once

#include <hisa/config.hpp>
#include <hisa/float16.hpp>

#include <concepts>
#include <cstdint>
#include <type_traits>

HISA_NAMESPACE_BEGIN

/// OCP E8M0: the power of two 2^(bits - 127); 0xff is NaN. There is neither zero nor sign. Storage
/// only.
struct ue8m0 {
  std::uint8_t bits;
};

/// The value of a code, exact: 2^-127, of code 0, is a denormal fp32 number.
HISA_FUNCTION constexpr float to_float(ue8m0 x) {
  std::uint32_t const power = x.bits == 0 ? 0x00400000u : std::uint32_t(x.bits) << 23;
  return detail::float_of(x.bits == 0xffu ? 0x7fc00000u : power);
}

/// The least ue8m0 that is not below `value`, so that values divided by it do not grow; NaN beyond
/// 2^127 and for NaN. For quantising keys.
HISA_FUNCTION constexpr ue8m0 ue8m0_at_least(float value) {
  std::uint32_t const bits = detail::bits_of(value);
  std::uint32_t const magnitude = bits & ~detail::fp32_sign;
  if (magnitude > 0x7f000000u && (magnitude > detail::fp32_infinity || bits == magnitude))
    return {0xff};
  if (bits != magnitude || magnitude <= 0x00400000u) // negative, zero, or up to 2^-127
    return {0};
  return {static_cast<std::uint8_t>((magnitude + 0x007fffffu) >> 23)};
}

/// All that the library knows of a type of scales.
template <class S>
struct Scale;

template <>
struct Scale<float> {
  static constexpr const char* name = "fp32"; ///< in messages and tables
  HISA_FUNCTION static constexpr float to_float(float scale) { return scale; }
};

template <>
struct Scale<ue8m0> {
  static constexpr const char* name = "ue8m0"; ///< in messages and tables
  HISA_FUNCTION static constexpr float to_float(ue8m0 scale) { return hisa::to_float(scale); }
};

/// A type for which `Scale` is specialised.
template <class S>
concept ScaleType = std::is_trivially_copyable_v<S> && requires(S scale) {
  { Scale<S>::name } -> std::convertible_to<const char*>;
  { Scale<S>::to_float(scale) } -> std::same_as<float>;
};

HISA_NAMESPACE_END
