// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: contiguous keys take Ranges, paged keys take Lengths
// Ranges with paged keys.
#include "given.hpp"

void wrong(const Given& g) {
  g.decode()(g.exec, g.queries, g.pages, g.ranges, g.out, g.workspace);
}
