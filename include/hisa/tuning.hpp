// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// How the portable kernels run on an execution space: one table.
#pragma once

#include <hisa/lanes.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <type_traits>

HISA_NAMESPACE_BEGIN

/// Register tile of the scoring kernel: `keys` x `groups` x 16 heads of fp32 accumulators.
struct ScorePolicy {
  int lanes;   ///< floats that move together; divides 16
  int keys;    ///< keys that a thread scores at a time
  int groups;  ///< groups of 16 heads in one pass over the head dimension
  bool staged; ///< keys are converted to fp32 once, before all passes, instead of at each use
};

/// How the portable pipeline runs.
struct PortablePolicy {
  ScorePolicy score;
  int team_size;          ///< threads that share a query's work in one team
  std::int64_t min_split; ///< candidates of a query that are worth a team of their own
  int streams;            ///< teams that the workspace of a streaming plan has room for at least
};

namespace detail {

/// True where a kernel runs on CPU threads. (That the host can reach a space's memory does not say
/// so: it can on devices that share its memory.)
template <class Exec>
inline constexpr bool on_host = std::is_same_v<typename Exec::memory_space, Kokkos::HostSpace>;

} // namespace detail

inline namespace HISA_HOST_ISA {

/// The policy of an execution space. CPUs: the accumulators of the score tile fill the vector
/// registers (32 with AVX-512, 16 before). Devices: a thread owns one key, heads pass 16 at a time.
template <class Exec>
constexpr PortablePolicy portable_policy() {
  if constexpr (!detail::on_host<Exec>)
    return {.score = {.lanes = 1, .keys = 1, .groups = 1, .staged = false},
            .team_size = 128,
            .min_split = 1024,
            .streams = 256};
  else if constexpr (detail::host_lanes == 16)
    return {.score = {.lanes = 16, .keys = 6, .groups = 4, .staged = true},
            .team_size = 1,
            .min_split = 256,
            .streams = 32};
  else if constexpr (detail::host_lanes == 8)
    return {.score = {.lanes = 8, .keys = 6, .groups = 1, .staged = true},
            .team_size = 1,
            .min_split = 256,
            .streams = 32};
  else
    return {.score = {.lanes = 4, .keys = 2, .groups = 1, .staged = true},
            .team_size = 1,
            .min_split = 256,
            .streams = 32};
}

} // namespace HISA_HOST_ISA

HISA_NAMESPACE_END
