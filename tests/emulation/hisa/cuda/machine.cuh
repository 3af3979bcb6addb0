// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The emulation's hisa/cuda/machine.cuh.
#pragma once

#include <hisa/element.hpp>

#include "../../intrinsics.hpp"

HISA_NAMESPACE_BEGIN
namespace cuda {

inline void begin_kernel() {}
inline void begin_kernel_reading(bool) {}
inline bool elected() {
  __syncwarp();
  return threadIdx.x % 32 == 0;
}
template <class T>
T& by_held_address(T& object) {
  __syncwarp();
  return object;
}
inline int highest_bit(std::uint32_t bits) {
  return 31 - __builtin_clz(bits);
}
template <int Registers>
void raise_registers() {}
template <int Registers>
void lower_registers() {}

inline void count_in_shared(std::uint32_t* p, bool condition) {
  if (condition)
    atomicAdd(p, 1u);
}

inline void store_if(bool condition, float* to, std::int32_t at, float value) {
  if (condition)
    to[at] = value;
}

template <class T>
void append_if_reached(T* list, std::int32_t& next, float score, float bound, std::int32_t mark) {
  if (!(score >= bound))
    return;
  list[next] = {score, mark};
  next += 32;
}

inline std::uint32_t widened(std::uint32_t codes) {
  auto const value = [](std::uint32_t code) {
    return std::uint32_t(
        fp16_from_float(Element<e4m3fn>::to_float({static_cast<std::uint8_t>(code)})).bits);
  };
  return value(codes & 0xff) | value(codes >> 8 & 0xff) << 16;
}

struct CtaCluster {
  int rank() const { return emulation::self().cta->rank; }
  int ranks() const { return emulation::cluster_ctas(); }
  void barrier() const {
    __syncwarp();
    emulation::meet(*emulation::self().cta->cluster,
                    emulation::cluster_ctas() * emulation::cta_threads(), "the cluster's barrier");
  }
  template <class T>
  T* at(T* object, int rank) const {
    return static_cast<T*>(emulation::in_cta(object, rank));
  }
};

} // namespace cuda
HISA_NAMESPACE_END
