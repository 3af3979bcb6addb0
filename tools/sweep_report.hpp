// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A sweep as a table for people, as JSON for programs, and as a plot.
#pragma once

#include "sweep.hpp"

#include <filesystem>
#include <ostream>
#include <vector>

namespace hisa::tools {

/// The points on a front, cheapest first, and the sentence that names the best one.
void print_table(std::ostream& out, const std::vector<Dump>& dumps, const Sweep& sweep);

/// Writes all points. The schema is described in tools/README.md.
/// @throws std::runtime_error if the file cannot be written
void write_json(const std::filesystem::path& file, const std::vector<Dump>& dumps,
                const Sweep& sweep);

/// Draws all points and the fronts, one panel for each measure that the dumps have.
/// @throws std::runtime_error if the file cannot be written
void write_plot(const std::filesystem::path& file, const std::vector<Dump>& dumps,
                const Sweep& sweep);

} // namespace hisa::tools
