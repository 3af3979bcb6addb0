// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The order in which candidates are kept: descending score, then ascending index. Decided on the
/// bits of a score, so it is total, the same on every backend, and independent of -ffast-math.
#pragma once

#include <hisa/config.hpp>

#include <cstdint>
#include <limits>

HISA_NAMESPACE_BEGIN

/// The score of what is not there: behind every finite score, before NaN.
inline constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// The key of every NaN, and of nothing else.
inline constexpr std::uint32_t nan_order_key = 0;

/// Maps a score to an integer: the larger key precedes. +inf has the largest, -0 and +0 have the
/// same, denormals are told apart, and NaN of any sign and payload comes after -inf.
HISA_FUNCTION constexpr std::uint32_t order_key(float score) {
  // Not std::bit_cast: CUDA device code may not call it without an experimental flag.
  auto const bits = __builtin_bit_cast(std::uint32_t, score);
  std::uint32_t const magnitude = bits & 0x7fffffffu;
  // A negative zero is moved to where the positive one is; ~bits of -inf is 0x007fffff.
  bool const negative = bits > 0x80000000u;
  std::uint32_t const key = negative ? ~bits : magnitude | 0x80000000u;
  return magnitude > 0x7f800000u ? nan_order_key : key;
}

/// True if candidate a comes before candidate b: by descending score, among equals by ascending
/// index. A strict weak order over any scores, NaN included.
/// @tparam Index  an integer or one of the index types of hisa/units.hpp
template <class Index>
HISA_FUNCTION constexpr bool precedes(float score_a, Index a, float score_b, Index b) {
  std::uint32_t const key_a = order_key(score_a), key_b = order_key(score_b);
  return key_a != key_b ? key_a > key_b : a < b;
}

HISA_NAMESPACE_END
