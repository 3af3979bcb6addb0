// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Groups of CUDA threads for the code of hisa/gpu: a warp or a whole CTA; and clusters of CTAs.
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

/// Roles of different needs share the registers of a CTA: a warpgroup takes more or gives some up.
/// All threads of the warpgroup call it.
template <int Registers>
__device__ void raise_registers() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
#endif
}
template <int Registers>
__device__ void lower_registers() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
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
  /// Without a branch: counting is the inner loop of the selections.
  __device__ void count(std::uint32_t* p, bool condition) const {
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; @p red.shared.add.u32 [%0], 1; }" ::"r"(
                     static_cast<unsigned>(__cvta_generic_to_shared(p))),
                 "r"(static_cast<unsigned>(condition))
                 : "memory");
  }
  __device__ void merge(std::uint32_t* p, std::uint32_t bits) const { atomicOr(p, bits); }
  template <class T>
  __device__ T shuffle_up(T value, int distance) const {
    return __shfl_up_sync(0xffffffffu, value, distance);
  }
  template <class T>
  __device__ T shuffle(T value, int source) const {
    return __shfl_sync(0xffffffffu, value, source);
  }
};

/// One warp of a CTA.
struct Warp : WarpOperations {
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % wave; }
  __device__ static constexpr int size() { return wave; }
  __device__ void barrier() const { __syncwarp(); }
};

/// All threads of a CTA, of which there are `Threads`.
template <int Threads>
struct Cta : WarpOperations {
  __device__ int lane() const { return static_cast<int>(threadIdx.x); }
  __device__ static constexpr int size() { return Threads; }
  __device__ void barrier() const {
    __syncwarp();
    __syncthreads();
  }
};

/// The CTAs of a cluster, or a CTA that was launched without one.
struct CtaCluster {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __device__ int rank() const {
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return static_cast<int>(rank);
  }
  __device__ int ranks() const {
    unsigned ranks;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(ranks));
    return static_cast<int>(ranks);
  }
  __device__ void barrier() const {
    __syncwarp();
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
  template <class T>
  __device__ T* at(T* object, int rank) const {
    T* there;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(object), "r"(rank));
    return there;
  }
#else
  __device__ int rank() const {
    return 0;
  }
  __device__ int ranks() const {
    return 1;
  }
  __device__ void barrier() const {}
  template <class T>
  __device__ T* at(T* object, int) const {
    return object;
  }
#endif
};

} // namespace cuda
HISA_NAMESPACE_END
