// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Levels: block sizes go from coarse to fine, each a multiple of the next
// The fine level before the coarse one.
#include <hisa/shape.hpp>

auto wrong() {
  return hisa::Levels<16, 128>::block_sizes();
}
