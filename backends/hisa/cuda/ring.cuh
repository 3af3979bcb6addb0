// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Rings of buffers in shared memory between the roles of a CTA.
#pragma once

#include <hisa/cuda/barrier.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// The barriers of a ring of `Buffers` buffers.
template <int Buffers>
struct RingBarriers {
  static constexpr int buffers = Buffers;
  Barrier full[Buffers];
  Barrier empty[Buffers];

  __device__ void init(int writers, int readers) {
    for (int i = 0; i < Buffers; ++i) {
      full[i].init(writers);
      empty[i].init(readers);
    }
  }
};

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

} // namespace cuda
HISA_NAMESPACE_END
