// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: pass one PooledKeys per level, coarse to fine
// Two levels of pooled keys to a plan of one.
#include "given.hpp"

void wrong(const Given& g) {
  g.one_level()(g.exec, g.queries, g.keys, std::array{g.pooled, g.pooled}, g.ranges, g.out,
                g.workspace);
}
