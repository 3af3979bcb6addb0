// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A hierarchy to try on a dump.
#pragma once

#include <hisa/shape.hpp>

#include <functional>
#include <string>
#include <vector>

namespace hisa::tools {

/// A pooling rule, levels and budgets.
struct Setting {
  std::string pooling;                     ///< name of the rule (rules.hpp)
  std::vector<int> block_size, block_topk; ///< coarse to fine
};

/// `128:64 > 16:512 max`: block sizes with the blocks kept, and the rule unless it is the mean.
inline std::string name_of(const Setting& setting) {
  std::string name;
  for (std::size_t l = 0; l < setting.block_size.size(); ++l)
    name += (l == 0 ? "" : " > ") + std::to_string(setting.block_size[l]) + ":" +
            std::to_string(setting.block_topk[l]);
  return setting.pooling == "mean" ? name : name + " " + setting.pooling;
}

/// The setting's budgets, block sizes included.
inline Budgets budgets_of(const Setting& setting, int topk) {
  Budgets budgets;
  budgets.topk = topk;
  for (int size : setting.block_size)
    budgets.block_size.push_back(size);
  for (int keep : setting.block_topk)
    budgets.keep.push_back(keep);
  return budgets;
}

/// Told what is being done and how much of it is, in [0, 1].
using Progress = std::function<void(const std::string& step, double share)>;

} // namespace hisa::tools
