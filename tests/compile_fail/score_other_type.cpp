// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::score: queries and keys must have one element type
// Queries of bf16 against keys of e4m3.
#include "given.hpp"

void wrong(const Given& g, const hisa::Queries<hisa::bf16>& queries) {
  hisa::score(g.exec, queries, g.keys, g.ranges, g.logits, g.workspace);
}
