// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Levels: block sizes go from coarse to fine, each a multiple of the next
// 48 does not divide 128.
#include <hisa/shape.hpp>

auto wrong() {
  return hisa::Levels<128, 48>::block_sizes();
}
