// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa: pooled keys must be writable and of the keys' element type
// Rows of bf16 from keys of e4m3.
#include "given.hpp"

void wrong(const Given& g, const hisa::PooledKeys<hisa::bf16>& pooled) {
  hisa::pool_rebuild<MeanPool>(g.exec, g.keys, pooled, g.sequences);
}
