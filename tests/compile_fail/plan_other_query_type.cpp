// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: queries and keys must have the plan's element type
// Queries of bf16 to a plan of e4m3.
#include "given.hpp"

void wrong(const Given& g, const hisa::Queries<hisa::bf16>& queries) {
  g.flat()(g.exec, queries, g.keys, g.ranges, g.out, g.workspace);
}
