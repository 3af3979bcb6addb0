// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Levels: block sizes go from coarse to fine, each a multiple of the next
// One level twice.
#include <hisa/shape.hpp>

auto wrong() {
  return hisa::Levels<64, 64>::block_sizes();
}
