// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Offsets past 2^31 and 2^32 elements and bytes in every buffer, token indices up to the last one,
// and long odd lengths. Buffers are virtual memory of which little is touched, so this runs on host
// spaces.
#include "support/lazy.hpp"
#include "support/paged.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <limits>

#include <sys/resource.h>

using namespace hisa_test;
using hisa::bf16, hisa::e4m3fn, hisa::IndexBase, hisa::Levels, hisa::MeanPool;

namespace {

constexpr std::int64_t last_count = std::numeric_limits<std::int32_t>::max(); ///< keys at most
constexpr std::int64_t two31 = std::int64_t(1) << 31, two32 = two31 * 2;

#define NEEDS_HOST()                                                                               \
  if (!hisa::detail::on_host<Exec>)                                                                \
  SKIP("lazily allocated buffers are host memory; " << Exec::name() << " has its own")

/// A call of a plan with a lazily allocated workspace.
template <class Plan, class... Inputs>
hisa::reference::Result call(const Plan& plan, std::int64_t M, int topk, const Inputs&... inputs) {
  Lazy<std::byte> const workspace(static_cast<std::int64_t>(plan.workspace_bytes()));
  DeviceSelection out(M, topk);
  Exec const exec;
  plan(exec, inputs..., out.view(), hisa::WorkspaceSpan{workspace.data(), workspace.bytes()});
  exec.fence();
  return out.result();
}

/// The indices of a result moved by `offset`, -1 left alone.
hisa::reference::Result moved(hisa::reference::Result result, std::int64_t offset) {
  for (std::int32_t& i : result.indices)
    if (i >= 0)
      i = std::int32_t(i + offset);
  return result;
}

/// A small problem at the very end of the largest buffer of keys. Its first key is a multiple of
/// 32, so that the buffer-wide grid of blocks and the anchored one coincide.
template <class T>
struct AtTheEnd {
  static constexpr int M = 5, H = 2, D = 8, size = 32, topk = 50;
  static constexpr std::int64_t offset = last_count / size * size - 640, n = last_count - offset;
  static constexpr std::int32_t first_block = 2'000'000'000;

  Problem<T> p = Problem<T>::random(110, M, n, H, D);
  Pooled<T> pooled = pool_reference(p, size);
  DeviceProblem<T> device{p};
  Lazy<T> k{last_count * D};
  Lazy<float> k_scale{last_count};
  std::vector<std::int32_t> ks, ke;
  std::vector<std::int32_t> anchor = std::vector<std::int32_t>(M, 0);
  hisa::ContiguousKeys<T> keys{k.data(), hisa::Element<T>::quantised ? k_scale.data() : nullptr,
                               last_count, D, 0};
  hisa::Shape<> shape{.max_queries = M, .max_keys = last_count, .heads = H, .head_dim = D};

  AtTheEnd() {
    std::copy(p.k.begin(), p.k.end(), k.data() + offset * D);
    std::copy(p.k_scale.begin(), p.k_scale.end(), k_scale.data() + offset);
    for (std::size_t t = 0; t < M; ++t) {
      ks.push_back(std::int32_t(offset));
      ke.push_back(std::int32_t(offset + p.ke[t]));
    }
    static_assert(offset * D > two32);
  }
  hisa::Ranges ranges(bool buffer_wide = false) const {
    return {ks.data(), ke.data(), buffer_wide ? anchor.data() : nullptr};
  }
};

} // namespace

TEMPLATE_TEST_CASE("flat: the last keys of a buffer of 2^31 - 1 keys", "", e4m3fn, float) {
  NEEDS_HOST();
  AtTheEnd<TestType> const c;
  auto const expected = run_reference(c.p, {{}, c.topk});
  using Keys = hisa::ContiguousKeys<TestType>;
  for (std::size_t limit : {std::size_t(1) << 28, std::size_t(1) << 40}) { // one query, all queries
    auto const plan = hisa::make_plan<Levels<>, MeanPool, hisa::RadixSelect, Keys>(
        Exec(), c.shape, {.topk = c.topk},
        {.index_base = IndexBase::absolute, .workspace_limit = limit});
    auto const result = call(plan, c.M, c.topk, c.device.queries, c.keys, c.ranges());
    REQUIRE(same(result, moved(expected, c.offset)));
  }
}

TEMPLATE_TEST_CASE("hierarchical: pooled rows past 2^32 elements and block lists past 2^26", "",
                   e4m3fn, float) {
  NEEDS_HOST();
  AtTheEnd<TestType> const c;
  auto const expected = run_reference(c.p, {{{c.size, 4}}, c.topk}, {c.pooled});
  using Keys = hisa::ContiguousKeys<TestType>;
  auto const plan = hisa::make_plan<Levels<32>, MeanPool, hisa::RadixSelect, Keys>(
      Exec(), c.shape, {.keep = {4}, .topk = c.topk},
      {.index_base = IndexBase::absolute, .workspace_limit = std::size_t(1) << 40});

  SECTION("anchored grid, rows found by begin") {
    Lazy<TestType> const values((c.first_block + c.n) * c.D);
    Lazy<float> const scales(c.first_block + c.n);
    static_assert(std::int64_t(c.first_block) * c.D > two32);
    std::copy(c.pooled.values.begin(), c.pooled.values.end(),
              values.data() + std::int64_t(c.first_block) * c.D);
    std::copy(c.pooled.scales.begin(), c.pooled.scales.end(), scales.data() + c.first_block);
    std::vector<std::int32_t> const begin(c.M, c.first_block);
    hisa::PooledKeys<const TestType> const level{values.data(),
                                                 hisa::Element<TestType>::quantised ? scales.data()
                                                                                    : nullptr,
                                                 c.first_block + c.n,
                                                 c.size,
                                                 c.D,
                                                 begin.data()};
    auto const result = call(plan, c.M, c.topk, c.device.queries, c.keys, level, c.ranges());
    REQUIRE(same(result, moved(expected, c.offset)));
  }
  SECTION("buffer-wide grid") {
    std::int64_t const blocks = last_count / c.size, first = c.offset / c.size;
    Lazy<TestType> const values(blocks * c.D);
    Lazy<float> const scales(blocks);
    std::copy(c.pooled.values.begin(), c.pooled.values.end(), values.data() + first * c.D);
    std::copy(c.pooled.scales.begin(), c.pooled.scales.end(), scales.data() + first);
    hisa::PooledKeys<const TestType> const level{
        values.data(), hisa::Element<TestType>::quantised ? scales.data() : nullptr, blocks, c.size,
        c.D};
    auto const result = call(plan, c.M, c.topk, c.device.queries, c.keys, level, c.ranges(true));
    REQUIRE(same(result, moved(expected, c.offset)));
  }
}

TEMPLATE_TEST_CASE("pool_append and pool_rebuild: keys and rows past 2^32 elements", "", e4m3fn,
                   float) {
  NEEDS_HOST();
  AtTheEnd<TestType> const c;
  Lazy<TestType> const values((c.first_block + c.n) * c.D);
  Lazy<float> const scales(c.first_block + c.n);
  std::vector<std::int32_t> const row{c.first_block}, first{std::int32_t(c.offset)}, zero{100},
      length{std::int32_t(c.n)};
  hisa::PooledKeys<TestType> const level{values.data(),
                                         hisa::Element<TestType>::quantised ? scales.data()
                                                                            : nullptr,
                                         c.first_block + c.n,
                                         c.size,
                                         c.D,
                                         row.data()};
  auto const require_rows = [&](std::int64_t from) {
    for (std::int64_t i = from * c.D; i < std::int64_t(c.pooled.values.size()); ++i)
      REQUIRE(std::memcmp(&values[std::int64_t(c.first_block) * c.D + i],
                          &c.pooled.values[std::size_t(i)], sizeof(TestType)) == 0);
    for (std::int64_t b = from; b < std::int64_t(c.pooled.scales.size()); ++b)
      REQUIRE(scales[c.first_block + b] == c.pooled.scales[std::size_t(b)]);
  };
  Exec const exec;
  hisa::pool_append<MeanPool>(exec, c.keys, level, {1, zero.data(), length.data(), first.data()});
  exec.fence();
  require_rows(100 / c.size);
  hisa::pool_rebuild<MeanPool>(exec, c.keys, level, {1, nullptr, length.data(), first.data()});
  exec.fence();
  require_rows(0);
}

TEMPLATE_TEST_CASE("rows of keys that lie 2^27 elements apart", "", e4m3fn, float) {
  NEEDS_HOST();
  auto const p = Problem<TestType>::random(111, 3, 70, 2, 8);
  std::int64_t const stride = (std::int64_t(1) << 27) + 16;
  REQUIRE((p.N - 1) * stride > 2 * two32);
  Lazy<TestType> const k(p.N * stride);
  for (std::int64_t i = 0; i < p.N; ++i)
    std::copy_n(p.k.data() + i * p.D, p.D, k.data() + i * stride);
  DeviceProblem<TestType> const device(p);
  auto keys = device.keys;
  keys.values = k.data(), keys.row_stride = stride;
  auto const level = pool_reference(p, 16);
  REQUIRE(same(run_on_device(Exec(), {{}, 20}, device.queries, keys, {}, device.ranges),
               run_reference(p, {{}, 20})));
  REQUIRE(same(
      run_on_device(Exec(), {{{16, 3}}, 20}, device.queries, keys, {level.view}, device.ranges),
      run_reference(p, {{{16, 3}}, 20}, {level})));
  Pooled<TestType> rows(p.N / 16, 16, p.D);
  std::vector<std::int32_t> const length{std::int32_t(p.N)};
  hisa::pool_rebuild<MeanPool>(Exec(), keys, rows.view, {1, nullptr, length.data(), nullptr});
  Exec().fence();
  REQUIRE(std::memcmp(rows.values.data(), level.values.data(),
                      level.values.size() * sizeof(TestType)) == 0);
}

TEMPLATE_TEST_CASE("logits whose rows lie 2^30 floats apart", "", e4m3fn, float) {
  NEEDS_HOST();
  auto const p = Problem<TestType>::random(112, 6, 90, 2, 8);
  std::int64_t const stride = std::int64_t(1) << 30;
  REQUIRE((p.M - 1) * stride > two32);
  DeviceProblem<TestType> const device(p);
  Lazy<float> const logits(p.M * stride);
  for (std::int64_t group : {1, 4}) {
    std::size_t const bytes = hisa::score_workspace_bytes(p.H, p.D, group);
    auto const memory = make_workspace(bytes);
    for (std::int64_t t = 0; t < p.M; ++t)
      std::fill_n(logits.data() + t * stride, p.N, -77.0f);
    hisa::score(Exec(), device.queries, device.keys, device.ranges, {logits.data(), stride},
                span(memory, bytes));
    Exec().fence();
    for (std::int64_t t = 0; t < p.M; ++t)
      for (std::int64_t i = 0; i < p.N; ++i) {
        float const expected =
            i < p.ke[std::size_t(t)]
                ? hisa::reference::score(p.queries(), t, p.keys().row({}, hisa::TokenIndex(i)))
                : -77.0f;
        REQUIRE(same_score(logits[t * stride + i], expected));
      }
  }
}

TEST_CASE("queries past 2^32 elements") {
  NEEDS_HOST();
  // The group of the last query alone, as score() hands it to a backend: to call score() itself
  // would convert all queries before it.
  constexpr int D = 64, H = 20;
  constexpr std::int64_t M = (std::int64_t(1) << 22) + 3;
  static_assert((M - 1) * H * D > two32);
  auto const p = Problem<e4m3fn>::random(113, 1, 100, H, D);
  DeviceProblem<e4m3fn> const device(p);
  Lazy<e4m3fn> const q(M * H * D);
  Lazy<float> const w(M * H);
  Lazy<std::int32_t> const ks(M), ke(M);
  std::copy(p.q.begin(), p.q.end(), q.data() + (M - 1) * H * D);
  std::copy(p.w.begin(), p.w.end(), w.data() + (M - 1) * H);
  ke[M - 1] = p.ke[0];

  using Keys = hisa::ContiguousKeys<e4m3fn>;
  hisa::Descent<hisa::TokenRows<Keys>, hisa::Ranges> descent;
  descent.group = {{q.data(), w.data(), M, H, D}, M - 1, 1};
  descent.visibility = {ks.data(), ke.data()};
  descent.max_keys = descent.capacity = p.N;
  descent.rows = {device.keys};
  descent.scores_wanted = true;
  auto const memory = make_workspace(hisa::score_workspace_bytes(H, D, 1));
  auto workspace = hisa::detail::score_layout(H, D, 1).divide(memory.data());
  std::vector<float> logits(std::size_t(p.N), -77.0f);
  workspace.scores = {logits.data(), p.N};
  hisa::Portable<>::score(Exec(), descent, workspace);
  Exec().fence();
  for (std::int64_t i = 0; i < p.N; ++i)
    REQUIRE(
        same_score(logits[std::size_t(i)],
                   hisa::reference::score(p.queries(), 0, p.keys().row({}, hisa::TokenIndex(i)))));
}

TEMPLATE_TEST_CASE("pages past 2^32 bytes: far apart, and with slots up to the last one", "",
                   e4m3fn, bf16) {
  NEEDS_HOST();
  constexpr int P = 16, D = 8, B = 8; // two blocks a page
  PagedProblem<TestType> const compact(114, {200, 31, 150}, P, 2, D, 2);
  auto p = compact;
  bool const far_apart = GENERATE(true, false);
  if (far_apart) { // few pages, a huge stride
    p.shuffle_pages(115);
    p.page_stride = (std::int64_t(1) << 28) + 64;
  } else { // packed pages, the last of as many as have a slot
    p.page_stride = 0;
    p.pages_in_cache = two31 / P;
    for (std::int32_t& page : p.table)
      page = std::int32_t(p.pages_in_cache - page);
  }
  std::int64_t const packed = hisa::PagedKeys<TestType>::page_bytes(P, D);
  std::int64_t const stride = far_apart ? p.page_stride : packed;
  REQUIRE((p.pages_in_cache - 1) * stride > 2 * two32);
  Lazy<std::byte> const cache(p.pages_in_cache * stride);
  for (std::int64_t s = 0; s < p.batch; ++s)
    for (std::int64_t i = 0; i < p.sequences[std::size_t(s)].N; ++i) {
      Problem<TestType> const& one = p.sequences[std::size_t(s)];
      std::byte* const page = cache.data() + p.table[std::size_t(s * p.max_pages + i / P)] * stride;
      std::memcpy(page + i % P * D * std::int64_t(sizeof(TestType)), one.k.data() + i * D,
                  D * sizeof(TestType));
      if (hisa::Element<TestType>::quantised)
        std::memcpy(page + P * D + i % P * 4, &one.k_scale[std::size_t(i)], 4);
    }
  auto const keys = p.keys(cache.data(), p.table.data());
  auto const all = p.all_queries();
  hisa::Queries<TestType> const queries{all.q.data(), all.w.data(), all.M, 2, D};
  hisa::Lengths const lengths{p.lengths.data(), p.batch, p.next_n, p.form};

  // The packed pooled buffer has 2^28 rows of 8 elements. Each row is what a sequence of its own
  // gives.
  std::int64_t const blocks = p.pages_in_cache * (P / B);
  Lazy<TestType> const rows(blocks * D);
  Lazy<float> const scales(blocks);
  hisa::PooledKeys<TestType> const level{
      rows.data(), hisa::Element<TestType>::quantised ? scales.data() : nullptr, blocks, B, D};
  hisa::pool_rebuild<MeanPool>(Exec(), keys, level, {p.batch, nullptr, p.lengths.data(), nullptr});
  Exec().fence();
  for (std::int64_t s = 0; s < p.batch; ++s) {
    auto const expected = pool_reference(p.sequences[std::size_t(s)], B);
    for (std::int64_t b = 0; b < expected.view.blocks; ++b) {
      std::int64_t const row =
          p.table[std::size_t(s * p.max_pages + b * B / P)] * std::int64_t(P / B) + b % (P / B);
      REQUIRE(std::memcmp(&rows[row * D], &expected.values[std::size_t(b * D)],
                          D * sizeof(TestType)) == 0);
      if (hisa::Element<TestType>::quantised)
        REQUIRE(scales[row] == expected.scales[std::size_t(b)]);
    }
  }
  Setting const flat{{}, 30}, one{{{B, 6}}, 30};
  for (Setting setting : {flat, one}) {
    auto expected = compact.run_reference(setting);
    for (std::size_t i = 0; i < expected.indices.size(); ++i) // to slots, by the definition
      if (std::int32_t& token = expected.indices[i]; token >= 0) {
        std::size_t const s = i / std::size_t(setting.topk * p.next_n);
        token = p.table[s * std::size_t(p.max_pages) + std::size_t(token / P)] * P + token % P;
      }
    std::vector<hisa::PooledKeys<const TestType>> levels;
    if (!setting.levels.empty())
      levels.push_back(level);
    setting.options.index_base = IndexBase::physical;
    auto const result = run_on_device(Exec(), setting, queries, keys, levels, lengths);
    REQUIRE(same(result, expected));
    REQUIRE(result.counts[0] == 30);
    if (!far_apart)
      REQUIRE(result.indices[0] > two31 - 2000);
  }
}

TEST_CASE("long odd lengths, all visible: nothing is off by one") {
  for (std::int64_t n : {65537, 324999, 325001, 325003}) {
    auto const p = Problem<float>::random(std::uint64_t(n), 2, n, 1, 2);
    for (int topk : {1, 2047, 2048})
      REQUIRE(same(run(p, {{}, topk}), run_reference(p, {{}, topk})));
    auto const level = pool_reference(p, 128);
    REQUIRE(
        same(run(p, {{{128, 64}}, 2048}, {level}), run_reference(p, {{{128, 64}}, 2048}, {level})));
  }
  // The best token is the very last one.
  auto p = Problem<float>::random(116, 1, 325001, 1, 2);
  p.w = {1.0f};
  p.q = {1.0f, 0.0f};
  p.k[2 * 325000] = 100.0f;
  auto const result = run(p, {{}, 2048});
  REQUIRE(result.indices[2047] == 325000);
  REQUIRE(result.scores[2047] == 100.0f);
}

TEST_CASE("long odd lengths over pages") {
  PagedProblem<e4m3fn> p(117, {325001, 100003}, 64, 1, 4, 1);
  p.shuffle_pages(118);
  for (Setting const& setting : {Setting{{}, 2048}, Setting{{{64, 40}}, 2048}})
    REQUIRE(same(p.run(setting), p.run_reference(setting)));
  auto const decode = p.run(Setting{{}, 2048}), prefill = p.prefill(0, Setting{{}, 2048});
  REQUIRE(std::equal(prefill.indices.begin(), prefill.indices.end(), decode.indices.begin()));

  // The best token is the very last one.
  Problem<e4m3fn>& first = p.sequences[0];
  first.w = {1.0f};
  first.q.assign(4, hisa::Element<e4m3fn>::from_float(1.0f));
  std::fill(first.k.end() - 4, first.k.end(), hisa::Element<e4m3fn>::from_float(400.0f));
  REQUIRE(p.run(Setting{{}, 2048}).indices[2047] == 325000);
}

TEST_CASE("the tests above touched little of their buffers") {
  rusage usage{};
  REQUIRE(getrusage(RUSAGE_SELF, &usage) == 0);
  CHECK(usage.ru_maxrss < std::int64_t(1) << 20); // KiB
}
