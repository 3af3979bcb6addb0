// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Paged keys: decode against the reference and against prefill on contiguous keys.
#include "support/paged.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

using namespace hisa_test;
using hisa::bf16, hisa::e4m3fn, hisa::e4m3fnuz, hisa::fp16, hisa::IndexBase, hisa::Lengths,
    hisa::LengthsForm;

TEMPLATE_TEST_CASE("decode equals the reference: page sizes, next_n, both forms of lengths", "",
                   float, bf16, fp16, e4m3fn, e4m3fnuz) {
  int const page = GENERATE(16, 64, 128);
  int const next_n = GENERATE(1, 2, 3, 8);
  PagedProblem<TestType> p(51, {700, 64, 1, 333, 0, 128}, page, 8, 32, next_n);
  p.shuffle_pages(52);
  for (IndexBase base : {IndexBase::relative, IndexBase::absolute, IndexBase::physical}) {
    Setting flat{{}, 100}, one{{{32, 4}}, 128}, two{{{64, 3}, {16, 8}}, 60};
    for (Setting* setting : {&flat, &one, &two}) {
      setting->options.index_base = base;
      REQUIRE(same(p.run(*setting), p.run_reference(*setting)));
    }
  }
}

TEST_CASE("decode equals prefill on the same keys, for every next_n") {
  std::vector<std::int32_t> const lengths{513, 100, 800};
  for (int next_n : {1, 2, 4, 8}) {
    PagedProblem<e4m3fn> p(53, lengths, 64, 16, 64, next_n);
    p.shuffle_pages(54);
    for (Setting const& setting :
         {Setting{{}, 64}, Setting{{{32, 6}}, 64}, Setting{{{64, 4}, {16, 8}}, 64}}) {
      auto const decode = p.run(setting);
      for (std::size_t s = 0; s < lengths.size(); ++s) {
        auto const prefill = p.prefill(s, setting);
        for (std::size_t i = 0; i < prefill.indices.size(); ++i) {
          std::size_t const at = s * std::size_t(next_n) * 64 + i;
          REQUIRE(decode.indices[at] == prefill.indices[i]);
          REQUIRE(same_score(decode.scores[at], prefill.scores[i]));
        }
      }
    }
  }
}

TEST_CASE("a decoded token does not depend on next_n or on what else is in the batch") {
  PagedProblem<e4m3fn> many(55, {640, 1000, 77}, 64, 16, 64, 4);
  many.shuffle_pages(56);
  Setting const setting{{{32, 6}}, 64};
  auto const all = many.run(setting);
  for (std::size_t s = 0; s < 3; ++s)
    for (int i = 0; i < 4; ++i) { // one query at a time, its length given per query
      auto const one = many.run_one(s, i, setting);
      for (std::size_t r = 0; r < 64; ++r)
        REQUIRE(one.indices[r] == all.indices[(s * 4 + std::size_t(i)) * 64 + r]);
    }
}

TEST_CASE("lengths beyond the page table, zero and negative are clamped on the device") {
  PagedProblem<e4m3fn> p(57, {256, 256, 256, 256}, 64, 8, 32, 2);
  for (auto form : {LengthsForm::per_sequence, LengthsForm::per_query}) {
    p.set_lengths(form == LengthsForm::per_sequence
                      ? std::vector<std::int32_t>{100000, 0, -7, 1}
                      : std::vector<std::int32_t>{100000, 256, 0, -1, -2147483647, 5, 1, 0},
                  form);
    for (Setting const& setting : {Setting{{}, 64}, Setting{{{32, 4}}, 100}})
      REQUIRE(same(p.run(setting), p.run_reference(setting)));
  }
}

TEST_CASE("page-table entries past the length are never read") {
  PagedProblem<e4m3fn> p(58, {130, 65, 1}, 64, 8, 32, 1);
  p.poison_table(); // entries that would fault
  for (Setting const& setting : {Setting{{}, 64}, Setting{{{32, 2}}, 64}, Setting{{{16, 8}}, 64}})
    REQUIRE(same(p.run(setting), p.run_reference(setting)));
}

TEST_CASE("sequences that share pages share keys and pooled rows") {
  PagedProblem<e4m3fn> p(59, {320, 320}, 64, 8, 32, 1);
  p.share_prefix(0, 1, 4); // the first 256 tokens
  auto const flat = p.run(Setting{{}, 32});
  REQUIRE(same(flat, p.run_reference(Setting{{}, 32})));
  for (int size : {16, 32, 64, 128, 256}) {
    Setting const setting{{{size, 2}}, 32};
    REQUIRE(same(p.run(setting), p.run_reference(setting)));
  }
}
