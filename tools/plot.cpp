// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "plot.hpp"

#include "safetensors.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iomanip>
#include <map>
#include <sstream>
#include <stdexcept>

namespace hisa::tools {

namespace {

constexpr double width = 380, height = 300, left = 56, top = 56, gap = 74, line = 18;
/// Colours that people with any colour vision tell apart (Okabe and Ito), then darker ones.
constexpr const char* colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
                                   "#000000", "#7f7f00", "#5e3c99", "#7f3f00", "#a0a0a0"};

std::string escape(const std::string& text) {
  std::string out;
  for (char c : text)
    out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

std::string number(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

void text(std::ostream& out, double x, double y, const char* anchor, const std::string& content) {
  out << "<text x=\"" << number(x, 1) << "\" y=\"" << number(y, 1) << "\" text-anchor=\"" << anchor
      << "\">" << escape(content) << "</text>\n";
}

/// Where values stand on the page.
struct Frame {
  double x0 = 0; ///< left end of the x axis
  double low_x = 1, high_x = 2, low_y = 0, high_y = 1;

  Frame(const Panel& panel, double x) : x0(x) {
    auto const by_x = [](const Dot& a, const Dot& b) { return a.x < b.x; };
    auto const by_y = [](const Dot& a, const Dot& b) { return a.y < b.y; };
    if (panel.dots.empty())
      return;
    auto const [least, most] = std::ranges::minmax_element(panel.dots, by_x);
    low_x = std::max(least->x, 1.0) / 1.1, high_x = std::max(most->x, 1.0) * 1.1;
    low_y = std::floor(std::ranges::min_element(panel.dots, by_y)->y * 10) / 10;
    low_y = std::clamp(low_y, 0.0, 0.9);
  }
  [[nodiscard]] double x(double value) const {
    return x0 + width * std::log(value / low_x) / std::log(high_x / low_x);
  }
  [[nodiscard]] double y(double value) const {
    return top + height * (1 - (value - low_y) / (high_y - low_y));
  }
};

void draw_axes(std::ostream& out, const Frame& frame, const Panel& panel) {
  out << "<rect x=\"" << frame.x0 << "\" y=\"" << top << "\" width=\"" << width << "\" height=\""
      << height << "\" fill=\"none\" stroke=\"#888\"/>\n";
  text(out, frame.x0 + width / 2, top - 10, "middle", panel.title);
  text(out, frame.x0 + width / 2, top + height + 36, "middle", panel.x_axis);
  for (double tick = 1; tick < frame.high_x; tick *= 2)
    if (tick >= frame.low_x) {
      out << "<path d=\"M" << number(frame.x(tick), 1) << ' ' << top << "v" << height
          << "\" stroke=\"#eee\"/>\n";
      text(out, frame.x(tick), top + height + 16, "middle", number(tick, 0));
    }
  double const step = frame.high_y - frame.low_y > 0.5 ? 0.1 : 0.05;
  for (int i = 0; frame.low_y + i * step < frame.high_y + 1e-9; ++i) {
    double const value = frame.low_y + i * step;
    out << "<path d=\"M" << frame.x0 << ' ' << number(frame.y(value), 1) << "h" << width
        << "\" stroke=\"#eee\"/>\n";
    text(out, frame.x0 - 6, frame.y(value) + 4, "end", number(value, 2));
  }
}

void draw_dot(std::ostream& out, double x, double y, double radius, const char* colour, bool hollow,
              const std::string& label) {
  out << "<circle cx=\"" << number(x, 1) << "\" cy=\"" << number(y, 1) << "\" r=\"" << radius
      << "\" stroke=\"" << colour << "\" fill=\"" << (hollow ? "white" : colour) << "\"><title>"
      << escape(label) << "</title></circle>\n";
}

void draw_dots(std::ostream& out, const Frame& frame, const Panel& panel,
               const std::map<std::string, const char*>& colour) {
  std::vector<Dot> stair;
  for (const Dot& dot : panel.dots) {
    if (dot.on_line)
      stair.push_back(dot);
    draw_dot(out, frame.x(dot.x), frame.y(dot.y), dot.on_line ? 4 : 2.2, colour.at(dot.series),
             dot.hollow, dot.label);
  }
  std::ranges::sort(stair, {}, &Dot::x);
  if (stair.empty())
    return;
  out << "<path fill=\"none\" stroke=\"#444\" d=\"M" << number(frame.x(stair.front().x), 1) << ' '
      << number(frame.y(stair.front().y), 1);
  for (const Dot& dot : stair)
    out << 'H' << number(frame.x(dot.x), 1) << 'V' << number(frame.y(dot.y), 1);
  out << "\"/>\n";
}

} // namespace

void write_svg(const std::filesystem::path& file, const std::string& title,
               const std::vector<Panel>& panels, const std::string& hollow) {
  std::map<std::string, const char*> colour;
  std::vector<std::string> series;
  for (const Panel& panel : panels)
    for (const Dot& dot : panel.dots)
      if (colour.try_emplace(dot.series, colours[colour.size() % std::size(colours)]).second)
        series.push_back(dot.series);
  double const page_width = left + double(panels.size()) * (width + gap);
  auto const columns = static_cast<std::size_t>((page_width - left) / 150);
  double const legend = top + height + 64;
  double const page_height = legend + line * double(series.size() / columns + 1);

  std::ostringstream out;
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << page_width << "\" height=\""
      << page_height << "\" font-family=\"sans-serif\" font-size=\"12\">\n"
      << "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  text(out, left, 20, "start", title);
  for (std::size_t i = 0; i < panels.size(); ++i) {
    Frame const frame(panels[i], left + double(i) * (width + gap));
    draw_axes(out, frame, panels[i]);
    draw_dots(out, frame, panels[i], colour);
  }
  for (std::size_t i = 0; i <= series.size(); ++i) {
    double const x = left + double(i % columns) * 150, y = legend + line * double(i / columns);
    bool const last = i == series.size();
    draw_dot(out, x, y - 4, 4, last ? "#000000" : colour[series[i]], last, "");
    text(out, x + 10, y, "start", last ? hollow : series[i]);
  }
  out << "</svg>\n";

  std::ofstream stream(file);
  stream << out.str();
  stream.close();
  if (!stream)
    throw std::runtime_error(display(file) + ": cannot be written");
}

} // namespace hisa::tools
