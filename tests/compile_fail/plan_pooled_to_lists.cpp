// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: BlockLists go with a plan of CallerBlocks, pooled keys with a plan of a
// pooling rule Pooled keys to a plan that refines block lists.
#include "given.hpp"

void wrong(const Given& g) {
  g.refine()(g.exec, g.queries, g.keys, g.pooled, g.ranges, g.out, g.workspace);
}
