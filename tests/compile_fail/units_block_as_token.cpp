// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: TokenIndex
// A block index where a token index is expected.
#include <hisa/tensors.hpp>

auto wrong(const hisa::ContiguousKeys<float>& keys, hisa::BlockIndex block) {
  return keys.row({}, block);
}
