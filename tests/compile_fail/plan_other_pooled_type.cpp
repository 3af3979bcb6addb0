// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: pass the pooled keys of the plan's element type
// Pooled keys of bf16 to a plan of e4m3.
#include "given.hpp"

void wrong(const Given& g, const hisa::PooledKeys<hisa::bf16>& pooled) {
  g.one_level()(g.exec, g.queries, g.keys, pooled, g.ranges, g.out, g.workspace);
}
