// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// How close a selection is to the flat indexer's, by the three measures that matter together:
/// sets, attention, needles.
#pragma once

#include "dump.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace hisa::tools {

/// Some consecutive rows of a dump, [first, end).
struct RowRange {
  std::int32_t first = 0, end = 0;
  [[nodiscard]] std::int32_t count() const { return end - first; }
  [[nodiscard]] bool contains(std::int32_t row) const { return row >= first && row < end; }
};

/// Selected tokens of consecutive rows: absolute, ascending, -1 beyond the end of a row.
struct Selected {
  std::int32_t topk = 0;
  std::vector<std::int32_t> indices; ///< [rows, topk]

  /// The tokens of the i-th row, without the tail.
  [[nodiscard]] std::span<const std::int32_t> row(std::int32_t i) const;
};

/// A selection measured against flat's.
struct Fidelity {
  double iou_mean = 0, iou_min = 0; ///< intersection over union of the sets, over all rows
  /// Attention on the selected tokens, summed over the rows that have it, divided by flat's; empty
  /// where no such row was selected.
  std::optional<double> mass;
  /// Of the needle tokens that flat selects on the rows that ask, the share selected; empty where
  /// there are none.
  std::optional<double> needles;
};

/// Adds up rows of a dump to a Fidelity, one after the other, in any order.
class Tally {
  std::int64_t rows_ = 0, needles_ = 0, needles_by_flat_ = 0;
  double iou_ = 0, iou_min_ = 1, mass_ = 0, mass_by_flat_ = 0;

public:
  using Tokens = std::span<const std::int32_t>;

  /// Compares a row's selection with flat's; both ascending. O(tokens).
  void add(const Dump& dump, std::int32_t row, Tokens flat, Tokens selected);

  [[nodiscard]] Fidelity result() const;
};

/// Measures `selected` against `flat`; both hold the rows `rows` of the dump. O(rows * topk).
Fidelity measure(const Dump& dump, const RowRange& rows, const Selected& flat,
                 const Selected& selected);

} // namespace hisa::tools
