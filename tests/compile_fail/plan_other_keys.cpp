// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: the keys are not of the type that the plan was made for
// Paged keys to a plan of contiguous keys.
#include "given.hpp"

void wrong(const Given& g) {
  g.flat()(g.exec, g.queries, g.pages, g.lengths, g.out, g.workspace);
}
