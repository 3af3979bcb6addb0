// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Levels: too many levels
// Seven levels.
#include <hisa/shape.hpp>

auto wrong() {
  return hisa::Levels<64, 32, 16, 8, 4, 2, 1>::block_sizes();
}
