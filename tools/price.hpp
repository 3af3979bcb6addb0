// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What a hierarchy costs: the rows that it scores.
#pragma once

#include "dump.hpp"
#include "fidelity.hpp"

#include <hisa/shape.hpp>

namespace hisa::tools {

/// Rows of all levels that are scored for a query, a mean over some rows of a dump. Boundary blocks
/// are `counted`; `budgets` holds the block sizes; `rows` are the pooling rule's rows a block.
double mean_keys_scored(const Dump& dump, const RowRange& range, const Budgets& budgets, int rows);

} // namespace hisa::tools
