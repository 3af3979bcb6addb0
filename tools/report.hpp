// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Evaluations as a table for people, as JSON for programs, and as a safetensors file of selections.
#pragma once

#include "evaluate.hpp"

#include <filesystem>
#include <ostream>
#include <vector>

namespace hisa::tools {

/// A dump with its evaluation.
struct Report {
  Dump dump;
  Evaluation evaluation;
};

/// One block of lines a dump: a row per indexer and setting.
void print_table(std::ostream& out, const Report& report);

/// Writes all reports. The schema is described in tools/README.md.
/// @throws std::runtime_error if the file cannot be written
void write_json(const std::filesystem::path& file, const std::vector<Report>& reports);

/// Writes `flat.indices`, `hierarchical.indices` and, where there is one, `block_sparse.indices` of
/// the report's only setting: I32 [rows, topk], absolute, ascending, -1 tail.
/// @throws std::runtime_error if the file cannot be written
void write_selections(const std::filesystem::path& file, const Report& report);

} // namespace hisa::tools
