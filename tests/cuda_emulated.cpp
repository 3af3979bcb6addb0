// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CUDA backend on the emulated device of tests/emulation: the cases of the program for real
// devices, at sizes for a CPU, and in many orders of threads, copies and products.
#include "cuda/sections.hpp"
#include "emulation/device.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <thread>

namespace {

using suite::Case, suite::Data, hisa::Boundary, hisa::IndexBase;

Case call(std::int64_t M, std::int64_t N, int H, const std::vector<int>& sizes,
          const std::vector<int>& keep, int topk, Data data = Data::random,
          Boundary boundary = Boundary::counted, std::int32_t first = 0, std::int32_t anchor = -1,
          bool packed = false) {
  Case c{.M = M, .N = N, .H = H, .topk = topk};
  for (std::size_t l = 0; l < sizes.size(); ++l)
    c.levels.push_back({sizes[l], keep[l]});
  c.data = data, c.boundary = boundary, c.first = first, c.anchor = anchor, c.packed = packed;
  return c;
}

/// By the flat kernel with so many CTAs.
Case flat(std::int64_t M, std::int64_t N, int H, int topk, int ctas, Data data = Data::random) {
  Case c = call(M, N, H, {}, {}, topk, data);
  c.flat_ctas = ctas;
  return c;
}

void passes(const Case& c, unsigned seed = 1) {
  INFO(c.text());
  long const before = suite::tally.failures;
  suite::run(c, seed);
  CHECK(suite::tally.failures == before);
}

void passes(const suite::Section& section, const suite::Scale& scale) {
  suite::Tally const before = suite::tally;
  section.run(scale);
  suite::Tally const now = suite::tally.since(before);
  CHECK(now.failures == 0);
  CHECK(now.checks + now.skipped > 0);
}

/// Top-k alone, of rows up to so long.
void passes_topk(std::int64_t longest) {
  suite::Scale scale = suite::tiny();
  scale.row = longest;
  passes({"topk", suite::topk}, scale);
}

/// The thread sanitizer takes the shared memories of CTAs that run together for one.
void skip_where_watched() {
  if (emulation::order::watched)
    SKIP("not under the thread sanitizer");
}

/// The address sanitizer makes the emulation ten times slower.
void skip_where_slow() {
#if defined(__SANITIZE_ADDRESS__)
  SKIP("not under the address sanitizer: it would take minutes");
#endif
}

constexpr Boundary boundaries[] = {Boundary::counted, Boundary::extra, Boundary::none};

} // namespace

TEST_CASE("flat, one level and two levels select what the contract says, on any data") {
  for (Data data : {Data::random, Data::ties, Data::zeros, Data::nan_scales, Data::one_bin,
                    Data::infinite_scales, Data::nan_values}) {
    passes(call(5, 1001, 64, {}, {}, 257, data));
    passes(call(3, 1001, 64, {128}, {3}, 257, data));
    passes(call(2, 1001, 32, {16}, {20}, 257, data));
    passes(call(1, 1501, 32, {128, 16}, {5, 20}, 290, data));
    for (int heads : {64, 32}) {
      Case precise = call(5, 1001, heads, {128}, {3}, 257, data);
      precise.arithmetic = hisa::Arithmetic::precise;
      passes(precise);
    }
  }
}

TEST_CASE("every block size, boundary option, anchor and packing") {
  for (Boundary b : boundaries)
    for (int size : {128, 64, 32, 16}) {
      passes(call(5, 1003, 64, {size}, {640 / size}, 500, Data::random, b, 77));
      passes(call(3, 1003, 32, {size}, {640 / size}, 500, Data::random, b, 77, 40));
      passes(call(6, 1203, 64, {size}, {256 / size}, 200, Data::random, b, 0, -1, true));
    }
  for (Boundary b : boundaries)
    passes(call(5, 1805, 64, {128, 16}, {6, 30}, 300, Data::random, b, 5, 3));
}

TEST_CASE("small calls, and queries that see less than they may keep") {
  passes(call(1, 1, 64, {128}, {1}, 128));
  passes(call(1, 200, 64, {128}, {1}, 100));
  passes(call(5, 300, 64, {128}, {2}, 256));
  passes(call(8, 200, 64, {64}, {2}, 128, Data::random, Boundary::none, 70, 1));
  passes(call(50, 50, 64, {64}, {1}, 32));
  passes(call(5, 5, 64, {}, {}, 2048));
  passes(call(30, 70, 64, {128}, {64}, 2048));
  // Between k and 2k candidates, indices from the buffer's start.
  Case c = call(5, 1700, 64, {128}, {8}, 1000);
  c.base = IndexBase::absolute;
  passes(c);
}

TEST_CASE("a level is skipped, and the one below has one block more than it keeps") {
  passes(call(3, 256, 64, {128, 16}, {2, 15}, 240));
  passes(call(3, 256, 64, {128, 16}, {2, 15}, 200));
  passes(call(3, 512, 64, {256, 32}, {2, 15}, 257));
}

TEST_CASE("more CTAs than a warp has lanes share what is left") {
  emulation::settings().processors = 40;
  passes(call(165, 300, 32, {64}, {2}, 100));
  passes(call(21, 1700, 32, {128}, {5}, 100)); // pairs, of more workers than some have
  emulation::settings().processors = 3;
}

TEST_CASE("more blocks than fit the registers of a query's lanes") {
  skip_where_slow();
  passes(call(5, 70000, 32, {16}, {20}, 257));
  passes(call(2, 70000, 32, {16}, {1000}, 257, Data::ties, Boundary::none, 77));
}

TEST_CASE("pairs in more bins than a wave finds at a time") {
  skip_where_slow();
  passes(call(3, 140001, 32, {128}, {5}, 257));
}

TEST_CASE("keys stay where a call has few queries") {
  Case c = call(136, 700, 32, {128}, {2}, 100);
  c.pair_queries = 128;
  suite::Inputs const in(suite::Problem(c, 5), c.levels);
  suite::Indexer indexer(c);
  hisa::detail::LevelTable levels;
  levels.count = 1, levels.block_size = {128}, levels.keep = {2};
  auto layout = hisa::cuda::Layout::fitting(levels, false, c.M, c.N, c.limit);
  layout.add_pairs(128, c.N, c.H, c.limit);
  REQUIRE(layout.paired == 128);
  REQUIRE(layout.bytes() == indexer.workspace_bytes());
  auto const all = indexer.select(in);
  // How many pairs a call has listed. None where it has listed pieces.
  auto const listed = [&](const hisa::QueryRows& rows) {
    indexer.workspace().fill(0);
    auto const part = indexer.select(in, rows);
    for (std::int64_t t = rows.first; t < rows.end; ++t)
      CHECK(suite::same_row(part, t, all, t));
    auto const parts = layout.divide(indexer.workspace().data);
    if (parts.pieces[0].counts[0] > 0)
      return 0u;
    std::uint32_t pairs = 0;
    for (std::int32_t bin = 0; bin < parts.pairs.lists.bins; ++bin)
      pairs += *parts.pairs.lists.count(bin);
    return pairs;
  };
  CHECK(listed({0, 128}) == 2 * 128);
  CHECK(listed({8, 136}) == 2 * 128);
  CHECK(listed({100, 101}) == 2);
  CHECK(listed({0, 129}) == 0);
}

TEST_CASE("pairs of blocks of two tiles, of which the last has no keys") {
  passes(call(5, 300, 64, {256}, {1}, 100));
  passes(call(12, 3333, 64, {256}, {8}, 401));
}

TEST_CASE("pairs below two levels, and where no block is complete") {
  passes(call(11, 5000, 64, {1024, 128}, {3, 9}, 500));
  passes(call(11, 5000, 32, {2048, 256}, {2, 6}, 500, Data::ties, Boundary::extra, 77, 40));
  passes(
      call(5, 400, 64, {512}, {1}, 100, Data::random, Boundary::counted, 0, 0)); // none is scored
  passes(call(9, 1281, 64, {128}, {5}, 300, Data::random, Boundary::none, 130, 100)); // a bin's end
}

TEST_CASE("which plans have pairs") {
  auto const pairs = [](std::int64_t keys, int block_size, auto change) {
    hisa::Shape<> const shape{.max_queries = 1024, .max_keys = keys, .heads = 64, .head_dim = 128};
    hisa::Options options;
    hisa::cuda::Device device = hisa::cuda::Device::current();
    change(options, device);
    auto const path =
        hisa::cuda::make_plan<hisa::Levels<hisa::dynamic>>(
            device, shape, {.keep = {512}, .topk = 64, .block_size = {block_size}}, options)
            .path();
    return path.find("key-stationary for calls of up to 512,") != std::string::npos;
  };
  auto const as_it_is = [](auto&, auto&) {};
  CHECK(pairs(65536, 128, as_it_is));
  CHECK(pairs(65536, 256, as_it_is));
  CHECK_FALSE(pairs(65536, 64, as_it_is));
  CHECK_FALSE(pairs(65536, 192, as_it_is));
  CHECK(pairs(128 * hisa::gpu::max_bins, 128, as_it_is));
  CHECK_FALSE(pairs(128 * hisa::gpu::max_bins + 1, 128, as_it_is));
  CHECK_FALSE(pairs(65536, 128,
                    [](auto& options, auto&) { options.arithmetic = hisa::Arithmetic::precise; }));
  CHECK_FALSE(pairs(65536, 128, [](auto&, auto& device) { device.pair_queries = 0; }));
  CHECK_FALSE(pairs(1 << 20, 128, [](auto& options, auto&) { // less room
    options.workspace_limit = std::size_t(16) << 20;
  }));
}

TEST_CASE("pairs lie where a call of few queries leaves score rows over") {
  auto const plan = [](std::int64_t queries, std::int64_t keys, std::int64_t pair_queries,
                       const hisa::Options& options = {}) {
    hisa::cuda::Device device = hisa::cuda::Device::current();
    device.pair_queries = pair_queries;
    return hisa::cuda::make_plan<hisa::Levels<128>>(
        device, hisa::Shape<64>{.max_queries = queries, .max_keys = keys, .head_dim = 128},
        {.keep = {64}, .topk = 2048}, options);
  };
  auto const bytes = [&](std::int64_t queries, std::int64_t pair_queries) {
    return plan(queries, 131072, pair_queries).workspace_bytes();
  };
  CHECK(bytes(8192, 512) == bytes(8192, 0));
  CHECK(bytes(512, 512) > bytes(512, 0));
  // Where there is no room for so many, half as many, and so on.
  for (std::int64_t const queries : {512, 1024, 8192})
    CHECK(plan(queries, 1 << 20, 512, {.workspace_limit = std::size_t(64) << 20})
              .path()
              .find("calls of up to 256,") != std::string::npos);
  CHECK(plan(512, 1 << 20, 512, {.workspace_limit = 1}).path().find("key-stationary") ==
        std::string::npos);
}

TEST_CASE("a small workspace: several passes over the queries") {
  for (std::vector<int> sizes : {std::vector<int>{}, std::vector<int>{128}}) {
    Case c = call(13, 901, 64, sizes, std::vector<int>(sizes.size(), 4), 300);
    c.limit = 1;
    passes(c);
  }
}

TEST_CASE("a call that does not fit the workspace is divided into equal parts") {
  hisa::detail::LevelTable flat, one;
  one.count = 1, one.block_size = {128}, one.keep = {64};
  auto const fitting = [](const auto& levels, std::int64_t queries, std::size_t limit) {
    return hisa::cuda::Layout::fitting(levels, false, queries, 65536, limit).queries;
  };
  std::size_t const row = 65536 * 4, slack = 4096;
  CHECK(fitting(flat, 1024, 1024 * row + slack) == 1024);
  CHECK(fitting(flat, 1024, 1023 * row) == 512); // not 1020 and 4
  CHECK(fitting(flat, 1001, 500 * row + slack) == 336);
  CHECK(fitting(flat, 3, 0) == 4);
  CHECK(fitting(flat, 0, 0) == 4);
  CHECK(fitting(one, 8192, hisa::Options().workspace_limit) == 8192);
  CHECK(fitting(one, 8192, std::size_t(1) << 28) == 4096);
}

TEST_CASE("the flat kernel") {
  passes(flat(8, 3073, 64, 64, 1));
  passes(flat(9, 1501, 64, 2048, 1));
  passes(flat(3, 3, 64, 2048, 1));
  passes(flat(3, 7001, 32, 257, 1, Data::ties));
  Case precise = flat(5, 3500, 64, 100, 2);
  precise.arithmetic = hisa::Arithmetic::precise;
  passes(precise);
}

TEST_CASE("the sift kernel") {
  auto const sift = [](Case c) {
    c.sifts = true;
    passes(c);
  };
  sift(flat(8, 3073, 64, 64, 1));
  sift(flat(17, 6001, 32, 257, 3)); // five groups, of which three CTAs share two
  sift(flat(6, 3000, 32, 2048, 2)); // too few keys for a bound
  sift(flat(3, 3, 64, 2048, 1));
  sift(flat(3, 7001, 32, 257, 1, Data::ties)); // by the flat kernel in the end
  Case precise = flat(5, 3500, 64, 100, 2);
  precise.arithmetic = hisa::Arithmetic::precise;
  sift(precise);
}

TEST_CASE("what the sift kernel leaves to the flat kernel") {
  // Of a call's groups.
  auto const left = [](std::int64_t M, std::int64_t N, int topk, Data data) {
    Case c = flat(M, N, 32, topk, 3, data);
    c.sifts = true;
    suite::Inputs const in(suite::Problem(c, 3), {});
    suite::Indexer indexer(c);
    auto layout = hisa::cuda::Layout::fitting({}, false, M, N, c.limit);
    layout.add_flat(M, c.flat_ctas, c.limit, hisa::cuda::Sampling(N, topk).samples);
    REQUIRE(layout.bytes() == indexer.workspace_bytes());
    indexer.workspace().fill(0xa5);
    indexer.select(in);
    return *layout.divide(indexer.workspace().data).failed.count;
  };
  CHECK(left(17, 6001, 257, Data::random) == 0);
  CHECK(left(12, 6001, 257, Data::random) == 0);  // whole groups only
  CHECK(left(17, 3000, 2048, Data::random) == 0); // too few keys for a bound
  CHECK(left(17, 6001, 257, Data::ties) > 0);
  CHECK(left(17, 6001, 257, Data::one_bin) == 5);
}

TEST_CASE("an infinite score at the end of a group is none of the next group's") {
  Case c = flat(8, 6000, 32, 500, 1); // both groups by one CTA
  c.sifts = true;
  suite::Problem p(c, 1);
  std::fill(p.scale.end() - 384, p.scale.end(), std::numeric_limits<float>::infinity());
  std::fill(p.ke.begin(), p.ke.end(), 6000);
  long const before = suite::tally.failures;
  suite::run(c, p);
  CHECK(suite::tally.failures == before);
}

TEST_CASE("the sift kernel on any data, and for ranges of a packed buffer") {
  skip_where_slow();
  for (Data data : {Data::random, Data::ties, Data::zeros, Data::nan_scales, Data::one_bin,
                    Data::infinite_scales, Data::nan_values}) {
    Case c = flat(9, 9001, 32, 257, 2, data);
    c.sifts = true;
    passes(c);
  }
  Case windows = flat(3, 140000, 32, 700, 1);
  windows.sifts = true;
  passes(windows);
  Case packed = call(14, 7000, 32, {}, {}, 300, Data::random, Boundary::counted, 0, -1, true);
  packed.flat_ctas = 3, packed.base = IndexBase::absolute, packed.sifts = true;
  passes(packed);
}

TEST_CASE("the flat kernel on any data, and for ranges of a packed buffer") {
  skip_where_slow();
  for (Data data : {Data::random, Data::ties, Data::zeros, Data::nan_scales, Data::one_bin,
                    Data::infinite_scales, Data::nan_values})
    passes(flat(5, 9001, 32, 257, 2, data));
  passes(flat(1, 7001, 64, 4096, 1));
  Case packed = call(14, 7000, 32, {}, {}, 300, Data::random, Boundary::counted, 0, -1, true);
  packed.flat_ctas = 2, packed.base = IndexBase::absolute;
  passes(packed);
}

TEST_CASE("a plan's calls go to the flat kernel, or to rows of scores where it would be slow") {
  Case c = flat(16, 3500, 32, 257, 2);
  c.limit = 3'000'000, c.flat_keys = 3500; // all 16 queries in one step
  suite::Problem const problem(c, 3);
  suite::Inputs const in(problem, c.levels);
  suite::Indexer indexer(c);
  auto layout = hisa::cuda::Layout::fitting({}, false, c.M, c.N, c.limit);
  layout.add_flat(c.M, c.flat_ctas, c.limit);
  REQUIRE(layout.bytes() == indexer.workspace_bytes());
  REQUIRE(layout.listed == 16);
  // How many lists have a plausible count.
  auto const listed = [&](const hisa::QueryRows& rows, const suite::Inputs* other = nullptr) {
    indexer.workspace().fill(0xa5);
    auto const result = indexer.select(other == nullptr ? in : *other, rows);
    const std::int32_t* const counts = layout.divide(indexer.workspace().data).lists.counts;
    return std::pair(result, std::count_if(counts, counts + 16, [](std::int32_t count) {
                       return count >= 257 && count <= 8192;
                     }));
  };
  auto const [all, lists] = listed({});
  CHECK(lists == 16);
  auto const [some, lists_of_some] = listed({3, 11}); // two groups for two CTAs
  CHECK(lists_of_some == 8);
  auto const [few, lists_of_few] = listed({3, 7}); // one
  CHECK(lists_of_few == 0);
  Case fewer = call(16, 3499, 32, {}, {}, 257);
  suite::Inputs const fewer_keys(suite::Problem(fewer, 3), {});
  auto const [short_rows, lists_of_short] = listed({}, &fewer_keys);
  CHECK(lists_of_short == 0);
  auto const expected = suite::Indexer(fewer).select(fewer_keys);
  for (std::int64_t t = 0; t < 16; ++t)
    CHECK(suite::same_row(short_rows, t, expected, t));
  for (std::int64_t t = 3; t < 11; ++t)
    CHECK(suite::same_row(all, t, some, t));
  for (std::int64_t t = 3; t < 7; ++t)
    CHECK(suite::same_row(all, t, few, t));
}

TEST_CASE("the workspace of the flat kernel") {
  hisa::detail::LevelTable levels;
  auto const with_limit = [&](std::size_t megabytes) {
    std::size_t const limit = megabytes << 20;
    auto layout = hisa::cuda::Layout::fitting(levels, false, 1024, 1 << 20, limit);
    auto const queries = layout.queries;
    layout.add_flat(1024, 132, limit);
    CHECK(layout.queries == queries);
    CHECK(layout.bytes() <= limit);
    return layout.listed;
  };
  CHECK(with_limit(512) == 1024);
  CHECK(with_limit(102) == 1024); // of any length
  CHECK(with_limit(100) == 528);  // a group for each multiprocessor
  CHECK(with_limit(71) == 528);
  CHECK(with_limit(70) == 0);
}

TEST_CASE("a thread of the host that has called nothing before") {
  suite::Case const c = call(5, 500, 64, {64}, {4}, 100);
  suite::Inputs const in(suite::Problem(c, 9), c.levels);
  suite::Indexer const indexer(c);
  suite::Result const expected = indexer.select(in);
  suite::Outputs const out(c.M, c.topk);
  std::string error;
  std::thread([&] {
    try {
      indexer(nullptr, in, out.view());
    } catch (const std::exception& e) {
      error = e.what();
    }
  }).join();
  CHECK(error.empty());
  CHECK(out.host().indices == expected.indices);
}

TEST_CASE("which flat calls do without rows of scores") {
  auto const here = hisa::cuda::Device::current();
  CHECK(here.few_rows == here.processors);
  CHECK(here.sift_topk == 2048);
  hisa::cuda::Device device = here;
  device.processors = 132, device.few_rows = 132;
  auto const plan = [&](std::int64_t queries, std::int64_t keys, std::size_t megabytes,
                        int topk = 64) {
    hisa::Shape<> const shape{
        .max_queries = queries, .max_keys = keys, .heads = 64, .head_dim = 128};
    hisa::Options options;
    options.workspace_limit = megabytes << 20;
    auto const path =
        hisa::cuda::make_plan<hisa::Levels<>>(device, shape, {.topk = topk}, options).path();
    return path.find(device.sift_topk > 0 ? "reach a bound" : "contenders") != std::string::npos;
  };
  std::int64_t const k = 1 << 10;
  SECTION("sifted ones") {
    CHECK(plan(1024, 128 * k, 512));
    CHECK_FALSE(plan(1024, 128 * k - 1, 512));
    CHECK(plan(512, 1024 * k, 512));
    CHECK(plan(600, 1024 * k, 512));       // groups are divided
    CHECK_FALSE(plan(508, 1024 * k, 512)); // multiprocessors would be idle
    CHECK(plan(1024, 128 * k, 140));       // 528 at a time
    CHECK_FALSE(plan(1024, 128 * k, 100)); // rows of scores, 200 at a time
    CHECK_FALSE(plan(1024, 256 * k, 100)); // by 100 rows, or by the flat kernel
    CHECK(plan(1024, 128 * k, 512, 2048));
    CHECK_FALSE(plan(1024, 128 * k, 512, 2049));
    CHECK(plan(528, (1 << 29) - 256, 1 << 14));
    CHECK_FALSE(plan(528, (1 << 29) - 255, 1 << 14)); // no mark has room for that
  }
  SECTION("those of the flat kernel") {
    device.sift_topk = 0;
    CHECK(plan(1024, 1024 * k, 513));       // rows 128 at a time
    CHECK(plan(1056, 1024 * k, 530));       // 132
    CHECK_FALSE(plan(1088, 1024 * k, 545)); // 136
    CHECK_FALSE(plan(1024, 512 * k, 513));
    CHECK(plan(1024, 256 * k, 130));
    CHECK_FALSE(plan(1024, 256 * k, 150));
    CHECK_FALSE(plan(1024, 256 * k, 70)); // no room for the flat kernel either
    CHECK_FALSE(plan(1024, 1024 * k, 5000));
    CHECK_FALSE(plan(128, 1024 * k, 513)); // one pass, which would leave multiprocessors idle
    CHECK_FALSE(plan(300, 1024 * k, 513)); // and here
    CHECK(plan(1024, 1024 * k, 513, 4608));
    CHECK_FALSE(plan(1024, 1024 * k, 513, 4609)); // no list has room for that
    for (std::int64_t const queries : {1024, 1056, 1053, 512, 8192, 528})
      CHECK(device.suits_contenders(queries, 128 * k, false));
    for (std::int64_t const queries : {1, 128, 511 - 4, 529, 800, 1020})
      CHECK_FALSE(device.suits_contenders(queries, 128 * k, false));
    CHECK_FALSE(device.suits_contenders(1024, 128 * k - 1, false));
  }
}

TEST_CASE("many orders of threads, copies and products") {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    INFO("seed " << seed);
    emulation::reseed(seed);
    passes(call(5, 1501, 64, {}, {}, 64), seed);
    passes(flat(5, 3500, 32, 64, 2), seed);
    Case sifted = flat(9, 3500, 32, 64, 2);
    sifted.sifts = true;
    passes(sifted, seed);
    passes(call(5, 1501, 32, {128, 16}, {5, 20}, 290), seed);
    Case lists = call(7, 1501, 32, {16}, {40}, 290);
    lists.indexing = suite::Indexing::refine;
    passes(lists, seed);
    Case precise = call(9, 1501, 64, {64}, {8}, 290);
    precise.arithmetic = hisa::Arithmetic::precise;
    passes(precise, seed);
  }
}

TEST_CASE("one multiprocessor: a CTA goes round its rings many times") {
  emulation::settings().processors = 1;
  passes(call(9, 1501, 32, {}, {}, 200));
  passes(call(9, 1501, 32, {64}, {8}, 400));
  passes(call(70, 1301, 32, {128}, {5}, 400)); // and of targets
  emulation::settings().processors = 3;
}

TEST_CASE("a thread that is always late") {
  for (int warp = 0; warp < 16; ++warp) {
    emulation::settings().late = 32 * warp + 5;
    CAPTURE(warp);
    passes(flat(5, 1501, 64, 64, 2));
    passes(call(5, 901, 64, {64}, {8}, 290));
  }
  emulation::settings().late = -1;
}

TEST_CASE("few CTAs spread over the multiprocessors") {
  hisa::cuda::Device device;
  device.processors = 132;
  for (std::size_t const needed :
       {std::size_t(100), std::size_t(40'000), std::size_t(113 << 10), std::size_t(115'600)})
    for (std::int64_t const ctas : {0, 1, 131, 132, 133, 264, 265, 1024, 1 << 20}) {
      CAPTURE(needed, ctas);
      std::size_t const bytes = hisa::cuda::spread_bytes(needed, ctas, device);
      auto const fit = [](std::size_t b) {
        return std::int64_t(hisa::cuda::multiprocessor_bytes / (b + hisa::cuda::bytes_beside));
      };
      CHECK(bytes >= needed);
      CHECK(bytes <= (227 << 10)); // the most that a CTA may ask for
      CHECK(132 * fit(bytes) >= std::min(ctas, 132 * fit(needed))); // as many as before at a time
      if (bytes > needed)
        CHECK(fit(bytes) == std::max<std::int64_t>(1, (ctas + 131) / 132)); // and no more
      else
        CHECK(fit(needed) <= std::max<std::int64_t>(1, (ctas + 131) / 132));
    }
}

TEST_CASE("all CTAs of a grid at a time") {
  skip_where_watched();
  emulation::settings().all_at_once = true;
  passes(call(9, 1203, 64, {64}, {8}, 400));
  emulation::settings().all_at_once = false;
}

TEST_CASE("the sections of the suite, tiny") {
  skip_where_slow();
  for (const suite::Section& section : suite::sections)
    DYNAMIC_SECTION(section.name) {
      passes(section, suite::tiny());
    }
}

TEST_CASE("top-k alone, for k beyond every buffer too") {
  passes_topk(8192);
}

TEST_CASE("top-k alone by clusters") {
  skip_where_watched();
  skip_where_slow();
  emulation::settings().processors = 140; // so that a row has several CTAs, up to 8
  passes_topk(100001);
  suite::Scale scale = suite::tiny();
  scale.row = 131073;
  passes({"topk-rows", suite::topk_rows}, scale);
  emulation::settings().processors = 3;
}
