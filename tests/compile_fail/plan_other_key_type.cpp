// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: the keys are not of the type that the plan was made for
// Keys of bf16 to a plan of e4m3.
#include "given.hpp"

void wrong(const Given& g, const hisa::ContiguousKeys<hisa::bf16>& keys) {
  g.flat()(g.exec, g.queries, keys, g.ranges, g.out, g.workspace);
}
