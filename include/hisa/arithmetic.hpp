// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// fp32 operations whose bits do not depend on the compiler: products that are rounded, or fused
/// into a sum, as written.
#pragma once

#include <hisa/config.hpp>

#include <cmath>

HISA_NAMESPACE_BEGIN
namespace detail {

/// value * scale rounded to fp32, and never contracted with what it is added to. g++ 12 at -O3
/// fuses a product with a sum through a barrier against reassociation and through a cast from
/// double, but not a fused sum with another one; adding -0 changes nothing.
HISA_FUNCTION inline float rounded_product(float value, float scale) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(value, scale);
#elif defined(__clang__)
#pragma clang fp contract(off)
  float const product = value * scale;
  return product;
#else
  return ::fmaf(value, scale, -0.0f);
#endif
}

} // namespace detail

/// a * b + c with one rounding, on host and device: what a pooling rule of your own should add
/// products with, since a compiler may or may not fuse `a * b + c`.
HISA_FUNCTION inline float multiply_add(float a, float b, float c) {
  return ::fmaf(a, b, c);
}

HISA_NAMESPACE_END
