// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "intrinsics.hpp"

namespace emulation {

void set_indices(int thread, const unsigned (&block)[2], int threads, const unsigned (&ctas)[2]) {
  threadIdx = {static_cast<unsigned>(thread), 0, 0};
  blockIdx = {block[0], block[1], 0};
  blockDim = {static_cast<unsigned>(threads), 1, 1};
  gridDim = {ctas[0], ctas[1], 1};
}

} // namespace emulation
