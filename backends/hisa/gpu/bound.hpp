// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Scores that so many of a row reach, and not many more.
#pragma once

#include <hisa/gpu/group.hpp>
#include <hisa/gpu/keys.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

struct TwoBounds {
  float low, high;
};
/// The highest scores whose keys end in 16 zeros and that `many` and `few` of `count` scores reach,
/// few <= many <= count. By a wave. Complexity: O(count).
template <Group G>
HISA_FUNCTION TwoBounds bounds_reached(const G& g, const float* scores, std::int32_t count,
                                       std::int32_t many, std::int32_t few) {
  constexpr int batch = 32; // of a lane, held if there is no other
  constexpr std::int32_t size = batch * G::wave;
  int const lane = g.lane() % G::wave;
  std::uint32_t keys[batch];
  auto const load = [&](std::int32_t from) {
    HISA_UNROLL
    for (int i = 0; i < batch; ++i) {
      std::int32_t const at = from + i * G::wave + lane;
      keys[i] = at < count ? candidate_key(scores[at]) : 0;
    }
  };
  load(0);
  std::uint32_t low = 0, high = 0;
  HISA_ROLLED
  for (std::uint32_t bit = 1u << 31; bit >= 1u << 16; bit >>= 1) {
    std::uint32_t low_reached = 0, high_reached = 0;
    HISA_ROLLED
    for (std::int32_t from = 0; from < count; from += size) {
      if (count > size)
        load(from);
      HISA_UNROLL
      for (int i = 0; i < batch; ++i)
        low_reached += keys[i] >= (low | bit), high_reached += keys[i] >= (high | bit);
    }
    low |= static_cast<std::int32_t>(g.sum(low_reached)) >= many ? bit : 0;
    high |= static_cast<std::int32_t>(g.sum(high_reached)) >= few ? bit : 0;
  }
  return {__builtin_bit_cast(float, score_bits(low)), __builtin_bit_cast(float, score_bits(high))};
}

} // namespace gpu
HISA_NAMESPACE_END
