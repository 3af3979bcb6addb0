// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A small writer of SVG scatter plots.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace hisa::tools {

/// A dot.
struct Dot {
  double x = 0, y = 0;
  std::string series; ///< dots of one series have one colour
  std::string label;  ///< shown under the pointer
  bool on_line = false;
  bool hollow = false;
};

/// One plot: dots over a logarithmic x axis, and a stair through those on the line.
struct Panel {
  std::string title, x_axis;
  std::vector<Dot> dots;
};

/// Writes the panels side by side, with a legend of all series and what hollow dots are below.
/// @throws std::runtime_error if the file cannot be written
void write_svg(const std::filesystem::path& file, const std::string& title,
               const std::vector<Panel>& panels, const std::string& hollow);

} // namespace hisa::tools
