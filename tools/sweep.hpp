// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Many settings over many dumps: which of them are worth their price.
#pragma once

#include "fidelity.hpp"
#include "setting.hpp"

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace hisa::tools {

/// A setting on one dump.
struct DumpPoint {
  double keys_per_query = 0; ///< rows scored on all levels, mean over the queries
  Fidelity fidelity;         ///< against flat
};

/// What a setting is judged by: on its worst dump, of those that have the measure.
enum class Measure { mass, needles, iou };
inline constexpr std::array measures{Measure::mass, Measure::needles, Measure::iou};
const char* name_of(Measure measure);

/// A setting on all dumps.
struct SweepPoint {
  Setting setting;
  std::vector<DumpPoint> dumps;
  double keys_per_query = 0;      ///< mean over the dumps
  std::optional<double> worst[3]; ///< by Measure
  bool on_front[3] = {};          ///< by Measure: no setting as cheap is better
};

/// All of it.
struct Sweep {
  int topk = 0;
  std::vector<double> flat_keys_per_query; ///< of each dump
  std::vector<SweepPoint> points;          ///< ascending price
  /// The cheapest point that keeps enough on every dump.
  std::optional<std::size_t> best;
};

/// What every dump must keep of flat's attention mass and needles.
inline constexpr double enough_mass = 0.99, enough_needles = 0.95;

/// The grid: one and two levels of blocks of 16 to 256, candidate budgets of 2 to 8 times topk,
/// every rule where its rows stand for 8 tokens or more.
/// @throws BadInput if there is no such rule
std::vector<Setting> sweep_grid(const std::vector<std::string>& rules, int topk);

/// Runs the settings over rows of each dump. Tokens are scored once a dump, blocks once for each
/// rule and block size. Kokkos must be initialised.
Sweep sweep(const std::vector<Dump>& dumps, const std::vector<RowRange>& rows,
            const std::vector<Setting>& settings, int topk, const Progress& progress);

/// Fills in what follows from the points' dumps: prices, worst figures, order, fronts and the best.
void judge(Sweep& sweep);

} // namespace hisa::tools
