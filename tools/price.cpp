// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "price.hpp"

#include <hisa/candidates.hpp>

namespace hisa::tools {

namespace {

/// For a query that sees the keys 0 .. pos. Boundary blocks are kept on every level, so each kept
/// list starts and ends at a known block.
std::int64_t keys_scored(std::int32_t pos, const Budgets& budgets, int rows) {
  Visible visible;
  visible.end = std::int64_t(pos) + 1;
  std::int64_t scored = 0;
  std::vector<std::int32_t> list;
  KeptBlocks kept;
  for (int l = 0; l < budgets.keep.count; ++l) {
    int const size = budgets.block_size[l];
    Candidates const candidates(visible, kept, size);
    Contest const contest =
        Contest::blocks(candidates, visible, size, budgets.keep[l], Boundary::counted);
    scored += contest.decided() ? 0 : contest.size() * rows;
    std::int32_t const last = static_cast<std::int32_t>(visible.end_row(size) - 1);
    list.assign(std::size_t(contest.kept()), last);
    if (budgets.keep[l] > 1)
      list.front() = 0;
    kept = {list.data(), contest.kept(), size};
  }
  Contest const tokens = Contest::tokens(Candidates(visible, kept, 1), budgets.topk);
  return scored + (tokens.decided() ? 0 : tokens.size());
}

} // namespace

double mean_keys_scored(const Dump& dump, const RowRange& range, const Budgets& budgets, int rows) {
  double sum = 0;
  for (std::int32_t row = range.first; row < range.end; ++row)
    sum += double(keys_scored(dump.pos[std::size_t(row)], budgets, rows));
  return sum / range.count();
}

} // namespace hisa::tools
