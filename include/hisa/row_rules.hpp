// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The library's row rules: mean, max and sub-mean.
#pragma once

#include <hisa/pooling.hpp>

#include <limits>

HISA_NAMESPACE_BEGIN

/// The mean of the block's keys, as in the paper.
struct MeanPool {
  static constexpr const char* name = "mean";
  static constexpr int rows = 1;
  static constexpr float identity = 0.0f;
  HISA_FUNCTION static constexpr float fold(float sum, float value) { return sum + value; }
  HISA_FUNCTION static constexpr float finish(float sum, int tokens) {
    return sum / static_cast<float>(tokens);
  }
};

/// The largest value of each dimension.
struct MaxPool {
  static constexpr const char* name = "max";
  static constexpr int rows = 1;
  static constexpr float identity = -std::numeric_limits<float>::infinity();
  HISA_FUNCTION static constexpr float fold(float largest, float value) {
    return value > largest ? value : largest;
  }
  HISA_FUNCTION static constexpr float finish(float largest, int) { return largest; }
};

/// The means of `Parts` equal parts of the block, whose best scores for it: a short passage is
/// diluted by its part only. `Parts` divides the block size.
template <int Parts>
struct SubMeanPool : MeanPool {
  static_assert(Parts >= 1, "hisa::SubMeanPool: a block has at least one part");
  static constexpr const char* name = "sub-mean";
  static constexpr int rows = Parts;
};

HISA_NAMESPACE_END
