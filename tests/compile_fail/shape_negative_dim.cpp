// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::Shape: HeadDim must be positive or dynamic
// A negative head dimension.
#include <hisa/shape.hpp>

auto wrong() {
  return hisa::Shape<64, -128>().head_dim;
}
