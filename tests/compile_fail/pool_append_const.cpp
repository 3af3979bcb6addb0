// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa: pooled keys must be writable and of the keys' element type
// Appending to rows that may only be read.
#include "given.hpp"

void wrong(const Given& g, const hisa::PooledKeys<const e4m3fn>& pooled) {
  hisa::pool_append<MeanPool>(g.exec, g.keys, pooled, g.sequences);
}
