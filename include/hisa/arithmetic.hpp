// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// fp32 operations whose bits do not depend on the compiler: products that are rounded, or fused
/// into a sum, as written.
#pragma once

#include <hisa/config.hpp>

#include <cmath>

HISA_NAMESPACE_BEGIN
namespace detail {

/// value * scale rounded to fp32, and never contracted with what it is added to.
HISA_FUNCTION inline float rounded_product(float value, float scale) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(value, scale);
#elif defined(__clang__)
#pragma clang fp contract(off)
  float const product = value * scale;
  return product;
#elif defined(__GNUC__) && __GNUC__ >= 12 && !defined(__CUDACC__)
  return __builtin_assoc_barrier(value * scale);
#else
  float volatile const product = value * scale;
  return product;
#endif
}

} // namespace detail

/// a * b + c with one rounding, on host and device: what a pooling rule of your own should add
/// products with, since a compiler may or may not fuse `a * b + c`.
HISA_FUNCTION inline float multiply_add(float a, float b, float c) {
  return ::fmaf(a, b, c);
}

HISA_NAMESPACE_END
