// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The library's head rules: moments and min-max.
#pragma once

#include <hisa/pooling.hpp>

#include <cmath>
#include <limits>

HISA_NAMESPACE_BEGIN

/// Mean and deviation: a head counts for what a key could reach that lies lambda standard
/// deviations from the block's mean, on the side that the head's weight asks for. With mu_j = q_j .
/// mean and sigma_j^2 = sum_d q_jd^2 variance_d, as if the dimensions varied independently, the
/// block's score is sum_j w_j relu(mu_j + lambda sign(w_j) sigma_j).
///
/// lambda = Numerator / Denominator: MomentsPool<1> is 1, MomentsPool<3, 2> is 1.5.
template <int Numerator, int Denominator = 1>
struct MomentsPool {
  static_assert(Denominator >= 1, "hisa::MomentsPool: the denominator of lambda is positive");
  static constexpr const char* name = "moments";
  static constexpr float lambda = static_cast<float>(Numerator) / static_cast<float>(Denominator);
  static constexpr int rows = 2; ///< mean, variance
  static constexpr int sums = 2; ///< mu, sigma^2

  /// Welford's update, which loses nothing where the mean is far larger than the deviation.
  struct Fold {
    float count = 0, mean = 0, squares = 0;
    HISA_FUNCTION void add(float value) {
      count += 1;
      float const before = value - mean;
      mean += before / count;
      squares = multiply_add(before, value - mean, squares);
    }
    HISA_FUNCTION float row(int r) const { return r == 0 ? mean : squares / count; }
  };

  HISA_FUNCTION static void accumulate(float q, const float* row, float* sums) {
    sums[0] = multiply_add(q, row[0], sums[0]);
    sums[1] = multiply_add(q * q, row[1], sums[1]);
  }
  HISA_FUNCTION static float value(const float* sums, float w) {
    return multiply_add(w < 0 ? -lambda : lambda, ::sqrtf(sums[1]), sums[0]);
  }
};

/// The smallest and the largest value of each dimension: no key of the block scores above
/// sum_j max(w_j, 0) relu(sum_d max(q_jd min_d, q_jd max_d)), up to rounding.
struct MinMaxPool {
  static constexpr const char* name = "min-max";
  static constexpr int rows = 2; ///< smallest, largest
  static constexpr int sums = 1;

  struct Fold {
    float smallest = std::numeric_limits<float>::infinity();
    float largest = -std::numeric_limits<float>::infinity();
    HISA_FUNCTION void add(float value) {
      smallest = value < smallest ? value : smallest;
      largest = value > largest ? value : largest;
    }
    HISA_FUNCTION float row(int r) const { return r == 0 ? smallest : largest; }
  };

  HISA_FUNCTION static void accumulate(float q, const float* row, float* sums) {
    float const smallest = row[0], largest = row[1];
    sums[0] = multiply_add(q, q > 0 ? largest : smallest, sums[0]);
  }
  HISA_FUNCTION static float value(const float* sums, float w) { return w > 0 ? sums[0] : 0.0f; }
};

HISA_NAMESPACE_END
