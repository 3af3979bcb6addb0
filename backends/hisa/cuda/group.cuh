// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Groups of CUDA threads for the code of hisa/gpu: a whole CTA, or some of its warps.
#pragma once

#include <hisa/gpu/group.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Kernels of one call overlap their starts: a kernel lets its successor start at once, and touches
/// memory only when its predecessors are complete.
__device__ inline void begin_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// What every group of CUDA threads shares.
struct WarpOperations {
  static constexpr int wave = 32;

  template <class T>
  __device__ T load(const T* p) const {
    return *p;
  }
  template <class T>
  __device__ void store(T* p, T value) const {
    *p = value;
  }
  __device__ void add(std::int32_t* p, std::int32_t value) const { atomicAdd(p, value); }
  template <class T>
  __device__ T shuffle_up(T value, int distance) const {
    return __shfl_up_sync(0xffffffffu, value, distance);
  }
  template <class T>
  __device__ T shuffle(T value, int source) const {
    return __shfl_sync(0xffffffffu, value, source);
  }
};

/// `Threads` neighbouring threads of a CTA, the `index`-th such group of it.
template <int Threads>
struct Threadgroup : WarpOperations {
  static_assert(Threads % 32 == 0);
  int index = 0;

  __device__ explicit Threadgroup(int i) : index(i) {}
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % Threads; }
  __device__ int size() const { return Threads; }
  __device__ void barrier() const {
    __syncwarp(); // the instruction wants whole warps
    named_barrier<1>();
  }

private:
  /// Barrier 0 is __syncthreads. The number is an immediate, so that tools can tell barriers apart.
  template <int Id>
  __device__ void named_barrier() const {
    if constexpr (Id < 1024 / Threads && Id < 15) {
      if (index + 1 != Id)
        return named_barrier<Id + 1>();
    }
    asm volatile("bar.sync %0, %1;" ::"n"(Id), "n"(Threads) : "memory");
  }
};

/// All threads of a CTA, of which there are `Threads`.
template <int Threads>
struct Cta : WarpOperations {
  __device__ int lane() const { return static_cast<int>(threadIdx.x); }
  __device__ int size() const { return Threads; }
  __device__ void barrier() const {
    __syncwarp();
    __syncthreads();
  }
};

} // namespace cuda
HISA_NAMESPACE_END
