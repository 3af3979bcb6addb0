// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The emulation's hisa/cuda/group.cuh.
#pragma once

#include <hisa/gpu/group.hpp>

#include "../../intrinsics.hpp"

HISA_NAMESPACE_BEGIN
namespace cuda {

inline void begin_kernel() {}
template <int Registers>
void raise_registers() {}
template <int Registers>
void lower_registers() {}

struct WarpOperations {
  static constexpr int wave = 32;

  template <class T>
  T load(const T* p) const {
    return *p;
  }
  template <class T>
  void store(T* p, T value) const {
    *p = value;
  }
  void count(std::uint32_t* p, bool condition) const {
    if (condition)
      atomicAdd(p, 1u);
  }
  void merge(std::uint32_t* p, std::uint32_t bits) const { atomicOr(p, bits); }
  template <class T>
  T shuffle_up(T value, int distance) const {
    return __shfl_up_sync(0xffffffffu, value, static_cast<unsigned>(distance));
  }
  template <class T>
  T shuffle(T value, int source) const {
    return __shfl_sync(0xffffffffu, value, source);
  }
};

struct Warp : WarpOperations {
  int lane() const { return static_cast<int>(threadIdx.x) % wave; }
  static constexpr int size() { return wave; }
  void barrier() const { __syncwarp(); }
};

template <int Threads>
struct Cta : WarpOperations {
  int lane() const { return static_cast<int>(threadIdx.x); }
  static constexpr int size() { return Threads; }
  void barrier() const {
    __syncwarp();
    __syncthreads();
  }
};

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
