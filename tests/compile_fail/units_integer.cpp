// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: TokenIndex
// An integer without a unit where a token index is expected.
#include <hisa/tensors.hpp>

auto wrong(const hisa::ContiguousKeys<float>& keys) {
  return keys.row({}, 3);
}
