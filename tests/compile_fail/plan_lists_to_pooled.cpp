// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: BlockLists go with a plan of CallerBlocks, pooled keys with a plan of a
// pooling rule Block lists to a plan with pooled levels.
#include "given.hpp"

void wrong(const Given& g) {
  g.one_level()(g.exec, g.queries, g.keys, g.lists, g.ranges, g.out, g.workspace);
}
