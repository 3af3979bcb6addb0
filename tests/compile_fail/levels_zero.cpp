// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Levels: block sizes go from coarse to fine, each a multiple of the next
// Blocks of no token.
#include <hisa/shape.hpp>

auto wrong() {
  return hisa::Levels<0>::block_sizes();
}
