// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Hints to the compiler about values of a warp; and groups of CUDA threads for the code of
/// hisa/gpu: a warp, a part of a CTA or the whole (not the groups of queries of
/// hisa/gpu/pieces.hpp).
#pragma once

#include <hisa/cuda/barrier.cuh>
#include <hisa/cuda/machine.cuh>
#include <hisa/gpu/group.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// The same value, which the compiler keeps in a register instead of computing it again where it is
/// used. All lanes of the warp call it.
__device__ inline int held_in_register(int value) {
  return __shfl_sync(0xffffffffu, value, static_cast<int>(threadIdx.x) % 32);
}

/// What lies `bytes` behind `from`. Where `from` has the same address in all lanes, adding `bytes`
/// costs no instruction.
template <class T>
__device__ const T& behind(const T& from, int bytes) {
  return *reinterpret_cast<const T*>(reinterpret_cast<const std::uint8_t*>(&from) + bytes);
}

/// A value that is the same in all lanes of a warp, which the compiler then knows too. All call it.
template <class T>
__device__ T uniform(T value) {
  return __shfl_sync(0xffffffffu, value, 0);
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
  __device__ void count(std::uint32_t* p, bool condition) const { count_in_shared(p, condition); }
  __device__ std::uint32_t ticket(std::uint32_t* p) const { return atomicAdd(p, 1u); }
  __device__ std::uint32_t take(std::uint32_t* p, std::uint32_t count) const {
    return atomicAdd(p, count);
  }
  __device__ void add(std::uint32_t* p, std::uint32_t value) const { atomicAdd(p, value); }
  __device__ void merge(std::uint32_t* p, std::uint32_t bits) const { atomicOr(p, bits); }
  __device__ void copy(gpu::Words* to, const gpu::Words* from) const { copy_16(to, from); }
  __device__ void commit() const { commit_copies(); }
  template <int Open>
  __device__ void await() const {
    wait_series<Open>();
  }
  template <class T>
  __device__ T shuffle_up(T value, int distance) const {
    return __shfl_up_sync(0xffffffffu, value, distance);
  }
  template <class T>
  __device__ T shuffle(T value, int source) const {
    return __shfl_sync(0xffffffffu, value, source);
  }
  __device__ std::uint32_t sum(std::uint32_t value) const {
    return __reduce_add_sync(0xffffffffu, value);
  }
  __device__ std::uint32_t max(std::uint32_t value) const {
    return __reduce_max_sync(0xffffffffu, value);
  }
};

/// A warp.
struct Warp : WarpOperations {
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static constexpr int size() { return 32; }
  __device__ void barrier() const { __syncwarp(); }
};

/// One of the parts of `Threads` threads, whole warps, that a CTA divides into.
template <int Threads>
class Part : public WarpOperations {
public:
  /// @param barrier  of this part, and its count is `Threads`
  __device__ explicit Part(Barrier& barrier) : barrier_(barrier) {}

  __device__ static int number() { return static_cast<int>(threadIdx.x) / Threads; }
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % Threads; }
  __device__ static constexpr int size() { return Threads; }
  /// No named barrier: where parts have passed those in different numbers, racecheck does not
  /// follow the CTA's barrier (tests/cuda/racecheck_parts.cu).
  __device__ void barrier() const {
    __syncwarp();
    barrier_.meet();
  }

private:
  Barrier& barrier_;
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

} // namespace cuda
HISA_NAMESPACE_END
