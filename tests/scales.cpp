// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Keys whose scales are powers of two in one byte: the conversion over all codes, and every call
// against the same keys with the same scales in fp32, bit for bit.
#include "support/paged.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

using namespace hisa_test;
using hisa::e4m3fn, hisa::e4m3fnuz, hisa::ue8m0;

TEST_CASE("every code of ue8m0 is 2^(code - 127) exactly, and 0xff is NaN") {
  for (int code = 0; code < 255; ++code) {
    float const value = hisa::to_float(ue8m0{std::uint8_t(code)});
    REQUIRE(double(value) == std::ldexp(1.0, code - 127));
    REQUIRE(hisa::ue8m0_at_least(value).bits == code);
  }
  REQUIRE(std::isnan(hisa::to_float(ue8m0{0xff})));
}

TEST_CASE("ue8m0_at_least rounds up, whatever fp32 number it is given") {
  Random random(310);
  for (int i = 0; i < 100000; ++i) {
    float const x = std::bit_cast<float>(std::uint32_t(random()));
    std::uint8_t const code = hisa::ue8m0_at_least(x).bits;
    if (std::isnan(x) || double(x) > std::ldexp(1.0, 127)) {
      REQUIRE(code == 0xff);
    } else {
      REQUIRE(code != 0xff);
      REQUIRE(double(hisa::to_float(ue8m0{code})) >= double(x));
      REQUIRE((code == 0 || double(hisa::to_float(ue8m0{std::uint8_t(code - 1)})) < double(x)));
    }
  }
  float const inf = std::numeric_limits<float>::infinity();
  REQUIRE(hisa::ue8m0_at_least(inf).bits == 0xff);
  REQUIRE(hisa::ue8m0_at_least(-inf).bits == 0);
  REQUIRE(hisa::ue8m0_at_least(0x1.000002p126f).bits == 254);
  REQUIRE(hisa::ue8m0_at_least(0x1.000004p-127f).bits == 1);
  REQUIRE(hisa::ue8m0_at_least(0.0f).bits == 0);
}

namespace {

/// Scales that are powers of two, in both types.
template <class T>
std::vector<ue8m0> round_scales(Problem<T>& p) {
  std::vector<ue8m0> codes;
  for (float& scale : p.k_scale) {
    codes.push_back(hisa::ue8m0_at_least(scale));
    scale = hisa::to_float(codes.back());
  }
  return codes;
}

} // namespace

TEMPLATE_TEST_CASE("contiguous keys: results and pooled rows as with fp32 scales", "", e4m3fn,
                   e4m3fnuz) {
  auto p = Problem<TestType>::random(311, 6, 700, 8, 32);
  p.k_scale[17] = std::numeric_limits<float>::quiet_NaN(); // ranks last; its block is NaN
  p.k_scale[300] = 0x1p-127f;
  Device<ue8m0> const codes(round_scales(p));
  DeviceProblem<TestType> const d(p);
  hisa::ContiguousKeys<TestType, ue8m0> const keys{d.keys.values, codes.data(), p.N, p.D, 0};

  Device<std::int32_t> const length(std::vector<std::int32_t>{700});
  DevicePooled<TestType> const rows(Pooled<TestType>(700 / 32, 32, p.D));
  hisa::pool_rebuild<hisa::MeanPool>(Exec(), keys, rows.view, {1, nullptr, length.data(), nullptr});
  Kokkos::fence();
  auto const expected_rows = pool_reference(p, 32);
  REQUIRE(std::memcmp(rows.values.host().data(), expected_rows.values.data(),
                      expected_rows.values.size()) == 0);
  REQUIRE(rows.scales.host() == expected_rows.scales);

  for (const Setting& setting : {Setting{{}, 50}, Setting{{{32, 5}}, 64}}) {
    std::vector<Pooled<TestType>> pooled;
    std::vector<hisa::PooledKeys<const TestType>> views;
    for (std::size_t l = 0; l < setting.levels.size(); ++l)
      pooled.push_back(expected_rows), views.push_back(rows.view);
    REQUIRE(same(run_on_device(Exec(), setting, d.queries, keys, views, d.ranges),
                 run_reference(p, setting, pooled)));
  }
}

TEMPLATE_TEST_CASE("pages: one byte of scale a token behind the values", "", e4m3fn, e4m3fnuz) {
  using Keys = hisa::PagedKeys<TestType, ue8m0>;
  static_assert(Keys::page_bytes(64, 128) == 64 * 129);
  PagedProblem<TestType> p(312, {300, 64, 1, 0}, 15, 8, 31, 2); // odd pages: nothing is aligned
  p.shuffle_pages(313);
  std::vector<std::vector<ue8m0>> codes;
  for (auto& sequence : p.sequences)
    codes.push_back(round_scales(sequence));
  std::int64_t const page_bytes = Keys::page_bytes(15, 31);
  std::vector<std::byte> bytes(std::size_t(p.pages_in_cache * page_bytes), std::byte(0x5a));
  for (std::size_t s = 0; s < 4; ++s)
    for (std::int64_t i = 0; i < p.sequences[s].N; ++i) {
      std::byte* const page =
          bytes.data() + p.table[s * std::size_t(p.max_pages) + std::size_t(i / 15)] * page_bytes;
      std::memcpy(page + i % 15 * 31, p.sequences[s].k.data() + i * 31, 31);
      page[15 * 31 + i % 15] = std::byte(codes[s][std::size_t(i)].bits);
    }
  Device<std::byte> const cache(bytes);
  Device<std::int32_t> const table(p.table), lengths(p.lengths);
  Keys const keys{cache.data(), p.pages_in_cache, 0, 15, table.data(), 4, p.max_pages, 31};
  auto const queries = p.all_queries();
  Device<TestType> const q(queries.q);
  Device<float> const w(queries.w);
  // Pages with fp32 scales would have to be aligned: compared with a contiguous buffer a sequence.
  DevicePooled<TestType> const rows(Pooled<TestType>(p.pages_in_cache, 30, 31));
  hisa::pool_rebuild<hisa::MeanPool>(Exec(), keys, rows.view,
                                     {4, nullptr, lengths.data(), nullptr});
  auto const result = run_on_device(Exec(), Setting{{{30, 3}}, 40},
                                    hisa::Queries<TestType>{q.data(), w.data(), queries.M, 8, 31},
                                    keys, {rows.view}, hisa::Lengths{lengths.data(), 4, 2});
  for (std::size_t s = 0; s < 4; ++s) {
    auto const prefill =
        p.sequences[s].N >= 2 ? p.prefill(s, Setting{{{30, 3}}, 40}) : hisa::reference::Result{};
    for (std::size_t i = 0; i < prefill.indices.size(); ++i) {
      REQUIRE(result.indices[s * 80 + i] == prefill.indices[i]);
      REQUIRE(same_score(result.scores[s * 80 + i], prefill.scores[i]));
    }
  }
}

TEST_CASE("Views of scales say their type") {
  Kokkos::View<e4m3fn**, Kokkos::LayoutRight> const k("k", 5, 8);
  Kokkos::View<ue8m0*> const scales("scales", 5);
  auto const keys = hisa::make_contiguous_keys(k, scales);
  static_assert(std::is_same_v<decltype(keys), const hisa::ContiguousKeys<e4m3fn, ue8m0>>);
  REQUIRE(keys.scales == scales.data());
}
