// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: PoolingRule
// A rule that is none.
#include "given.hpp"

void wrong(const Given& g) {
  hisa::pool_append<hisa::RadixSelect>(g.exec, g.keys, g.pooled, g.sequences);
}
