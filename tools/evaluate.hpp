// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Runs the three indexers over a dump.
#pragma once

#include "fidelity.hpp"
#include "setting.hpp"

#include <optional>
#include <string>
#include <vector>

namespace hisa::tools {

/// One indexer's selection and what it cost.
struct Method {
  Selected selected;
  double keys_per_query = 0; ///< rows scored on all levels, mean over the queries
  double seconds = 0;        ///< selection of all queries, without pooling
  Fidelity fidelity;         ///< against flat
};

/// What a setting gives on a dump.
struct Outcome {
  Setting setting;
  double pool_seconds = 0; ///< all levels from scratch
  Method hierarchical;
  std::optional<Method> block_sparse; ///< where the finest block size divides topk
};

/// All settings on a dump.
struct Evaluation {
  RowRange rows; ///< of the dump
  int topk = 0;
  Method flat;
  std::vector<Outcome> outcomes;
};

/// Throws hisa::precondition_error, as evaluate would, if the budgets of a setting are impossible,
/// BadInput if there is no such rule. Cheap: nothing is computed.
void check_settings(const Dump& dump, const std::vector<Setting>& settings, int topk);

/// Evaluates the settings on some rows of a dump. Kokkos must be initialised.
Evaluation evaluate(const Dump& dump, const RowRange& rows, const std::vector<Setting>& settings,
                    int topk, const Progress& progress);

} // namespace hisa::tools
