// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "sweep_report.hpp"

#include "format.hpp"
#include "plot.hpp"

#include <iomanip>
#include <numeric>

namespace hisa::tools {

namespace {

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
}

void print_point(std::ostream& out, const SweepPoint& point) {
  std::string fronts;
  for (Measure m : measures)
    if (point.on_front[int(m)])
      fronts += (fronts.empty() ? "" : ", ") + std::string(name_of(m));
  out << "  " << std::left << std::setw(34) << name_of(point.setting) << std::right << std::setw(10)
      << fixed(point.keys_per_query, 0);
  for (Measure m : measures)
    out << std::setw(9) << fixed_or_dash(point.worst[int(m)], m == Measure::mass ? 4 : 3);
  out << "  " << fronts << '\n';
}

/// `512 > 256` levels and rule of the best, or what comes nearest.
void print_best(std::ostream& out, const Sweep& sweep) {
  std::string const wanted = "99 % of the mass and 95 % of the needles on every dump";
  if (sweep.best) {
    const SweepPoint& best = sweep.points[*sweep.best];
    out << "The cheapest setting that keeps " << wanted << ": " << name_of(best.setting) << ", "
        << fixed(best.keys_per_query, 0) << " keys a query, "
        << fixed(mean_of(sweep.flat_keys_per_query) / best.keys_per_query, 1)
        << " times fewer than flat.\n";
    return;
  }
  out << "No setting keeps " << wanted << ".\n";
  for (Measure m : {Measure::mass, Measure::needles}) {
    const SweepPoint* most = nullptr;
    for (const SweepPoint& point : sweep.points)
      if (point.on_front[int(m)])
        most = &point; // ascending along the front
    if (most != nullptr && most->worst[int(m)])
      out << "Most of the " << name_of(m) << ": " << name_of(most->setting) << ", "
          << fixed(*most->worst[int(m)], 4) << " at " << fixed(most->keys_per_query, 0)
          << " keys a query.\n";
  }
}

Json to_json(const SweepPoint& point) {
  Json keys = Json::array(), mass = Json::array(), needles = Json::array(), iou = Json::array(),
       iou_min = Json::array(), front = Json::array();
  for (const DumpPoint& dump : point.dumps) {
    keys.push_back(dump.keys_per_query);
    mass.push_back(or_null(dump.fidelity.mass));
    needles.push_back(or_null(dump.fidelity.needles));
    iou.push_back(dump.fidelity.iou_mean);
    iou_min.push_back(dump.fidelity.iou_min);
  }
  for (Measure m : measures)
    if (point.on_front[int(m)])
      front.push_back(name_of(m));
  return {{"pooling", point.setting.pooling},
          {"levels", point.setting.block_size},
          {"budgets", point.setting.block_topk},
          {"keys_per_query", point.keys_per_query},
          {"front", front},
          {"dumps",
           {{"keys_per_query", keys},
            {"mass", mass},
            {"needles", needles},
            {"iou_mean", iou},
            {"iou_min", iou_min}}}};
}

} // namespace

void print_table(std::ostream& out, const std::vector<Dump>& dumps, const Sweep& sweep) {
  out << "sweep: " << sweep.points.size() << " settings over";
  for (std::size_t d = 0; d < dumps.size(); ++d)
    out << (d == 0 ? " " : ", ") << dumps[d].file.stem().string();
  out << "; top " << sweep.topk << ", flat scores " << fixed(mean_of(sweep.flat_keys_per_query), 0)
      << " keys a query\n  " << std::left << std::setw(34) << "block size:blocks kept" << std::right
      << std::setw(10) << "keys/q" << std::setw(9) << "mass" << std::setw(9) << "needles"
      << std::setw(9) << "IoU"
      << "  on the front of (worst dump each)\n";
  for (const SweepPoint& point : sweep.points)
    if (point.on_front[0] || point.on_front[1] || point.on_front[2])
      print_point(out, point);
  print_best(out, sweep);
  out << std::flush;
}

void write_json(const std::filesystem::path& file, const std::vector<Dump>& dumps,
                const Sweep& sweep) {
  Json files = Json::array(), settings = Json::array();
  for (std::size_t d = 0; d < dumps.size(); ++d)
    files.push_back({{"file", dumps[d].file.string()},
                     {"keys", dumps[d].keys},
                     {"flat_keys_per_query", sweep.flat_keys_per_query[d]}});
  for (const SweepPoint& point : sweep.points)
    settings.push_back(to_json(point));
  write_json(file, Json{{"topk", sweep.topk},
                        {"dumps", files},
                        {"best", sweep.best ? Json(*sweep.best) : Json(nullptr)},
                        {"settings", settings}});
}

void write_plot(const std::filesystem::path& file, const std::vector<Dump>& dumps,
                const Sweep& sweep) {
  std::vector<Panel> panels;
  for (Measure m : measures) {
    Panel panel{std::string(name_of(m)) + " kept, worst dump", "keys scored a query", {}};
    for (const SweepPoint& point : sweep.points)
      if (point.worst[int(m)]) {
        Dot dot;
        dot.x = point.keys_per_query, dot.y = *point.worst[int(m)];
        dot.series = point.setting.pooling;
        dot.hollow = point.setting.block_size.size() > 1;
        dot.label = name_of(point.setting);
        dot.label.append(": ").append(fixed(dot.x, 0)).append(" keys, ").append(fixed(dot.y, 4));
        dot.on_line = point.on_front[int(m)];
        panel.dots.push_back(dot);
      }
    if (!panel.dots.empty())
      panels.push_back(panel);
  }
  std::string title = "hisa-eval --sweep, top ";
  title.append(std::to_string(sweep.topk)).append(":");
  for (const Dump& dump : dumps)
    title.append(" ").append(dump.file.stem().string());
  write_svg(file, title, panels, "hollow: two levels");
}

} // namespace hisa::tools
