// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What CUDA adds to C++: annotations, indices, operations of warps and CTAs, and the functions of
// one thread that the library uses.
#pragma once

#include "device.hpp"

#include <atomic>
#include <cmath>
#include <cstdint>
#include <type_traits>

#define __CUDA_ARCH_FEAT_SM90_ALL 1
#define __global__
#define __device__
#define __host__
#define __shared__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

// Operations of a warp, of all its lanes.

namespace emulation {

inline void require_all(unsigned mask) {
  if (mask != 0xffffffffu)
    fail("votes with some lanes only: not emulated");
}
template <class T, class Combine>
T reduce(unsigned mask, const char* what, T value, const Combine& combine) {
  require_all(mask);
  return exchange(what, value, [&](const auto& value_of) {
    T all = value_of(0);
    for (int i = 1; i < warp_lanes; ++i)
      all = combine(all, value_of(i));
    return all;
  });
}
template <class T>
T shuffle(unsigned mask, const char* what, T value, int source) {
  require_all(mask);
  return exchange(what, value, [&](const auto& value_of) { return value_of(source); });
}

} // namespace emulation

inline void __syncwarp(unsigned mask = 0xffffffffu) {
  emulation::require_all(mask);
  emulation::meet(emulation::self().warp->meeting, emulation::warp_lanes, "__syncwarp");
}
inline void __syncthreads() {
  emulation::meet(emulation::self().cta->barrier, emulation::cta_threads(), "__syncthreads");
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  return emulation::shuffle(mask, "__shfl_sync", value, source & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return emulation::shuffle(mask, "__shfl_xor_sync", value, emulation::self().lane() ^ bits);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance) {
  auto const lane = static_cast<unsigned>(emulation::self().lane());
  return emulation::shuffle(mask, "__shfl_up_sync", value,
                            static_cast<int>(lane < distance ? lane : lane - distance));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance) {
  auto const lane = static_cast<unsigned>(emulation::self().lane());
  return emulation::shuffle(mask, "__shfl_down_sync", value,
                            static_cast<int>(lane + distance > 31 ? lane : lane + distance));
}
inline unsigned __ballot_sync(unsigned mask, bool vote) {
  unsigned const bit = unsigned(vote) << emulation::self().lane();
  return emulation::reduce(mask, "__ballot_sync", bit,
                           [](unsigned a, unsigned b) { return a | b; });
}
inline int __all_sync(unsigned mask, bool vote) {
  return emulation::reduce(mask, "__all_sync", vote, [](bool a, bool b) { return a && b; });
}
inline int __any_sync(unsigned mask, bool vote) {
  return emulation::reduce(mask, "__any_sync", vote, [](bool a, bool b) { return a || b; });
}
template <class T>
T __reduce_min_sync(unsigned mask, T value) {
  return emulation::reduce(mask, "__reduce_min_sync", value,
                           [](T a, T b) { return b < a ? b : a; });
}
template <class T>
T __reduce_max_sync(unsigned mask, T value) {
  return emulation::reduce(mask, "__reduce_max_sync", value,
                           [](T a, T b) { return a < b ? b : a; });
}
template <class T>
T __reduce_add_sync(unsigned mask, T value) {
  return emulation::reduce(mask, "__reduce_add_sync", value, [](T a, T b) { return T(a + b); });
}

// Functions of one thread.

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
/// Products are not fused with what follows; see hisa::detail::rounded_product.
inline float __fmul_rn(float a, float b) {
  return std::fmaf(a, b, -0.0f);
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __saturatef(float x) {
  return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; // NaN: 0
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>(static_cast<unsigned long long>(x) * y >> 32);
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T atomicAdd(T* p, T value) {
  return std::atomic_ref<T>(*p).fetch_add(value, std::memory_order_relaxed);
}
template <class T>
T atomicOr(T* p, T value) {
  return std::atomic_ref<T>(*p).fetch_or(value, std::memory_order_relaxed);
}
