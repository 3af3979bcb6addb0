// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The machine's barriers in shared memory, which count arrivals, and its asynchronous copies,
/// which arrive when they are done. Only what is an instruction: tests/emulation has its likeness.
#pragma once

#include <hisa/config.hpp>

#include <cuda.h>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// The address of shared memory as the instructions take it.
__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

/// A barrier in shared memory that completes a phase when `count` arrivals have come.
struct Barrier {
  std::uint64_t word;

  __device__ void init(int count) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(&word)), "r"(count));
  }
  /// Arrives; what the thread wrote before is seen by those that wait.
  __device__ void arrive() {
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(&word)) : "memory");
  }
  /// Arrives, and lets the phase wait for `bytes` bytes of the copy engine too.
  __device__ void arrive_expecting(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(&word)),
                 "r"(bytes)
                 : "memory");
  }
  /// Arrives once the copies that the thread has started so far are complete.
  __device__ void arrive_after_copies() {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(&word))
                 : "memory");
  }
  /// Arrives, and waits for the completion of the phase that it has arrived in.
  __device__ void meet() {
    asm volatile("{\n\t.reg .pred done;\n\t.reg .b64 phase;\n\t"
                 "mbarrier.arrive.shared.b64 phase, [%0];\n\t"
                 "again:\n\t"
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
                 "mbarrier.try_wait.shared.b64 done, [%0], phase;\n\t"
#else
                 "mbarrier.test_wait.shared.b64 done, [%0], phase;\n\t"
#endif
                 "@!done bra again;\n\t}" ::"r"(shared_address(&word))
                 : "memory");
  }
  /// Waits for the completion of the phase of that parity.
  __device__ void wait(std::uint32_t parity) {
    asm volatile("{\n\t.reg .pred done;\n\t"
                 "again:\n\t"
                 "mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n\t"
                 "@!done bra again;\n\t}" ::"r"(shared_address(&word)),
                 "r"(parity)
                 : "memory");
  }
};

/// Lets the copy engine see barriers that this thread has initialized.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// Lets the tensor core see what this thread has stored in shared memory.
__device__ inline void publish_stores() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Starts a copy of 16 bytes from global to shared memory.
__device__ inline void copy_16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
}
/// Starts a copy of 4 bytes from global to shared memory.
__device__ inline void copy_4(void* to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
}
/// Waits for the copies that the thread has started.
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

/// Ends a series of the thread's copies.
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits for all series of copies but the last `Open`.
template <int Open>
__device__ void wait_series() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Open) : "memory");
}

/// Has the copy engine fetch a map before its first use.
__device__ inline void fetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/// Has the copy engine bring a box of rows of 128 bytes, from row `row` on, to a swizzled tile.
/// Rows beyond the tensor become zeros. The barrier expects the bytes.
__device__ inline void copy_box(void* to, const CUtensorMap& map, std::int32_t row,
                                Barrier& barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(to)),
               "l"(&map), "r"(0), "r"(row), "r"(shared_address(&barrier.word))
               : "memory");
}

/// Has the copy engine bring consecutive floats of a one-dimensional tensor, from `first` on, a
/// multiple of 4: the map's box of them. Those beyond the tensor become zeros. The barrier expects
/// the bytes.
__device__ inline void copy_line(void* to, const CUtensorMap& map, std::int32_t first,
                                 Barrier& barrier) {
  asm volatile("cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2}], [%3];" ::"r"(shared_address(to)),
               "l"(&map), "r"(first), "r"(shared_address(&barrier.word))
               : "memory");
}

} // namespace cuda
HISA_NAMESPACE_END
