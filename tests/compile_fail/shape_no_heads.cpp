// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Shape: Heads must be positive or dynamic
// No heads.
#include <hisa/shape.hpp>

auto wrong() {
  return hisa::Shape<0>().heads;
}
