// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The library against the reference on dumps of trained indexers.
#include "dump.hpp"
#include "support/problem.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <cstdlib>
#include <filesystem>

using namespace hisa_test;
using hisa::e4m3fn;

namespace {

/// Some rows of a dump as a problem.
Problem<e4m3fn> problem_of(const hisa::tools::Dump& dump, const std::vector<std::int32_t>& rows) {
  Problem<e4m3fn> p;
  p.M = std::int64_t(rows.size()), p.N = dump.keys, p.H = dump.heads, p.D = dump.head_dim;
  p.k.assign(dump.k.begin(), dump.k.end());
  p.k_scale.assign(dump.k_scale.begin(), dump.k_scale.end());
  std::size_t const heads = std::size_t(p.H), values = heads * std::size_t(p.D);
  for (std::int32_t row : rows) {
    auto const q = dump.q.subspan(std::size_t(row) * values, values);
    auto const w = dump.w.subspan(std::size_t(row) * heads, heads);
    p.q.insert(p.q.end(), q.begin(), q.end());
    p.w.insert(p.w.end(), w.begin(), w.end());
    p.ks.push_back(0);
    p.ke.push_back(dump.pos[std::size_t(row)] + 1);
  }
  return p;
}

void require_reference(const std::filesystem::path& file) {
  auto const dump = hisa::tools::load_dump(file);
  auto const p = problem_of(dump, {0, dump.queries / 2, dump.queries - 1});
  for (const Setting& setting :
       {Setting{{}, 2048}, Setting{{{128, 64}}, 2048}, Setting{{{16, 512}}, 2048},
        Setting{{{128, 128}, {16, 512}}, 2048}}) {
    std::vector<Pooled<e4m3fn>> pooled;
    for (auto [size, keep] : setting.levels)
      pooled.push_back(pool_reference(p, size));
    REQUIRE(same(run(p, setting, pooled), run_reference(p, setting, pooled)));
  }
}

} // namespace

TEST_CASE("selections on the committed dumps equal the reference bit for bit") {
  auto const name = GENERATE("code-32k-l7", "needle-32k-l4");
  require_reference(std::filesystem::path(HISA_EXAMPLE_DATA) / (std::string(name) + ".safetensors"));
}

TEST_CASE("selections on the dumps of HISA_DATA equal the reference bit for bit") {
  const char* const folder = std::getenv("HISA_DATA");
  if (folder == nullptr)
    SKIP("HISA_DATA is not set: the 64K dumps were not tested");
  auto const name = GENERATE("code-64k-l7", "needle-64k-l4", "prose-64k-l1", "prefill-64k-l7");
  require_reference(std::filesystem::path(folder) / (std::string(name) + ".safetensors"));
}

TEST_CASE("pooled rows of a dump equal the reference bit for bit") {
  auto const dump = hisa::tools::load_dump(std::filesystem::path(HISA_EXAMPLE_DATA) /
                                           "needle-32k-l4.safetensors");
  auto const p = problem_of(dump, {0});
  DeviceProblem<e4m3fn> const d(p);
  Device<std::int32_t> const length(std::vector<std::int32_t>{dump.keys - 5});
  for (int size : {16, 128}) {
    auto expected = pool_reference(p, size);
    Pooled<e4m3fn> const empty(p.N / size, size, p.D);
    DevicePooled<e4m3fn> const rows(empty);
    hisa::pool_rebuild<hisa::MeanPool>(Exec(), d.keys, rows.view,
                                       {.count = 1, .new_length = length.data()});
    Kokkos::fence();
    auto const values = rows.values.host();
    auto const scales = rows.scales.host();
    std::size_t const complete = std::size_t((dump.keys - 5) / size);
    REQUIRE(std::memcmp(values.data(), expected.values.data(), complete * std::size_t(p.D)) == 0);
    REQUIRE(std::equal(scales.begin(), scales.begin() + std::ptrdiff_t(complete),
                       expected.scales.begin()));
    REQUIRE(scales.back() == empty.scales.back()); // the last block is not complete: untouched
  }
}
