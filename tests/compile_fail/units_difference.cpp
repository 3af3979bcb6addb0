// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: operator-
// A page index minus a block index.
#include <hisa/units.hpp>

auto wrong(hisa::PageIndex page, hisa::BlockIndex block) {
  return page - block;
}
