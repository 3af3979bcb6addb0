// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Plan: CallerBlocks takes exactly one level, the block size of the lists
// Block lists of two block sizes.
#include "given.hpp"

auto wrong(const Given& g) {
  return hisa::make_plan<Levels<128, 16>, hisa::CallerBlocks>(g.exec, g.shape,
                                                              {.keep = {1, 1}, .topk = 1});
}
