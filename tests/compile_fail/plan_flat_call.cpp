// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: a plan with levels takes pooled keys (or block lists) after the keys
// A plan with a level called without pooled keys.
#include "given.hpp"

void wrong(const Given& g) {
  g.one_level()(g.exec, g.queries, g.keys, g.ranges, g.out, g.workspace);
}
