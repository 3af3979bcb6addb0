// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: pass one PooledKeys per level, coarse to fine
// Pooled keys to a flat plan.
#include "given.hpp"

void wrong(const Given& g) {
  g.flat()(g.exec, g.queries, g.keys, g.pooled, g.ranges, g.out, g.workspace);
}
