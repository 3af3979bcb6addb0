// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What kernels ask of the machine beside CUDA's own functions: the overlap of their starts, shares
/// of the registers, counting in shared memory, clusters of CTAs. Only what is an instruction,
/// or an address of shared memory: tests/emulation has its likeness.
#pragma once

#include <hisa/config.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Kernels of one call overlap their starts: a kernel waits until its predecessor is complete, and
/// lets its successor start. May be called again. In every CTA some thread calls it before the CTA
/// ends, whatever there is to do, and no thread lets the successor start in another way: so when a
/// kernel starts, all that came before its predecessor is complete.
__device__ inline void begin_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
/// Comes before a thread reads memory ahead of begin_kernel. That is for a kernel that follows
/// another of its call: the caller's data and what kernels before that one left may be read; what
/// that one writes may not.
/// @param follows  whether the kernel does; else this waits
__device__ inline void begin_kernel_reading(bool follows) {
  if (!follows)
    return begin_kernel();
#if defined(__CUDA_ARCH__)
  asm volatile("fence.acq_rel.gpu;" ::: "memory"); // no older line of the first cache
#endif
}

/// Whether the lane is the one that does what a warp does once, the same one always. All lanes of
/// the warp call it. Unlike by a lane's number the compiler knows that there is one, and gives the
/// copy engine its operands without a loop over lanes.
__device__ inline bool elected() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  std::uint32_t is;
  asm volatile("{\n\t.reg .pred p;\n\telect.sync _|p, 0xffffffff;\n\t"
               "selp.u32 %0, 1, 0, p;\n\t}"
               : "=r"(is));
  return is != 0;
#else
  return threadIdx.x % 32 == 0;
#endif
}

/// The same object in shared memory, by an address that the compiler (nvcc 13.0) holds, and knows
/// to be the same in all lanes of the warp, instead of finding it anew where it is used. All lanes
/// call it.
template <class T>
__device__ T& by_held_address(T& object) {
  auto const at = static_cast<unsigned>(__cvta_generic_to_shared(&object));
  return *static_cast<T*>(__cvta_shared_to_generic(__shfl_sync(0xffffffffu, at, 0)));
}

/// Index of the highest bit of a word that is not 0: in one instruction, which 31 - __clz is not
/// wherever the compiler keeps what __clz gives.
__device__ inline int highest_bit(std::uint32_t bits) {
  int at;
  asm("bfind.u32 %0, %1;" : "=r"(at) : "r"(bits));
  return at;
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

/// Counts in shared memory where `condition` holds, without a branch: the inner loop of the
/// selections.
__device__ inline void count_in_shared(std::uint32_t* p, bool condition) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; @p red.shared.add.u32 [%0], 1; }" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(p))),
               "r"(static_cast<unsigned>(condition))
               : "memory");
}

/// Stores to[at] in global memory if the condition holds, without a branch. If not, `to` may be
/// null, and `at` anything.
__device__ inline void store_if(bool condition, float* to, std::int32_t at, float value) {
  std::uint64_t const address =
      reinterpret_cast<std::uint64_t>(to) + static_cast<std::uint64_t>(std::int64_t(at) * 4);
  asm volatile(
      "{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %0, 0;\n\t@p st.global.f32 [%1], %2;\n\t}" ::"r"(
          static_cast<unsigned>(condition)),
      "l"(address), "f"(value)
      : "memory");
}

/// Appends a score and a mark to a list whose places are 256 bytes apart, if the score reaches a
/// bound; without a branch.
template <class T>
__device__ void append_if_reached(T* list, std::int32_t& next, float score, float bound,
                                  std::int32_t mark) {
  std::uint64_t const address =
      reinterpret_cast<std::uint64_t>(list) + static_cast<std::uint64_t>(std::int64_t(next) * 8);
  asm volatile("{\n\t.reg .pred p;\n\tsetp.ge.f32 p, %2, %3;\n\t"
               "@p st.global.v2.b32 [%1], {%4, %5};\n\t@p add.s32 %0, %0, 32;\n\t}"
               : "+r"(next)
               : "l"(address), "f"(score), "f"(bound), "r"(__float_as_int(score)), "r"(mark)
               : "memory");
}

/// Two e4m3 codes as fp16 values, the lower one in the lower half.
__device__ inline std::uint32_t widened(std::uint32_t codes) {
  std::uint32_t values;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(values) : "h"(static_cast<std::uint16_t>(codes)));
  return values;
}

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
  /// Orders shared memory only: to release global memory too costs much more.
  __device__ void barrier() const {
    __syncwarp();
    asm volatile("fence.release.sync_restrict::shared::cta.cluster;" ::: "memory");
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
    asm volatile("fence.acquire.sync_restrict::shared::cluster.cluster;" ::: "memory");
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
