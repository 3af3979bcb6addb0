// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// How the portable kernels are launched: teams, and how many of them share a query.
#pragma once

#include <hisa/tuning.hpp>
#include <hisa/visibility.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace detail {
inline namespace HISA_HOST_ISA {

/// Teams per query, so that a few queries still occupy the whole machine.
template <class Exec>
int splits_for(const Exec& exec, std::int64_t queries, std::int64_t work) {
  constexpr PortablePolicy policy = portable_policy<Exec>();
  std::int64_t const wanted = 8 * std::int64_t(exec.concurrency()) / policy.team_size;
  std::int64_t const useful = (work + policy.min_split - 1) / policy.min_split;
  return static_cast<int>(clamp(queries == 0 ? 1 : wanted / queries, 1, useful < 1 ? 1 : useful));
}

/// Light-weight: functors travel as kernel arguments, so that a launch never waits for another.
template <class Exec>
auto team_policy(const Exec& exec, std::int64_t teams) {
  return Kokkos::Experimental::require(
      Kokkos::TeamPolicy<Exec>(exec, static_cast<int>(teams), portable_policy<Exec>().team_size),
      Kokkos::Experimental::WorkItemProperty::HintLightWeight);
}

} // namespace HISA_HOST_ISA
} // namespace detail
HISA_NAMESPACE_END
