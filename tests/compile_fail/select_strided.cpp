// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: hisa::select: scores are a rank-1 View whose elements are neighbours
// A row of a matrix in column-major order: its elements are not neighbours.
#include <hisa/hisa.hpp>

using Team = Kokkos::TeamPolicy<Kokkos::DefaultExecutionSpace>::member_type;

void wrong(const Team& team, const Kokkos::View<float**, Kokkos::LayoutLeft>& scores,
           const Kokkos::View<int*>& out) {
  hisa::select(team, Kokkos::subview(scores, 0, Kokkos::ALL), 3, out);
}
