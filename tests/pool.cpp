// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pooled rows: rebuilding and appending, bit for bit against the specification, on both storages.
#include "support/pooling.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <cmath>
#include <limits>

using namespace hisa_test;
using hisa::bf16, hisa::e4m3fn, hisa::e4m3fnuz, hisa::fp16;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float NaN = std::numeric_limits<float>::quiet_NaN();

/// Two rows a block, the means of its halves.
struct HalvesPool {
  static constexpr const char* name = "halves";
  static constexpr int rows = 2;
  static constexpr float identity = 0.0f;
  KOKKOS_FUNCTION static constexpr float fold(float sum, float value) { return sum + value; }
  KOKKOS_FUNCTION static constexpr float finish(float sum, int tokens) {
    return sum / static_cast<float>(tokens);
  }
};

/// The largest value of each dimension.
struct LargestPool {
  static constexpr const char* name = "largest";
  static constexpr int rows = 1;
  static constexpr float identity = -inf;
  KOKKOS_FUNCTION static constexpr float fold(float best, float value) {
    return value > best ? value : best;
  }
  KOKKOS_FUNCTION static constexpr float finish(float best, int) { return best; }
};

/// Ones, but NaN where the sum is zero.
struct OnesPool {
  static constexpr const char* name = "ones";
  static constexpr int rows = 1;
  static constexpr float identity = 0.0f;
  KOKKOS_FUNCTION static constexpr float fold(float sum, float value) { return sum + value; }
  KOKKOS_FUNCTION static constexpr float finish(float sum, int) { return sum / sum; }
};

} // namespace

TEMPLATE_TEST_CASE("a rebuild equals the specification for any block size and D", "", float, bf16,
                   fp16, e4m3fn, e4m3fnuz) {
  for (int D : {1, 15, 16, 17, 128, 300})
    for (int block_size : {1, 3, 16, 128})
      for (std::int64_t N : {1, 127, 128, 400})
        require_rebuilt<hisa::MeanPool>(Problem<TestType>::random(std::uint64_t(D + N), 1, N, 1, D),
                                        block_size);
}

TEMPLATE_TEST_CASE("an append from any length to any other writes the rows it completes, only", "",
                   float, e4m3fn) {
  auto const p = Problem<TestType>::random(61, 1, 30, 1, 20);
  Pooled<TestType> const before(6, 7, 20); // rows that are never complete keep their content
  for (std::int32_t from = 0; from <= 30; ++from)
    for (std::int32_t to = 0; to <= 30; ++to) {
      auto const after = append(p, before, from, to);
      auto expected = before;
      auto const all = specified(p, before, to);
      for (int b = from / 7; b < to / 7; ++b) {
        std::copy_n(all.values.begin() + b * 20, 20, expected.values.begin() + b * 20);
        if (!expected.scales.empty())
          expected.scales[std::size_t(b)] = all.scales[std::size_t(b)];
      }
      bool const equal = same_rows(after, expected);
      REQUIRE(equal);
    }
}

TEMPLATE_TEST_CASE("random appends, one token to many at a time, equal pooling from scratch", "",
                   float, bf16, e4m3fn) {
  Random random(62);
  for (int block_size : {4, 16, 128})
    for (int repeat = 0; repeat < 5; ++repeat) {
      auto const p = Problem<TestType>::random(random(), 1, 1000, 1, 17);
      Pooled<TestType> pooled(1000 / block_size, block_size, 17);
      auto const before = pooled;
      std::int32_t length = 0;
      while (length < 1000) {
        std::int32_t const step =
            random() % 3 == 0 ? std::int32_t(random() % 300) : std::int32_t(random() % 5);
        std::int32_t const next = std::min(length + step, 1000);
        pooled = append(p, pooled, length, next);
        length = next;
      }
      bool const equal = same_rows(pooled, specified(p, before, 1000));
      REQUIRE(equal);
    }
}

TEMPLATE_TEST_CASE("truncate, also into a block, then other tokens (vllm 55219)", "", float,
                   e4m3fn) {
  Random random(63);
  for (int repeat = 0; repeat < 10; ++repeat) {
    auto p = Problem<TestType>::random(random(), 1, 300, 1, 12);
    Pooled<TestType> pooled(300 / 16, 16, 12);
    std::int32_t length = 0;
    for (int step = 0; step < 25; ++step) {
      std::int32_t const next = std::int32_t(random() % 301);
      for (std::int32_t i = length; i < next; ++i) // the tokens after a truncation are new ones
        for (std::size_t d = 0; d < 12; ++d)
          p.k[std::size_t(i) * 12 + d] = random_element<TestType>(random);
      pooled = append(p, pooled, length, next);
      length = next;
      auto const scratch = specified(p, pooled, length); // rewrites the complete blocks
      bool const equal = same_rows(pooled, scratch);
      REQUIRE(equal);
    }
  }
}

TEMPLATE_TEST_CASE("packed sequences: each has its own blocks, found by begin", "", float, bf16,
                   e4m3fn) {
  auto const p = Problem<TestType>::random(64, 1, 500, 1, 24);
  DeviceProblem<TestType> const d(p);
  Ints const begin{0, 133, 140, 140, 333}, lengths{133, 7, 0, 193, 167};
  for (int block_size : {8, 32}) {
    Ints first_blocks;
    std::int32_t blocks = 1; // a row before the first one, and ceil(length / B) rows a sequence
    for (std::int32_t length : lengths) {
      first_blocks.push_back(blocks);
      blocks += (length + block_size - 1) / block_size;
    }
    Pooled<TestType> const before(blocks + 1, block_size, 24);
    Pooled<TestType> expected = before;
    auto view = expected.view;
    view.begin = first_blocks.data();
    for (std::size_t s = 0; s < 5; ++s) {
      hisa::Visible v;
      v.query = std::int64_t(s);
      v.anchor = v.begin = begin[s];
      hisa::reference::pool(p.keys(), view, v, lengths[s]);
    }
    auto const whole =
        pool_on_device<hisa::MeanPool>(d.keys, before, std::nullopt, lengths, begin, first_blocks);
    REQUIRE(same_rows(whole, expected));
    Ints half, zero(5, 0);
    for (std::int32_t length : lengths)
      half.push_back(length / 2 + 1);
    auto grown = pool_on_device<hisa::MeanPool>(d.keys, before, zero, half, begin, first_blocks);
    grown = pool_on_device<hisa::MeanPool>(d.keys, grown, half, lengths, begin, first_blocks);
    REQUIRE(same_rows(grown, expected));
  }
}

TEMPLATE_TEST_CASE("rows of keys any distance apart", "", float, e4m3fn) {
  auto const p = Problem<TestType>::random(65, 1, 50, 1, 20);
  Pooled<TestType> const before(10, 5, 20);
  auto const expected = specified(p, before, 50);
  for (std::int64_t stride : {20, 21, 48}) {
    std::vector<TestType> spread(std::size_t(p.N * stride), hisa::Element<TestType>::nan());
    for (std::int64_t i = 0; i < p.N; ++i)
      std::copy_n(p.k.begin() + std::ptrdiff_t(i * 20), 20,
                  spread.begin() + std::ptrdiff_t(i * stride));
    Device<TestType> const values(spread);
    DeviceProblem<TestType> d(p);
    d.keys.values = values.data();
    d.keys.row_stride = stride;
    REQUIRE(same_rows(pool_on_device<hisa::MeanPool>(d.keys, before, std::nullopt, Ints{50}),
                      expected));
  }
}

TEMPLATE_TEST_CASE("pages: blocks smaller than, equal to and larger than a page, shuffled", "",
                   float, bf16, e4m3fn) {
  PagedProblem<TestType> p(66, {200, 64, 0, 1, 63, 130}, 16, 1, 20, 1);
  p.shuffle_pages(67);
  for (std::int64_t padding : {0, 16, 4096}) {
    p.page_stride = hisa::PagedKeys<TestType>::page_bytes(16, 20) + padding;
    auto const bytes = p.pages();
    auto poisoned = p;
    poisoned.poison_table(); // entries past the lengths would fault
    if (padding == 0)
      poisoned.page_stride = 0; // packed
    for (int block_size : {1, 2, 8, 16, 32, 64}) {
      auto const before = paged_buffer(p, block_size);
      auto const expected = specified_pages(p, bytes, before, p.lengths);
      INFO("padding " << padding << ", B = " << block_size);
      bool const whole =
          same_rows(pool_pages(poisoned, bytes, before, std::nullopt, p.lengths), expected);
      REQUIRE(whole);
      Ints const some{77, 64, 0, 0, 15, 128};
      auto grown = pool_pages(poisoned, bytes, before, Ints(6, 0), some);
      REQUIRE(same_rows(grown, specified_pages(p, bytes, before, some)));
      grown = pool_pages(poisoned, bytes, grown, some, p.lengths);
      REQUIRE(same_rows(grown, expected));
    }
  }
}

TEMPLATE_TEST_CASE("pages: random appends and truncations of several sequences", "", float,
                   e4m3fn) {
  Random random(68);
  for (int block_size : {4, 16, 32}) {
    PagedProblem<TestType> p(69, {160, 160, 160}, 16, 1, 10, 1);
    p.shuffle_pages(random());
    auto pooled = paged_buffer(p, block_size);
    Ints lengths(3, 0);
    for (int step = 0; step < 30; ++step) {
      Ints next;
      for (std::size_t s = 0; s < 3; ++s) {
        next.push_back(step % 4 == 3 ? std::int32_t(random() % 161)
                                     : std::min(160, lengths[s] + std::int32_t(random() % 20)));
        for (std::int32_t i = lengths[s]; i < next[s]; ++i)
          for (std::size_t d = 0; d < 10; ++d)
            p.sequences[s].k[std::size_t(i) * 10 + d] = random_element<TestType>(random);
      }
      auto const bytes = p.pages();
      pooled = pool_pages(p, bytes, pooled, lengths, next);
      lengths = next;
      bool const equal = same_rows(pooled, specified_pages(p, bytes, pooled, lengths));
      REQUIRE(equal);
    }
  }
}

TEST_CASE("a fork does not disturb the rows of the pages that it shares") {
  // Two sequences share three pages of 16 and go on differently; blocks of 32 straddle the fork.
  PagedProblem<e4m3fn> p(70, {80, 80}, 16, 1, 8, 1);
  p.share_prefix(0, 1, 3);
  auto const bytes = p.pages();
  for (int block_size : {8, 16, 32}) {
    auto const before = paged_buffer(p, block_size);
    auto const one = pool_pages(p, bytes, before, std::nullopt, Ints{80, 48});
    auto const both = pool_pages(p, bytes, one, Ints{80, 48}, Ints{80, 80});
    auto const keys = p.keys(bytes.data(), p.table.data());
    for (std::int64_t s = 0; s < 2; ++s)
      for (std::int64_t b = 0; b < 80 / block_size; ++b) {
        hisa::Visible v;
        v.sequence = s;
        auto const row = hisa::pooled_row(keys, both.view, v, hisa::BlockIndex(b)).value;
        auto const alone = pool_reference(p.sequences[std::size_t(s)], block_size);
        REQUIRE(std::memcmp(&both.values[std::size_t(row * 8)], &alone.values[std::size_t(b * 8)],
                            8) == 0);
        REQUIRE(both.scales[std::size_t(row)] == alone.scales[std::size_t(b)]);
      }
  }
}

TEMPLATE_TEST_CASE("lengths zero, negative and beyond the buffer are clamped on the device", "",
                   float, e4m3fn) {
  auto const p = Problem<TestType>::random(71, 1, 40, 1, 6);
  Pooled<TestType> const before(5, 8, 6);
  constexpr std::int32_t lowest = std::numeric_limits<std::int32_t>::min();
  constexpr std::int32_t highest = std::numeric_limits<std::int32_t>::max();
  for (std::int32_t length : {0, -1, -8, lowest, 7}) {
    REQUIRE(same_rows(rebuild(p, before, length), before));
    REQUIRE(same_rows(append(p, before, 0, length), before));
    REQUIRE(same_rows(append(p, before, length, 7), before));
    REQUIRE(same_rows(append(p, before, length, 40), specified(p, before, 40)));
  }
  for (std::int32_t length : {40, 41, 48, 1000, highest}) {
    REQUIRE(same_rows(rebuild(p, before, length), specified(p, before, 40)));
    REQUIRE(same_rows(append(p, before, 0, length), specified(p, before, 40)));
    REQUIRE(same_rows(append(p, before, length, 40), before));
  }
  // With begin: what is beyond is cut at the buffer's end.
  DeviceProblem<TestType> const d(p);
  for (std::int32_t begin : {-5, 30, 40, 77, highest}) {
    auto const rows =
        pool_on_device<hisa::MeanPool>(d.keys, before, std::nullopt, Ints{highest}, Ints{begin});
    hisa::Visible v;
    v.anchor = std::clamp(begin, 0, 40);
    Pooled<TestType> expected = before;
    hisa::reference::pool(p.keys(), expected.view, v, 40 - v.anchor);
    REQUIRE(same_rows(rows, expected));
  }
  // Pages.
  PagedProblem<TestType> pages(72, {64, 64, 64, 64}, 16, 1, 8, 1);
  pages.max_pages = 4; // exactly what the sequences fill
  pages.table.resize(16);
  auto const bytes = pages.pages();
  auto const buffer = paged_buffer(pages, 8);
  auto const rows = pool_pages(pages, bytes, buffer, std::nullopt, Ints{highest, 0, lowest, 65});
  REQUIRE(same_rows(rows, specified_pages(pages, bytes, buffer, Ints{64, 0, 0, 64})));
}

TEST_CASE("a product is rounded before it is added: no contraction, whatever the compiler") {
  // fp32: -(1 + 2^-11) + (1 + 2^-12)^2 is 0 after rounding the square, 2^-24 without.
  auto p = Problem<float>::random(85, 1, 2, 1, 1);
  p.k = {-(1 + 0x1p-11f), 1 + 0x1p-12f};
  p.k_scale = {1, 1 + 0x1p-12f};
  REQUIRE(rebuild(p, Pooled<float>(1, 2, 1), 2).values == std::vector<float>{0.0f});

  // e4m3: 15/8 of a scale rounds up to r; r less an ulp is taken from it. What remains is the row's
  // maximum, so its code is 448; without the rounding it would be less.
  Random random(86);
  auto small = Problem<e4m3fn>::random(87, 1, 2, 1, 1);
  small.k = {hisa::e4m3fn_from_float(-1), hisa::e4m3fn_from_float(1.875f)};
  for (int found = 0; found < 20;) {
    float const scale = std::uniform_real_distribution<float>(1.0f, 1.05f)(random);
    double const exact = 1.875 * double(scale);
    float const rounded = float(exact), below = std::nextafter(rounded, 0.0f);
    if (double(rounded) - exact < 0.3 * (double(rounded) - double(below)))
      continue;
    ++found;
    small.k_scale = {below, scale};
    auto const row = rebuild(small, Pooled<e4m3fn>(1, 2, 1), 2);
    REQUIRE(row.scales[0] == (rounded - below) / 2 / 448);
    REQUIRE(hisa::to_float(row.values[0]) == 448);
  }
}

TEST_CASE("means halfway between two codes are divided by the scale, and round to even") {
  auto p = Problem<e4m3fn>::random(88, 1, 2000, 1, 2);
  for (std::size_t i = 0; i < 1000; ++i) { // 17 is between the codes 16 and 18, in blocks of two
    p.k_scale[2 * i + 1] = p.k_scale[2 * i];
    for (std::size_t d = 0; d < 4; ++d)
      p.k[4 * i + d] = hisa::e4m3fn_from_float(d % 2 == 0 ? 448.0f : d == 1 ? 16.0f : 18.0f);
  }
  Pooled<e4m3fn> const before(1000, 2, 2);
  auto const rows = rebuild(p, before, 2000);
  REQUIRE(same_rows(rows, specified(p, before, 2000)));
  int differing = 0; // from a multiplication by the reciprocal
  for (std::size_t i = 0; i < 1000; ++i) {
    float const a = 16 * p.k_scale[2 * i], b = 18 * p.k_scale[2 * i], mean = (a + b) / 2;
    REQUIRE(rows.values[2 * i + 1].bits == hisa::e4m3fn_from_float(mean / rows.scales[i]).bits);
    differing +=
        rows.values[2 * i + 1].bits != hisa::e4m3fn_from_float(mean * (1 / rows.scales[i])).bits;
  }
  REQUIRE(differing > 0);
}

TEST_CASE("a zero block has scale 1 and codes of zero") {
  auto p = Problem<e4m3fn>::random(73, 1, 24, 1, 20);
  for (std::size_t i = 8 * 20; i < 16 * 20; ++i)
    p.k[i] = e4m3fn{std::uint8_t(i % 2 ? 0x80 : 0x00)};
  Pooled<e4m3fn> const before(3, 8, 20);
  auto const rows = rebuild(p, before, 24);
  REQUIRE(same_rows(rows, specified(p, before, 24)));
  REQUIRE(rows.scales[1] == 1.0f);
  for (std::size_t d = 0; d < 20; ++d)
    REQUIRE(hisa::to_float(rows.values[20 + d]) == 0.0f);
}

TEST_CASE("scales from 2^-149 to 2^127: rows are the specification's, or NaN where it says so") {
  for (int exponent : {-149, -140, -135, -126, -100, 100, 118, 119, 120, 127}) {
    auto p = Problem<e4m3fn>::random(74, 1, 32, 1, 20);
    for (float& s : p.k_scale)
      s = std::ldexp(1.0f, exponent);
    Pooled<e4m3fn> const before(4, 8, 20);
    INFO("2^" << exponent);
    REQUIRE(same_rows(rebuild(p, before, 32), specified(p, before, 32)));
  }
}

TEMPLATE_TEST_CASE("anything not finite in a block: a row of NaN, with scale 1, and it scores +0",
                   "", float, bf16, e4m3fn) {
  auto const sound = Problem<TestType>::random(75, 1, 40, 2, 37);
  Pooled<TestType> const before(5, 8, 37);
  std::vector<Problem<TestType>> cases;
  for (std::size_t at : {16 * 37, 16 * 37 + 15, 20 * 37 + 16, 23 * 37 + 36}) {
    cases.push_back(sound);
    cases.back().k[at] = hisa::Element<TestType>::nan();
  }
  for (float value : {inf, -inf})
    if (!hisa::Element<TestType>::quantised) {
      cases.push_back(sound);
      cases.back().k[19 * 37 + 3] = hisa::Element<TestType>::from_float(value);
    }
  for (float scale : {NaN, inf, -inf})
    if (hisa::Element<TestType>::quantised) {
      cases.push_back(sound);
      cases.back().k_scale[21] = scale;
    }
  for (auto const& p : cases) {
    auto const rows = rebuild(p, before, 40);
    REQUIRE(same_rows(rows, specified(p, before, 40)));
    for (std::size_t d = 0; d < 37; ++d)
      REQUIRE(std::isnan(hisa::Element<TestType>::to_float(rows.values[2 * 37 + d])));
    if (!rows.scales.empty())
      REQUIRE(rows.scales[2] == 1.0f);
    auto others = specified(sound, before, 40); // the other blocks are as they were
    for (std::size_t b : {0, 1, 3, 4})
      REQUIRE(std::memcmp(&rows.values[b * 37], &others.values[b * 37], 37 * sizeof(TestType)) ==
              0);
    hisa::KeyRow<TestType> const row{&rows.values[2 * 37], 1.0f};
    REQUIRE(std::bit_cast<std::uint32_t>(hisa::reference::score(p.queries(), 0, row)) == 0);
  }
}

TEST_CASE("finite keys whose sum fp32 cannot hold make a row of NaN") {
  auto p = Problem<float>::random(76, 1, 16, 1, 3);
  for (std::size_t i = 0; i < 8; ++i)
    p.k[i * 3 + 1] = 3e38f;
  Pooled<float> const before(2, 8, 3);
  auto const rows = rebuild(p, before, 16);
  REQUIRE(same_rows(rows, specified(p, before, 16)));
  REQUIRE(std::isnan(rows.values[0]));
  REQUIRE(!std::isnan(rows.values[3]));
}

TEMPLATE_TEST_CASE("fp32 and bf16 keys with scales: the products are pooled, rows have scale 1", "",
                   float, bf16) {
  auto p = Problem<TestType>::random(77, 1, 40, 1, 9);
  for (std::size_t i = 0; i < 40; ++i)
    p.k_scale.push_back(0.25f + float(i));
  Pooled<TestType> before(5, 8, 9);
  auto const rows = rebuild(p, before, 40);
  REQUIRE(same_rows(rows, specified(p, before, 40)));
  before.scales.assign(5, 3.0f); // a buffer that has scales gets them
  before.view.scales = before.scales.data();
  auto const with_scales = rebuild(p, before, 40);
  REQUIRE(with_scales.scales == std::vector<float>(5, 1.0f));
  REQUIRE(same_bytes(with_scales.values, rows.values));
}

TEMPLATE_TEST_CASE("rules of a user's own pool: two rows a block, and a maximum", "", float, bf16,
                   e4m3fn) {
  for (int D : {1, 20, 130})
    for (int block_size : {2, 6, 64}) {
      auto const p = Problem<TestType>::random(std::uint64_t(78 + D), 1, 200, 1, D);
      require_rebuilt<HalvesPool>(p, block_size);
      require_rebuilt<LargestPool>(p, block_size);
    }
  PagedProblem<TestType> p(79, {100, 40}, 16, 1, 12, 1);
  p.shuffle_pages(80);
  auto const bytes = p.pages();
  for (int block_size : {8, 16, 32}) {
    auto const two = paged_buffer(p, block_size, 2), one = paged_buffer(p, block_size);
    REQUIRE(same_rows(pool_pages<HalvesPool>(p, bytes, two, std::nullopt, p.lengths),
                      specified_pages<HalvesPool>(p, bytes, two, p.lengths)));
    REQUIRE(same_rows(pool_pages<LargestPool>(p, bytes, one, std::nullopt, p.lengths),
                      specified_pages<LargestPool>(p, bytes, one, p.lengths)));
  }
}

TEMPLATE_TEST_CASE(
    "a key that a rule would pass over still makes its row NaN, as does a rule's NaN", "", float,
    e4m3fn) {
  auto p = Problem<TestType>::random(89, 1, 32, 1, 37);
  p.k[5 * 37 + 20] = hisa::Element<TestType>::nan(); // a maximum would skip it
  if (!hisa::Element<TestType>::quantised)
    p.k[9 * 37 + 36] = hisa::Element<TestType>::from_float(-inf);
  for (std::size_t i = 0; i < 8; ++i) // a sum of zero divided by itself
    p.k[(16 + i) * 37 + 18] = hisa::Element<TestType>::from_float(0.0f);
  Pooled<TestType> const before(4, 8, 37);
  auto const is_nan = [](const Pooled<TestType>& rows, std::size_t b) {
    return std::all_of(rows.values.begin() + std::ptrdiff_t(b * 37),
                       rows.values.begin() + std::ptrdiff_t(b * 37 + 37),
                       [](TestType x) { return std::isnan(hisa::Element<TestType>::to_float(x)); });
  };
  auto const largest = rebuild<LargestPool>(p, before, 32);
  REQUIRE(same_rows(largest, specified<LargestPool>(p, before, 32)));
  REQUIRE(is_nan(largest, 0));
  REQUIRE(is_nan(largest, 1) == !hisa::Element<TestType>::quantised);
  auto const ones = rebuild<OnesPool>(p, before, 32);
  REQUIRE(same_rows(ones, specified<OnesPool>(p, before, 32)));
  REQUIRE(is_nan(ones, 2));
  REQUIRE(!is_nan(ones, 3));
}

TEST_CASE("each row of two is pooled from its own half, the whole's mean is their mean") {
  auto p = Problem<float>::random(81, 1, 8, 1, 1);
  p.k = {1, 2, 3, 4, 10, 20, 30, 40};
  Pooled<float> const before(1, 8, 1, 2);
  REQUIRE(rebuild<HalvesPool>(p, before, 8).values == std::vector<float>{2.5f, 25});
  REQUIRE(rebuild<LargestPool>(p, Pooled<float>(2, 4, 1), 8).values == std::vector<float>{4, 40});
  REQUIRE(rebuild(p, Pooled<float>(1, 8, 1), 8).values == std::vector<float>{13.75f});
}

TEMPLATE_TEST_CASE("rules of a user's own choose blocks: hierarchies equal the reference", "",
                   float, e4m3fn) {
  auto const p = Problem<TestType>::random(82, 6, 1500, 8, 24);
  auto const boundary =
      GENERATE(hisa::Boundary::counted, hisa::Boundary::extra, hisa::Boundary::none);
  for (Setting setting :
       {Setting{{{64, 5}}, 200}, Setting{{{64, 8}, {16, 12}}, 100}, Setting{{{32, 1}}, 32}}) {
    setting.options.boundary = boundary;
    std::vector<Pooled<TestType>> halves, largest, mean;
    for (auto [size, keep] : setting.levels) {
      Pooled<TestType> const two(p.N / size, size, p.D, 2), one(p.N / size, size, p.D);
      halves.push_back(rebuild<HalvesPool>(p, two, 1500));
      largest.push_back(rebuild<LargestPool>(p, one, 1500));
      mean.push_back(rebuild(p, one, 1500));
    }
    auto const by_halves = run<HalvesPool>(p, setting, halves);
    auto const by_largest = run<LargestPool>(p, setting, largest);
    REQUIRE(same(by_halves, run_reference<HalvesPool>(p, setting, halves)));
    REQUIRE(same(by_largest, run_reference<LargestPool>(p, setting, largest)));
    if (setting.levels[0].second > 1) { // the rules choose differently
      auto const by_mean = run(p, setting, mean);
      REQUIRE(by_halves.indices != by_mean.indices);
      REQUIRE(by_largest.indices != by_mean.indices);
    }
  }
}

TEST_CASE("a block's score is the larger one of its rows, with negative weights too") {
  // Blocks of four keys in one dimension, 12 keys: the middle block against the boundary's.
  auto p = Problem<float>::random(83, 1, 20, 1, 1);
  p.q = {1};
  for (float weight : {1.0f, -1.0f})
    for (bool first : {true, false}) {
      p.w = {weight};
      p.k.assign(20, weight > 0 ? 1.0f : 5.0f);
      for (std::size_t i = 0; i < 2; ++i) // one half of block 2 is better than all others
        p.k[8 + (first ? 0 : 2) + i] = weight > 0 ? 5.0f : 1.0f;
      for (std::size_t i = 0; i < 2; ++i) // and the other half is worse, so that the mean is too
        p.k[8 + (first ? 2 : 0) + i] = weight > 0 ? -9.0f : 30.0f;
      auto const pooled = rebuild<HalvesPool>(p, Pooled<float>(5, 4, 1, 2), 20);
      auto const result = run<HalvesPool>(p, Setting{{{4, 3}}, 12}, {pooled});
      REQUIRE(result.indices == Ints{0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19});
    }
}

TEST_CASE("what cannot be pooled is refused before anything is written") {
  auto const p = Problem<e4m3fn>::random(84, 1, 40, 1, 8);
  DeviceProblem<e4m3fn> const d(p);
  Pooled<e4m3fn> const before(5, 8, 8);
  DevicePooled<e4m3fn> const pooled(before);
  Device<std::int32_t> const length(Ints{40});
  Exec const exec;
  hisa::Sequences const sequences{1, nullptr, length.data()};
  auto const refused = [&](hisa::ContiguousKeys<e4m3fn> keys, hisa::PooledKeys<e4m3fn> to,
                           const hisa::Sequences& s) {
    REQUIRE_THROWS_AS(hisa::pool_rebuild<hisa::MeanPool>(exec, keys, to, s),
                      hisa::precondition_error);
    exec.fence();
    REQUIRE(pooled.values.host().size() == before.values.size());
    REQUIRE(same_bytes(pooled.values.host(), before.values));
  };
  auto to = pooled.view;
  to.blocks = 4;
  refused(d.keys, to, sequences);
  to = pooled.view, to.block_size = 0;
  refused(d.keys, to, sequences);
  to = pooled.view, to.head_dim = 9;
  refused(d.keys, to, sequences);
  to = pooled.view, to.scales = nullptr;
  refused(d.keys, to, sequences);
  to = pooled.view, to.values = nullptr;
  refused(d.keys, to, sequences);
  refused(d.keys, pooled.view, {1, nullptr, nullptr});
  refused(d.keys, pooled.view, {-1, nullptr, length.data()});
  auto keys = d.keys;
  keys.scales = nullptr;
  refused(keys, pooled.view, sequences);
  // An append needs old lengths, a rule of two rows an even block.
  REQUIRE_THROWS_AS(hisa::pool_append<hisa::MeanPool>(exec, d.keys, pooled.view, sequences),
                    hisa::precondition_error);
  to = pooled.view, to.block_size = 9, to.blocks = 5;
  REQUIRE_THROWS_AS(hisa::pool_rebuild<HalvesPool>(exec, d.keys, to, sequences),
                    hisa::precondition_error);
}

TEST_CASE("a mean that fp16 cannot hold gives a row of NaN, not of infinities") {
  auto p = Problem<hisa::fp16>::random(99, 1, 4, 1, 2);
  for (auto& x : p.k)
    x = hisa::fp16_from_float(60000.0f);
  p.k_scale = {2.0f, 2.0f, 0.5f, 0.5f};
  auto const pooled = pool_reference(p, 2);
  for (std::size_t i = 0; i < 2; ++i) {
    REQUIRE(hisa::to_float(pooled.values[i]) != hisa::to_float(pooled.values[i])); // 120000
    REQUIRE(hisa::to_float(pooled.values[2 + i]) == 30000.0f);
  }
  DeviceProblem<hisa::fp16> const d(p);
  DevicePooled<hisa::fp16> const rows(Pooled<hisa::fp16>(2, 2, 2));
  Device<std::int32_t> const length(std::vector<std::int32_t>{4});
  hisa::pool_rebuild<hisa::MeanPool>(Exec(), d.keys, rows.view,
                                     {.count = 1, .new_length = length.data()});
  Kokkos::fence();
  auto const values = rows.values.host();
  for (std::size_t i = 0; i < 4; ++i)
    REQUIRE(values[i].bits == pooled.values[i].bits);
}
