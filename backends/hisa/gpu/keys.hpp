// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Candidates of a selection by their keys, which are larger for what precedes.
#pragma once

#include <hisa/order_key.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// The key of a candidate: larger precedes. NaN has 1; 0 is no candidate at all, never selected.
HISA_FUNCTION inline std::uint32_t candidate_key(float score) {
  auto const bits = __builtin_bit_cast(std::uint32_t, score);
  return (bits & 0x7fffffffu) > 0x7f800000u ? 1 : order_key(score);
}

/// The bits of a score with this key, or with the next key that a score can have; of NaN for the
/// key of NaN and for keys above all.
HISA_FUNCTION inline std::uint32_t score_bits(std::uint32_t candidate_key) {
  constexpr std::uint32_t least = order_key(minus_infinity);
  std::uint32_t const order = candidate_key < least ? least : candidate_key;
  return candidate_key == 1 ? 0x7fc00000u : (order >> 31 != 0 ? order & 0x7fffffffu : ~order);
}

/// Four candidates at neighbouring positions.
struct Four {
  std::uint32_t key[4] = {};
  std::uint32_t first = 0; ///< position of the first
  HISA_FUNCTION std::uint32_t position(int i) const {
    return first + static_cast<std::uint32_t>(i);
  }
};

/// Four candidates at any ascending positions.
struct Share {
  std::uint32_t key[4] = {};
  std::uint32_t at[4] = {};
  HISA_FUNCTION std::uint32_t position(int i) const { return at[i]; }
};

/// Keys as their distance from a base in steps of 2^step, so that few digits tell them apart. What
/// lies below the base or beyond the last of 2^bits steps has the distance 0 or the last.
struct KeyWindow {
  std::uint32_t base = 0;
  int step = 0, bits = 32;

  HISA_FUNCTION std::uint32_t last() const { return ~0u >> (32 - bits); }
  HISA_FUNCTION std::uint32_t distance(std::uint32_t key) const {
    std::uint32_t const d = (key - base) >> step;
    return key < base ? 0 : (d < last() ? d : last());
  }
  /// Whether keys are in the window of whose distance the leading digits, by a mask, are known.
  HISA_FUNCTION bool holds(std::uint32_t distance, std::uint32_t known) const {
    return bits == 32 || (distance > 0 && distance < (last() & known));
  }
  HISA_FUNCTION std::uint32_t key(std::uint32_t distance) const {
    return base + (distance << step);
  }
};

} // namespace gpu
HISA_NAMESPACE_END
