// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Contexts of ten million keys against the contract.
#pragma once

#include "contract.hpp"
#include "scale.hpp"

namespace suite {

inline void long_contexts(const Scale& scale) {
  if (!scale.large)
    return skip("long: only at full scale");
  if (!affordable(scale, std::size_t(6) << 30))
    return;
  Case const any{.M = 5, .N = 10000019, .topk = 2048};
  Problem const p(any, 91);
  auto const with = [&any](std::vector<reference::LevelSize> levels) {
    Case c = any;
    c.levels = std::move(levels);
    return c;
  };
  for (const Case& c : {with({{128, 64}}), with({{128, 256}, {16, 512}}), with({{16, 512}}),
                        with({}), by_flat_kernel(any, 2), by_sift_kernel(any, 2)})
    item(c.text(), [&] { run(c, p); });
}

} // namespace suite
