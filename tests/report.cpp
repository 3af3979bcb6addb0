// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The debug mode: a plan that reports prints each value that it clamps, and changes nothing else.
#include "support/paged.hpp"
#include "support/tools.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <string>

#include <unistd.h>

using namespace hisa_test;
using hisa::e4m3fn, hisa::Levels, hisa::MeanPool;

namespace {

using Lines = std::vector<std::string>;

/// What `call` prints on standard output, sorted.
template <class Call>
Lines printed(const Call& call) {
  std::FILE* const file = std::tmpfile();
  std::fflush(stdout);
  int const before = dup(STDOUT_FILENO);
  dup2(fileno(file), STDOUT_FILENO);
  call();
  Kokkos::fence();
  std::fflush(stdout);
  dup2(before, STDOUT_FILENO);
  close(before);
  std::rewind(file);
  std::string text;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file))
    text += char(c);
  std::fclose(file);
  Lines lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    lines.push_back(line);
  std::sort(lines.begin(), lines.end());
  return lines;
}

} // namespace

TEST_CASE("a plan that reports prints the ranges that it clamps, and selects as ever") {
  auto p = Problem<e4m3fn>::random(320, 6, 100, 3, 8);
  p.ks = {0, -5, 40, 101, 7, 0};
  p.ke = {100, 20, 39, 120, 101, 0};
  p.anchor = {0, 0, 41, 0, -1, 0};
  Setting setting{{}, 16};
  auto const expected = run_reference(p, setting);
  hisa::reference::Result result;
  REQUIRE(printed([&] { result = run(p, setting); }).empty());
  REQUIRE(same(result, expected));
  setting.options.report_clamped = true;
  Lines const lines = printed([&] { result = run(p, setting); });
  REQUIRE(same(result, expected));
  REQUIRE(lines == Lines{"hisa: ranges.anchor[2] is 41, outside of 0 .. 40",
                         "hisa: ranges.anchor[4] is -1, outside of 0 .. 7",
                         "hisa: ranges.ke[2] is 39, outside of 40 .. 100",
                         "hisa: ranges.ke[3] is 120, outside of 100 .. 100",
                         "hisa: ranges.ke[4] is 101, outside of 7 .. 100",
                         "hisa: ranges.ks[1] is -5, outside of 0 .. 100",
                         "hisa: ranges.ks[3] is 101, outside of 0 .. 100"});
}

TEST_CASE("lengths of decode and of mixed batches are reported") {
  PagedProblem<e4m3fn> p(321, {64, 64, 64}, 32, 3, 8, 2);
  Setting setting{{}, 16};
  setting.options.report_clamped = true;
  p.set_lengths({1, 97, -3}, hisa::LengthsForm::per_sequence); // 1: a query that sees nothing
  REQUIRE(printed([&] { (void)p.run(setting); }) ==
          Lines{"hisa: lengths.lengths[1] is 97, outside of 0 .. 96",
                "hisa: lengths.lengths[2] is -3, outside of 0 .. 96"});
  p.set_lengths({1, 2, 97, 0, 96, -1}, hisa::LengthsForm::per_query);
  REQUIRE(printed([&] { (void)p.run(setting); }) ==
          Lines{"hisa: lengths.lengths[2] is 97, outside of 0 .. 96",
                "hisa: lengths.lengths[5] is -1, outside of 0 .. 96"});

  Device<std::byte> const pages(p.pages());
  Device<std::int32_t> const table(p.table), sequences(std::vector<std::int32_t>{-1, 2, 3, -2, 0}),
      visible(std::vector<std::int32_t>{9, 97, 1, 1, -1});
  hisa::Ragged const ragged{sequences.data(), visible.data(), 3};
  auto const keys = p.keys(pages.data(), table.data());
  REQUIRE(printed([&] {
            hisa::report_clamped(Exec(), keys, ragged, {0, 5});
          }) == Lines{"hisa: ragged.row_seq[2] is 3, outside of -1 .. 2",
                      "hisa: ragged.row_seq[3] is -2, outside of -1 .. 2",
                      "hisa: ragged.row_visible[1] is 97, outside of 0 .. 96",
                      "hisa: ragged.row_visible[4] is -1, outside of 0 .. 96"});
  REQUIRE(printed([&] {
            hisa::report_clamped(Exec(), keys, ragged, {2, 3});
          }) == Lines{"hisa: ragged.row_seq[2] is 3, outside of -1 .. 2"});
}

TEST_CASE("lengths of pooling are reported") {
  auto const p = Problem<e4m3fn>::random(322, 1, 100, 3, 8);
  DeviceProblem<e4m3fn> const d(p);
  Device<std::int32_t> const begin(std::vector<std::int32_t>{0, 60, 101}),
      from(std::vector<std::int32_t>{0, 50, 0}), to(std::vector<std::int32_t>{60, 41, 0});
  REQUIRE(printed([&] {
            hisa::report_clamped(Exec(), d.keys, {3, from.data(), to.data(), begin.data()});
          }) == Lines{"hisa: sequences.begin[2] is 101, outside of 0 .. 100",
                      "hisa: sequences.new_length[1] is 41, outside of 0 .. 40",
                      "hisa: sequences.old_length[1] is 50, outside of 0 .. 40"});
}

TEST_CASE(
    "the report is one kernel more, on the caller's instance, and nothing without the option") {
  auto const p = Problem<e4m3fn>::random(323, 2, 100, 3, 8);
  DeviceProblem<e4m3fn> const d(p);
  hisa::Shape<> const shape{.max_queries = 2, .max_keys = 100, .heads = 3, .head_dim = 8};
  for (bool report : {false, true}) {
    auto const plan =
        hisa::make_plan<Levels<>>(Exec(), shape, {.topk = 16}, {.report_clamped = report});
    auto const memory = make_workspace(plan.workspace_bytes());
    DeviceSelection const out(2, 16);
    auto const seen = record([&] {
      plan(Exec(), d.queries, d.keys, d.ranges, out.view(), span(memory, plan.workspace_bytes()));
    });
    Kokkos::fence();
    Lines expected{"hisa::score::prepare", "hisa::score", "hisa::select"};
    if (report)
      expected.insert(expected.begin(), "hisa::report");
    REQUIRE(seen.labels() == expected);
    REQUIRE(seen.allocations.empty());
    REQUIRE(seen.fences.empty());
  }
}
