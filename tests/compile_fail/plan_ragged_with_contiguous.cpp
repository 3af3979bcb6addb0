// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: contiguous keys take Ranges, paged keys take Lengths or Ragged
// Ragged with contiguous keys.
#include "given.hpp"

void wrong(const Given& g) {
  g.flat()(g.exec, g.queries, g.keys, g.ragged, g.out, g.workspace);
}
