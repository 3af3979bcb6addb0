// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The sweep: its choices are a plan's, its fronts and its best setting are right, its files are
// well formed.
#include "evaluate.hpp"
#include "safetensors.hpp"
#include "sweep_report.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

using namespace hisa::tools;

namespace {

Dump example(const std::string& name) {
  return load_dump(std::filesystem::path(HISA_EXAMPLE_DATA) / (name + ".safetensors"));
}

void silent(const std::string&, double) {}

/// A point with figures on two dumps.
SweepPoint point(double keys, double mass, double needles, double iou) {
  SweepPoint p;
  p.setting = {"mean", {16}, {int(keys)}};
  p.dumps.resize(2);
  p.dumps[0] = {keys, {1.0, 1.0, mass, {}}}; // a dump without needles
  p.dumps[1] = {keys + 2, {iou, iou, 1.0, needles}};
  return p;
}

} // namespace

TEST_CASE("a sweep's figures equal an evaluation's, whose plans choose on the device") {
  Dump const dump = example("needle-32k-l4");
  std::vector<Setting> const settings{
      {"mean", {128}, {64}},       {"max", {64}, {40}},
      {"sub-mean:8", {128}, {32}}, {"moments:1", {32}, {100}},
      {"min-max", {128}, {64}},    {"mean", {128, 16}, {128, 300}},
      {"mean", {256}, {1000}},     {"sub-mean:2", {64, 16}, {128, 130}}};
  RowRange const rows{3, 50};
  auto const evaluation = evaluate(dump, rows, settings, 2048, silent);
  auto const result = sweep({dump}, {rows}, settings, 2048, silent);
  REQUIRE(result.points.size() == settings.size());
  for (const SweepPoint& p : result.points) {
    std::size_t s = 0;
    while (name_of(settings[s]) != name_of(p.setting))
      ++s;
    const Method& expected = evaluation.outcomes[s].hierarchical;
    INFO(name_of(p.setting));
    REQUIRE(p.dumps[0].keys_per_query == expected.keys_per_query);
    REQUIRE(p.dumps[0].fidelity.iou_mean == expected.fidelity.iou_mean);
    REQUIRE(p.dumps[0].fidelity.iou_min == expected.fidelity.iou_min);
    REQUIRE(p.dumps[0].fidelity.mass == expected.fidelity.mass);
    REQUIRE(p.dumps[0].fidelity.needles == expected.fidelity.needles);
  }
}

TEST_CASE("the grid is of settings that plans accept, each once") {
  Dump const dump = example("code-32k-l7");
  auto const grid = sweep_grid({"mean", "max", "sub-mean:16", "sub-mean:2", "moments:1.0"}, 2048);
  REQUIRE_NOTHROW(check_settings(dump, grid, 2048));
  std::set<std::string> names;
  for (const Setting& setting : grid)
    names.insert(name_of(setting));
  REQUIRE(names.size() == grid.size());
  for (const char* name : {"128:64", "16:512 max", "128:128 > 16:512", "256:32 sub-mean:16"})
    REQUIRE(names.contains(name));
  REQUIRE_FALSE(names.contains("64:128 sub-mean:16")); // parts of 4 tokens
  REQUIRE_THROWS_AS(sweep_grid({"median"}, 2048), BadInput);
  REQUIRE_NOTHROW(check_settings(dump, sweep_grid({"mean"}, 100), 100));
}

TEST_CASE("a setting is judged by its worst dump; fronts ascend; the best is the cheapest enough") {
  Sweep s;
  s.topk = 2048;
  s.flat_keys_per_query = {1000, 1000};
  s.points = {point(500, .995, .96, .9), point(100, .90, .50, .5), point(300, .992, .94, .8),
              point(400, .991, .95, .6), point(200, .95, .97, .7), point(600, .999, 1.0, .95)};
  judge(s);
  auto const& p = s.points;
  REQUIRE(p.size() == 6);
  REQUIRE(p[0].keys_per_query == 101); // mean of 100 and 102
  REQUIRE(p[3].keys_per_query == 401);
  REQUIRE(*p[3].worst[int(Measure::mass)] == .991);
  REQUIRE(*p[3].worst[int(Measure::needles)] == .95);
  REQUIRE(*p[3].worst[int(Measure::iou)] == .6);
  bool const mass[] = {true, true, true, false, true, true};
  bool const needles[] = {true, true, false, false, false, true};
  bool const iou[] = {true, true, true, false, true, true};
  for (std::size_t i = 0; i < 6; ++i) {
    REQUIRE(p[i].on_front[int(Measure::mass)] == mass[i]);
    REQUIRE(p[i].on_front[int(Measure::needles)] == needles[i]);
    REQUIRE(p[i].on_front[int(Measure::iou)] == iou[i]);
  }
  REQUIRE(s.best == 3); // 0.991 and 0.95; the cheaper one at 300 lacks needles
  std::ostringstream table;
  print_table(table, {example("code-32k-l7"), example("needle-32k-l4")}, s);
  REQUIRE(table.str().find("every dump: 16:400, 401 keys") != std::string::npos);
  REQUIRE(table.str().find("16:400 ") == std::string::npos); // on no front
}

TEST_CASE("where no setting keeps enough, it says so") {
  Sweep s;
  s.topk = 2048;
  s.flat_keys_per_query = {1000, 1000};
  s.points = {point(100, .9, .99, .5), point(200, .995, .90, .5)};
  judge(s);
  REQUIRE_FALSE(s.best.has_value());
  std::ostringstream table;
  print_table(table, {example("code-32k-l7"), example("needle-32k-l4")}, s);
  REQUIRE(table.str().find("No setting keeps 99 % of the mass") != std::string::npos);
  REQUIRE(table.str().find("Most of the mass: 16:200") != std::string::npos);
}

TEST_CASE("dumps without needles are judged by mass alone") {
  Sweep s;
  s.flat_keys_per_query = {1000};
  SweepPoint one = point(100, .995, 0, .5);
  one.dumps.pop_back();
  s.points = {one};
  judge(s);
  REQUIRE(s.best == 0);
  REQUIRE_FALSE(s.points[0].worst[int(Measure::needles)].has_value());
  REQUIRE_FALSE(s.points[0].on_front[int(Measure::needles)]);
}

TEST_CASE("the plot is balanced XML with a dot for each figure") {
  Sweep s;
  s.topk = 2048;
  s.flat_keys_per_query = {1000, 1000};
  s.points = {point(100, .9, .99, .5), point(200, .995, .90, .6), point(300, .8, .90, .4)};
  s.points[2].setting = {"moments:1.0", {64, 16}, {8, 8}};
  judge(s);
  auto const file = std::filesystem::temp_directory_path() / "hisa-sweep-test.svg";
  write_plot(file, {example("code-32k-l7"), example("needle-32k-l4")}, s);
  std::ifstream in(file);
  std::string const svg{std::istreambuf_iterator<char>(in), {}};
  std::filesystem::remove(file);
  auto const count = [&](const std::string& word) {
    int n = 0;
    for (std::size_t at = svg.find(word); at != svg.npos; at = svg.find(word, at + 1))
      ++n;
    return n;
  };
  REQUIRE(count("<svg") == 1);
  REQUIRE(count("</svg>") == 1);
  REQUIRE(count("<text") == count("</text>"));
  REQUIRE(count("<title>16:") + count("<title>64:") == 9); // three points in three panels
  REQUIRE(count("fill=\"white\"><title>64:") == 3);        // the one of two levels
  REQUIRE(count("64:8 &gt; 16:8 moments:1.0") == 3);
  REQUIRE(count("nan") == 0);
  REQUIRE(count("inf") == 0);
  REQUIRE_THROWS_AS(write_plot("/no/such/folder/x.svg", {}, s), std::runtime_error);
}
