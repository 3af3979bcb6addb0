// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Mixed batches over paged keys: chunks of prefill, decode and padding in one call, in any order;
// pages of every size beside blocks of every size; and a part of a call's queries.
#include "support/paged.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

using namespace hisa_test;
using hisa::bf16, hisa::e4m3fn, hisa::IndexBase, hisa::QueryRows, hisa::Ragged;

namespace {

/// Queries of a paged cache, each with its sequence and its length.
template <class T>
struct RaggedProblem {
  PagedProblem<T> cache;
  Problem<T> queries;
  std::vector<std::int32_t> row_seq, row_visible;

  RaggedProblem(std::uint64_t seed, const std::vector<std::int32_t>& tokens, int page,
                std::int64_t M, int H, int D)
      : cache(seed, tokens, page, H, D, 1), queries(Problem<T>::random(seed + 1000, M, 1, H, D)) {
    cache.shuffle_pages(seed + 1);
  }

  /// The next `count` queries are the last tokens of the first `length` tokens of a sequence.
  void chunk(std::int32_t sequence, std::int32_t length, std::int32_t count) {
    for (std::int32_t i = 0; i < count; ++i) {
      row_seq.push_back(sequence);
      row_visible.push_back(length - count + i + 1);
    }
  }

  template <class Strategy = hisa::RadixSelect>
  hisa::reference::Result run(const Setting& setting, const QueryRows& rows = {}) const {
    std::vector<std::byte> const bytes = cache.pages();
    Device<T> const q(queries.q);
    Device<float> const w(queries.w);
    Device<std::byte> const pages(bytes);
    Device<std::int32_t> const table(cache.table), sequences(row_seq), visible(row_visible);
    std::vector<DevicePooled<T>> levels;
    std::vector<hisa::PooledKeys<const T>> views;
    for (auto [size, keep] : setting.levels)
      levels.emplace_back(cache.pool(bytes, size));
    for (const auto& level : levels)
      views.push_back(level.view);
    return run_on_device<hisa::MeanPool, Strategy>(
        Exec(), setting, hisa::Queries<T>{q.data(), w.data(), queries.M, queries.H, queries.D},
        cache.keys(pages.data(), table.data()), views,
        Ragged{sequences.data(), visible.data(), cache.batch}, true, rows);
  }

  hisa::reference::Result run_reference(const Setting& setting) const {
    std::vector<std::byte> const bytes = cache.pages();
    std::vector<Pooled<T>> pooled;
    std::vector<hisa::reference::Level<T>> levels;
    pooled.reserve(setting.levels.size());
    for (auto [size, keep] : setting.levels) {
      pooled.push_back(cache.pool(bytes, size));
      levels.push_back({pooled.back().view, keep});
    }
    return hisa::reference::hierarchical(
        queries.queries(), cache.keys(bytes.data(), cache.table.data()), levels,
        Ragged{row_seq.data(), row_visible.data(), cache.batch}, setting.choice());
  }
};

/// Two chunks of prefill, decode of two sequences, speculative tokens, an empty row and padding.
template <class T>
RaggedProblem<T> mixed_batch(int page) {
  RaggedProblem<T> p(300, {700, 64, 333, 1, 0}, page, 29, 8, 32);
  p.chunk(0, 512, 10);
  p.chunk(2, 333, 9);
  p.chunk(3, 1, 1);
  p.chunk(1, 64, 3);
  p.chunk(-1, 50, 1); // padding
  p.chunk(4, 0, 1);
  p.chunk(0, 700, 2); // the sequence of the first chunk again
  p.chunk(5, 50, 1);  // no such sequence
  p.chunk(2, -3, 1);  // nothing to see
  return p;
}

} // namespace

TEMPLATE_TEST_CASE("a mixed batch equals the reference, page sizes and block sizes", "", float,
                   bf16, e4m3fn) {
  int const page = GENERATE(1, 16, 64, 128);
  auto const p = mixed_batch<TestType>(page);
  for (IndexBase base : {IndexBase::relative, IndexBase::absolute, IndexBase::physical}) {
    Setting flat{{}, 100}, one{{{32, 4}}, 128}, two{{{128, 3}, {16, 8}}, 60}, odd{{{256, 2}}, 33};
    for (Setting* setting : {&flat, &one, &two, &odd}) {
      setting->options.index_base = base;
      auto const expected = p.run_reference(*setting);
      REQUIRE(same(p.run(*setting), expected));
      REQUIRE(same(p.template run<hisa::StreamSelect>(*setting), expected));
      for (std::size_t t : {23, 24, 27, 28})
        REQUIRE(expected.counts[t] == 0);
    }
  }
}

TEST_CASE("every block size that fits a page size, and every page size that fits a block") {
  for (int page : {1, 2, 4, 8, 16, 32, 64, 128, 256})
    for (int block : {16, 32, 64, 128, 256}) {
      auto const p = mixed_batch<e4m3fn>(page);
      Setting const setting{{{block, 2}}, 16};
      REQUIRE(same(p.run(setting), p.run_reference(setting)));
    }
  auto const p = mixed_batch<e4m3fn>(48); // no power of two
  for (int block : {16, 24, 48, 96, 240}) {
    Setting const setting{{{block, 2}}, 16};
    REQUIRE(same(p.run(setting), p.run_reference(setting)));
  }
}

TEST_CASE("a row does not depend on what else is in the batch, nor on its place there") {
  auto const all = mixed_batch<e4m3fn>(64);
  Setting const setting{{{32, 4}}, 64};
  auto const expected = all.run(setting);
  auto shuffled = all;
  std::vector<std::size_t> order(std::size_t(all.queries.M));
  std::iota(order.begin(), order.end(), std::size_t(0));
  Random random(301);
  std::shuffle(order.begin(), order.end(), random);
  std::size_t const row = std::size_t(all.queries.H) * std::size_t(all.queries.D);
  for (std::size_t t = 0; t < order.size(); ++t) {
    std::copy_n(all.queries.q.begin() + std::ptrdiff_t(order[t] * row), row,
                shuffled.queries.q.begin() + std::ptrdiff_t(t * row));
    std::copy_n(all.queries.w.begin() + std::ptrdiff_t(order[t]) * 8, 8,
                shuffled.queries.w.begin() + std::ptrdiff_t(t) * 8);
    shuffled.row_seq[t] = all.row_seq[order[t]];
    shuffled.row_visible[t] = all.row_visible[order[t]];
  }
  auto const result = shuffled.run(setting);
  for (std::size_t t = 0; t < order.size(); ++t)
    for (std::size_t r = 0; r < 64; ++r)
      REQUIRE(result.indices[t * 64 + r] == expected.indices[order[t] * 64 + r]);
}

TEST_CASE("a ragged call equals a call of lengths where both can say it") {
  PagedProblem<e4m3fn> decode(302, {513, 100, 0, 800}, 64, 8, 32, 3);
  decode.shuffle_pages(303);
  RaggedProblem<e4m3fn> ragged(302, {513, 100, 0, 800}, 64, 12, 8, 32);
  ragged.cache = decode;
  ragged.queries = decode.all_queries();
  for (std::int32_t s = 0; s < 4; ++s)
    ragged.chunk(s, decode.lengths[std::size_t(s)], 3);
  for (const Setting& setting : {Setting{{}, 64}, Setting{{{64, 3}, {16, 8}}, 64}})
    REQUIRE(same(ragged.run(setting), decode.run(setting)));
}

TEST_CASE("ranks that take a part each write the rows of their part, and nothing else") {
  auto const p = mixed_batch<e4m3fn>(64);
  Setting const setting{{{32, 4}}, 64};
  auto const whole = p.run(setting);
  for (int ranks : {1, 2, 3, 8, 29, 40}) {
    std::int64_t done = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      QueryRows const rows = QueryRows::of_rank(rank, ranks, p.queries.M);
      REQUIRE(rows.first == done);
      done = rows.end;
      auto const part = p.run(setting, rows);
      for (std::int64_t t = 0; t < p.queries.M; ++t) {
        bool const mine = t >= rows.first && t < rows.end;
        REQUIRE(part.counts[std::size_t(t)] == (mine ? whole.counts[std::size_t(t)] : -77));
        for (std::size_t i = std::size_t(t) * 64; i < std::size_t(t + 1) * 64; ++i) {
          REQUIRE(part.indices[i] == (mine ? whole.indices[i] : -77));
          REQUIRE(same_score(part.scores[i], mine ? whole.scores[i] : -77.0f));
        }
      }
    }
    REQUIRE(done == p.queries.M);
  }
}

TEST_CASE("scores of a part of a ragged call are written to its rows alone") {
  auto const p = mixed_batch<e4m3fn>(16);
  std::vector<std::byte> const bytes = p.cache.pages();
  Device<e4m3fn> const q(p.queries.q);
  Device<float> const w(p.queries.w);
  Device<std::byte> const pages(bytes);
  Device<std::int32_t> const table(p.cache.table), sequences(p.row_seq), visible(p.row_visible);
  auto const keys = p.cache.keys(pages.data(), table.data());
  std::int64_t const M = p.queries.M, stride = keys.capacity();
  Device<float> const logits(std::vector<float>(std::size_t(M * stride), -77.0f));
  std::size_t const workspace = hisa::score_workspace_bytes(8, 32, 4);
  auto const memory = make_workspace(workspace);
  hisa::score(Exec(), hisa::Queries<e4m3fn>{q.data(), w.data(), M, 8, 32}, keys,
              Ragged{sequences.data(), visible.data(), 5}, {logits.data(), stride},
              span(memory, workspace), {5, 27});
  Kokkos::fence();
  auto const host = logits.host();
  auto const host_keys = p.cache.keys(bytes.data(), p.cache.table.data());
  Ragged const ragged{p.row_seq.data(), p.row_visible.data(), 5};
  for (std::int64_t t = 0; t < M; ++t) {
    hisa::Visible const v = ragged.visible(t, stride);
    for (std::int64_t i = 0; i < stride; ++i) {
      bool const written = t >= 5 && t < 27 && i < v.end;
      float const expected = written ? hisa::reference::score(p.queries.queries(), t,
                                                              host_keys.row(v, hisa::TokenIndex(i)))
                                     : -77.0f;
      REQUIRE(same_score(host[std::size_t(t * stride + i)], expected));
    }
  }
}

TEST_CASE("lengths beyond the page table are clamped on the device") {
  auto p = mixed_batch<e4m3fn>(64);
  p.cache.table.assign(p.cache.table.size(), 1);
  p.row_visible[0] = 2147483647;
  p.row_visible[1] = -2147483647;
  p.row_seq[2] = 2147483647;
  p.row_seq[3] = -2147483647;
  for (const Setting& setting : {Setting{{}, 64}, Setting{{{32, 4}}, 100}})
    REQUIRE(same(p.run(setting), p.run_reference(setting)));
}
