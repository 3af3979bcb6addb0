// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Rings of buffers in shared memory between the roles of a CTA: barriers that count arrivals, and
/// asynchronous copies that arrive when they are done.
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

/// The barriers of a ring of `Buffers` buffers.
template <int Buffers>
struct RingBarriers {
  Barrier full[Buffers];
  Barrier empty[Buffers];

  __device__ void init(int writers, int readers) {
    for (int i = 0; i < Buffers; ++i) {
      full[i].init(writers);
      empty[i].init(readers);
    }
  }
};

/// Lets the copy engine see barriers that this thread has initialized.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// A place in a ring: which buffer, and the parity of its current round.
template <int Buffers>
struct Cursor {
  int buffer = 0;
  std::uint32_t parity = 0;

  /// Moves on by `n` buffers, n <= Buffers.
  __device__ void advance(int n = 1) {
    buffer += n;
    if (buffer >= Buffers) {
      buffer -= Buffers;
      parity ^= 1;
    }
  }
  __device__ void wait_full(RingBarriers<Buffers>& ring) const { ring.full[buffer].wait(parity); }
  /// Waits until the readers of the round before have left; passes at once in the first round.
  __device__ void wait_empty(RingBarriers<Buffers>& ring) const {
    ring.empty[buffer].wait(parity ^ 1);
  }
};

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

/// Has the copy engine bring a box of rows of 128 bytes, from row `row` on, to a swizzled tile.
/// Rows beyond the tensor become zeros. The barrier expects the bytes.
__device__ inline void copy_box(void* to, const CUtensorMap& map, std::int32_t row,
                                Barrier& barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(to)),
               "l"(&map), "r"(0), "r"(row), "r"(shared_address(&barrier.word))
               : "memory");
}

/// Byte offset of 16-byte chunk `chunk` of row `row` in a tile of 128-byte rows, chunks rotated so
/// that a column of chunks spreads over all banks: the tensor core's 128-byte swizzle.
__host__ __device__ constexpr int swizzled(int row, int chunk) {
  return row * 128 + ((chunk ^ (row & 7)) << 4);
}

} // namespace cuda
HISA_NAMESPACE_END
