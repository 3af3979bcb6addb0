// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pooled rows at -O3, where compilers fuse products with sums: the mean of two keys, for so many
// blocks that a product which is not rounded shows, against arithmetic that cannot be fused.
#include "support/problem.hpp"

#include <hisa/pool_keys.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cmath>

using namespace hisa_test;
using hisa::e4m3fn;

namespace {

float rounded(float x) {
  float volatile const stored = x;
  return stored;
}

} // namespace

TEST_CASE("the products of a pooled row are rounded before they are summed") {
  auto const p = Problem<e4m3fn>::random(1, 1, 200000, 1, 64);
  DeviceProblem<e4m3fn> const d(p);
  DevicePooled<e4m3fn> const rows(Pooled<e4m3fn>(p.N / 2, 2, p.D));
  Device<std::int32_t> const length(std::vector<std::int32_t>{std::int32_t(p.N)});
  hisa::pool_rebuild<hisa::MeanPool>(Exec(), d.keys, rows.view,
                                     {1, nullptr, length.data(), nullptr});
  Kokkos::fence();
  auto const codes = rows.values.host();
  auto const scales = rows.scales.host();
  int wrong = 0;
  for (std::int64_t b = 0; b < p.N / 2; ++b) {
    std::vector<float> means;
    float amax = 0;
    for (int i = 0; i < p.D; ++i) {
      auto const product = [&](std::int64_t token) {
        return rounded(hisa::to_float(p.k[std::size_t(token * p.D + i)]) *
                       p.k_scale[std::size_t(token)]);
      };
      means.push_back(rounded(rounded(0.0f + product(2 * b)) + product(2 * b + 1)) / 2);
      amax = std::max(amax, std::abs(means.back()));
    }
    float const scale = hisa::pooled_scale<e4m3fn>(amax);
    wrong += scales[std::size_t(b)] != scale;
    for (int i = 0; i < p.D; ++i)
      wrong += codes[std::size_t(b * p.D + i)].bits !=
               hisa::e4m3fn_from_float(means[std::size_t(i)] / scale).bits;
  }
  REQUIRE(wrong == 0);
}
