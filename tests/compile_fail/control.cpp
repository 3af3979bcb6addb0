// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The right uses, which compile: so the cases here fail for what is wrong in them.
#include "given.hpp"

void right(const Given& g, const hisa::PooledKeys<e4m3fn>& pooled) {
  g.flat()(g.exec, g.queries, g.keys, g.ranges, g.out, g.workspace);
  g.one_level()(g.exec, g.queries, g.keys, g.pooled, g.ranges, g.out, g.workspace);
  g.two_levels()(g.exec, g.queries, g.keys, std::array{g.pooled, g.pooled}, g.ranges, g.out,
                 g.workspace);
  g.refine()(g.exec, g.queries, g.keys, g.lists, g.ranges, g.out, g.workspace);
  g.decode()(g.exec, g.queries, g.pages, g.lengths, g.out, g.workspace);
  hisa::pool_append<MeanPool>(g.exec, g.keys, pooled, g.sequences);
}
