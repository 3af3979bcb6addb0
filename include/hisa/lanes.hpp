// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A few floats that move together: the vector registers of a CPU as a value type, or one float on
/// a device. Fused multiply-add is an instruction where there is one and std::fma elsewhere, so
/// results do not depend on the compiler's contraction options or on the width.
#pragma once

#include <hisa/config.hpp>

#include <cmath>
#include <cstring>

#if defined(__AVX__) && !defined(__CUDA_ARCH__)
#include <immintrin.h>
#endif

HISA_NAMESPACE_BEGIN
namespace detail {

/// `W` floats. The primary template serves hosts whose compiler has vector types.
template <int W>
struct Lanes {
  typedef float Vector __attribute__((vector_size(4 * W)));
  Vector v;

  static Lanes zero() { return {Vector{}}; }
  static Lanes load(const float* p) {
    Lanes x;
    std::memcpy(&x.v, p, sizeof(Vector));
    return x;
  }
  void store(float* p) const { std::memcpy(p, &v, sizeof(Vector)); }

  friend Lanes relu(Lanes x) {
    Vector const zero{};
    return {x.v > zero ? x.v : zero}; // false for NaN
  }
  /// a * b + c with b's product known to be exact in fp32: one rounding with or without
  /// contraction.
  friend Lanes exact_multiply_add(float a, Lanes b, Lanes c) { return {a * b.v + c.v}; }
  friend Lanes fused_multiply_add(float a, Lanes b, Lanes c) {
    return fused_multiply_add(Lanes{Vector{} + a}, b, c);
  }
  friend Lanes fused_multiply_add(Lanes a, Lanes b, Lanes c) {
#if defined(__AVX512F__)
    if constexpr (W == 16)
      return {(Vector)_mm512_fmadd_ps((__m512)a.v, (__m512)b.v, (__m512)c.v)};
#endif
#if defined(__FMA__)
    if constexpr (W == 8)
      return {(Vector)_mm256_fmadd_ps((__m256)a.v, (__m256)b.v, (__m256)c.v)};
    if constexpr (W == 4)
      return {(Vector)_mm_fmadd_ps((__m128)a.v, (__m128)b.v, (__m128)c.v)};
#endif
    float x[W], y[W], z[W];
    a.store(x), b.store(y), c.store(z);
    for (int i = 0; i < W; ++i)
      z[i] = std::fma(x[i], y[i], z[i]);
    return load(z);
  }
};

/// One float, for device code.
template <>
struct Lanes<1> {
  float v;

  HISA_FUNCTION static Lanes zero() { return {0.0f}; }
  HISA_FUNCTION static Lanes load(const float* p) { return {*p}; }
  HISA_FUNCTION void store(float* p) const { *p = v; }
  HISA_FUNCTION friend Lanes relu(Lanes x) { return {x.v > 0.0f ? x.v : 0.0f}; }
  HISA_FUNCTION friend Lanes exact_multiply_add(float a, Lanes b, Lanes c) {
    return {a * b.v + c.v};
  }
  HISA_FUNCTION friend Lanes fused_multiply_add(float a, Lanes b, Lanes c) {
    return {::fmaf(a, b.v, c.v)};
  }
  HISA_FUNCTION friend Lanes fused_multiply_add(Lanes a, Lanes b, Lanes c) {
    return fused_multiply_add(a.v, b, c);
  }
};

/// The widest vector that the target has registers for, at most the 16 chains of a head sum.
#if defined(__AVX512F__)
inline constexpr int host_lanes = 16;
#elif defined(__AVX__)
inline constexpr int host_lanes = 8;
#else
inline constexpr int host_lanes = 4;
#endif

} // namespace detail
HISA_NAMESPACE_END
