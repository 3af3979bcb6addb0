// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: pass one PooledKeys per level, coarse to fine
// One level of pooled keys to a plan of two.
#include "given.hpp"

void wrong(const Given& g) {
  g.two_levels()(g.exec, g.queries, g.keys, g.pooled, g.ranges, g.out, g.workspace);
}
