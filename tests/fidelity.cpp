// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The measures of hisa-eval on cases small enough to count by hand.
#include "fidelity.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

using namespace hisa::tools;
using Catch::Approx;

namespace {

hisa::fp16 half(float x) { return hisa::fp16_from_float(x); }

/// Three queries over eight keys; attention for rows 0 and 2, needles for rows 1 and 2.
struct Fixture {
  std::vector<std::int32_t> attention_rows{0, 2}, needle_rows{1, 2};
  std::vector<hisa::fp16> attention;
  std::vector<std::array<std::int32_t, 2>> ranges{{2, 4}, {5, 8}};
  Dump dump;

  Fixture() {
    for (int i = 0; i < 16; ++i)
      attention.push_back(half(float(i % 8 + 1)));
    dump.queries = 3, dump.keys = 8;
    dump.attention = Attention{attention_rows, attention};
    dump.needles = Needles{needle_rows, ranges};
  }
};

Selected const flat{4, {0, 1, 2, 3, 2, 3, 4, -1, 4, 5, 6, 7}};
Selected const other{4, {0, 1, 6, 7, 3, 4, -1, -1, 0, 5, 6, 7}};

} // namespace

TEST_CASE("rows end at the tail") {
  REQUIRE(flat.row(0).size() == 4);
  REQUIRE(flat.row(1).size() == 3);
  REQUIRE(other.row(1).size() == 2);
}

TEST_CASE("IoU is the mean and the least over all rows") {
  Fixture const f;
  auto const m = measure(f.dump, {0, 3}, flat, other);
  REQUIRE(m.iou_mean == Approx((2.0 / 6 + 2.0 / 3 + 3.0 / 5) / 3));
  REQUIRE(m.iou_min == Approx(2.0 / 6));
}

TEST_CASE("mass is a ratio of sums over the rows that have attention") {
  Fixture const f;
  auto const m = measure(f.dump, {0, 3}, flat, other);
  REQUIRE(m.mass.has_value());
  REQUIRE(*m.mass == Approx((1 + 2 + 7 + 8 + 1 + 6 + 7 + 8.0) / (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8.0)));
}

TEST_CASE("needles count the tokens that flat selects on the rows that ask, ranges half-open") {
  Fixture const f;
  auto const m = measure(f.dump, {0, 3}, flat, other);
  REQUIRE(m.needles.has_value());
  REQUIRE(*m.needles == Approx(4.0 / 5)); // row 1: 3 of {2, 3}; row 2: 5, 6, 7 of {5, 6, 7}
}

TEST_CASE("a range of rows measures these rows only; what it lacks is empty") {
  Fixture const f;
  Selected const row1{4, {2, 3, 4, -1}}, other1{4, {3, 4, -1, -1}};
  auto const m = measure(f.dump, {1, 2}, row1, other1);
  REQUIRE(m.iou_mean == Approx(2.0 / 3));
  REQUIRE_FALSE(m.mass.has_value());
  REQUIRE(*m.needles == Approx(1.0 / 2));
  Dump bare;
  bare.queries = 3, bare.keys = 8;
  auto const n = measure(bare, {0, 3}, flat, other);
  REQUIRE_FALSE(n.mass.has_value());
  REQUIRE_FALSE(n.needles.has_value());
}
