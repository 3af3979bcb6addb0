// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::make_block_sparse_plan: takes at least one level
// Block-sparse without blocks.
#include "given.hpp"

auto wrong(const Given& g) {
  return hisa::make_block_sparse_plan<Levels<>>(g.exec, g.shape, {.topk = 128});
}
