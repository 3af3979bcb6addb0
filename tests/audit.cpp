// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The estimate of missed tokens: exact where everything is drawn, and honest where little is.
#include "audit.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

using namespace hisa::tools;
using Catch::Approx;

namespace {

/// Blocks of scores, numbered from 0.
using Blocks = std::vector<std::vector<float>>;

Missed estimate(const std::vector<float>& selected, const Blocks& pruned, std::int64_t sample,
                std::uint64_t seed = 1) {
  std::vector<std::int32_t> order(pruned.size());
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(seed);
  return estimate_missed(selected, order, sample, random,
                         [&](std::int32_t b) { return std::span(pruned[std::size_t(b)]); });
}

} // namespace

TEST_CASE("all blocks drawn: the tokens that a merge with the selected would take") {
  REQUIRE(estimate({5, 6, 7}, {{1, 2}, {3, 4}}, 2).tokens == 0);
  REQUIRE(estimate({5, 6, 7}, {{1, 8}, {3, 4}}, 2).tokens == 1);
  REQUIRE(estimate({5, 6, 7}, {{5.5f, 8}, {3, 4}}, 9).tokens == 1); // 5.5 does not beat 6
  REQUIRE(estimate({5, 6, 7}, {{6.5f, 8}, {3, 4}}, 9).tokens == 2);
  REQUIRE(estimate({5, 6, 7}, {{9, 8}, {10, 11}}, 9).tokens == 3);
  REQUIRE(estimate({5, 6, 7}, {{9, 8}, {10, 11}}, 9).variance == 0);
  REQUIRE(estimate({5, 5, 5}, {{5, 5}}, 9).tokens == 0); // flat may keep either; none is missed
  REQUIRE(estimate({5, 6, 7}, {}, 9).tokens == 0);
}

TEST_CASE("a drawn token stands for as many as were not drawn") {
  // 64 blocks, each with one token that beats all: 64 missed of 1000 selected, whatever is drawn.
  Blocks const pruned(64, {9, 1});
  std::vector<float> const selected(1000, 5);
  for (std::int64_t sample : {4, 8, 16, 63}) {
    Missed const m = estimate(selected, pruned, sample);
    REQUIRE(m.tokens == Approx(64));
    REQUIRE(m.variance == 0); // all blocks are alike
  }
}

TEST_CASE("the variance is that of a total estimated from a sample") {
  // Half of 100 blocks have one token that beats all. Drawn 7 at a time in one stratum.
  Blocks pruned(100, {1});
  for (std::size_t b = 0; b < 100; b += 2)
    pruned[b] = {9};
  std::vector<float> const selected(1000, 5);
  double mean = 0, squares = 0, variance = 0;
  constexpr int draws = 4000;
  for (std::uint64_t seed = 0; seed < draws; ++seed) {
    Missed const m = estimate(selected, pruned, 7, seed);
    mean += m.tokens / draws;
    squares += m.tokens * m.tokens / draws;
    variance += m.variance / draws;
  }
  REQUIRE(mean == Approx(50).epsilon(0.02));
  REQUIRE(squares - mean * mean == Approx(variance).epsilon(0.08));
  // N^2 (1 - n/N) s^2 / n
  REQUIRE(variance == Approx(100.0 * 100 * (1 - 0.07) * (0.25 * 100 / 99) / 7).epsilon(0.03));
}

TEST_CASE("quantiles of the normal distribution") {
  REQUIRE(normal_quantile(0.95) == Approx(1.95996).epsilon(1e-5));
  REQUIRE(normal_quantile(0.99) == Approx(2.57583).epsilon(1e-5));
  REQUIRE(normal_quantile(0.5) == Approx(0.67449).epsilon(1e-4));
}

TEST_CASE("on the dumps the interval covers the truth at its rate") {
  constexpr std::size_t audits = 150;
  std::vector<std::uint64_t> seeds(audits);
  std::iota(seeds.begin(), seeds.end(), 1);
  for (const char* name : {"code-32k-l7", "needle-32k-l4"}) {
    Dump const dump =
        load_dump(std::filesystem::path(HISA_EXAMPLE_DATA) / (std::string(name) + ".safetensors"));
    for (const Setting& setting :
         {Setting{"mean", {128}, {64}}, Setting{"mean", {128, 16}, {128, 512}}}) {
      AuditOptions options;
      options.setting = setting;
      options.topk = 2048;
      for (auto [confidence, least] : {std::pair(0.95, 0.90), std::pair(0.5, 0.35)}) {
        options.confidence = confidence;
        auto const results =
            audit(dump, {0, dump.queries}, options, seeds, [](const std::string&, double) {});
        double covered = 0, mean = 0, width = 0;
        for (const Audit& a : results) {
          REQUIRE(a.truth == results.front().truth);
          covered += (a.low <= a.truth && a.truth <= a.high) / double(audits);
          mean += a.missed / double(audits);
          width += (a.high - a.low) / double(audits);
        }
        INFO(name << ", " << name_of(setting) << ", confidence " << confidence << ": covered "
                  << covered << ", mean " << mean << ", truth " << results.front().truth
                  << ", width " << width);
        REQUIRE(covered >= least);
        REQUIRE(std::abs(mean - results.front().truth) < 0.05 * results.front().truth);
        REQUIRE(width < 0.5 * results.front().truth); // and it says something
      }
    }
  }
}
