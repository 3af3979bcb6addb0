// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::make_queries: values are [M, H, D], weights are [M, H]
// Queries of two dimensions.
#include <hisa/hisa.hpp>
#include <hisa/views.hpp>

auto wrong(const Kokkos::View<float**, Kokkos::LayoutRight>& values) {
  return hisa::make_queries(values, values);
}
