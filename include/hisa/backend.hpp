// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The customisation points: `pool`, `score`, `select`, `descend` and `index`, with their portable
/// defaults. A backend derives from `Portable<Itself>`, overrides what it does better and nothing
/// else; the defaults call the other points through `Self`, so an override takes effect wherever
/// the step is used.
///
/// Every point is a static function that enqueues kernels on the execution space instance it is
/// given and returns: no allocation, no fence, no read of device memory on the host. (Kokkos'
/// OpenMP and Threads backends allocate their own team scratch at an instance's first team kernel,
/// whoever launches it.)
#pragma once

#include <hisa/block_lists.hpp>
#include <hisa/levels.hpp>
#include <hisa/pool_heads.hpp>
#include <hisa/stream.hpp>

#include <Kokkos_Core.hpp>

#include <string>
#include <type_traits>

HISA_NAMESPACE_BEGIN

inline namespace HISA_HOST_ISA {

template <class Self = void>
struct Portable;

/// What a plan of a backend without paths of its own decides when it is made: nothing. Every
/// backend's `Path` has these members, and `index` finds it in the call.
template <class Backend, class Exec>
struct PortablePath {
  PortablePath(const Exec&, const Configuration&) {}

  /// Bytes of workspace of a call, given those of the portable pipeline.
  std::size_t workspace_bytes(std::size_t portable) const { return portable; }

  /// Which code will run, and why.
  std::string text() const {
    return std::string(Backend::name) + " pipeline on " + Exec::name() +
           (std::is_base_of_v<Portable<>, Backend>
                ? ": no specialised backend covers this execution space"
                : "");
  }
};

/// The portable backend, and the base of every other: runs on any Kokkos execution space.
/// @tparam Self  the backend that derives from this; void: this one itself
template <class Self>
struct Portable {
  using Backend = std::conditional_t<std::is_void_v<Self>, Portable, Self>;

  /// What runs, for plan.path().
  static constexpr const char* name = "portable";

  /// What a plan holds for `index`, decided when it is made from types, sizes and device. A backend
  /// whose `index` has paths of its own for some configurations brings its own.
  template <class LevelsT, CandidateSource Source, SelectStrategy Strategy, class Keys, class Exec>
  using Path = PortablePath<Backend, Exec>;

  /// Pools the blocks that `sequences` completes.
  template <PoolingRule Rule, class Exec, class Keys>
  static void pool(const Exec& exec, const Keys& keys,
                   const PooledKeys<pooled_element<Rule, typename Keys::element_type>>& pooled,
                   const Sequences& sequences) {
    int const splits = detail::splits_for(exec, sequences.count, keys.capacity());
    Kokkos::parallel_for("hisa::pool", detail::team_policy(exec, sequences.count * splits),
                         detail::Pooler<Rule, Keys>{keys, pooled, sequences, splits});
  }

  /// Scores the contested candidates of a descent.
  template <class Exec, class DescentType>
  static void score(const Exec& exec, const DescentType& descent, const GroupWorkspace& workspace) {
    constexpr PortablePolicy policy = portable_policy<Exec>();
    using Tile = typename detail::TileOf<policy.score, DescentType>::type;
    detail::prepare_queries(exec, descent.group, workspace.prepared);
    int const splits = detail::splits_for(exec, descent.group.count, descent.capacity);
    Kokkos::parallel_for("hisa::score", detail::team_policy(exec, descent.group.count * splits),
                         detail::ScoreCandidates<policy.score, DescentType, Tile>{
                             descent, workspace.prepared, workspace.scores, splits});
  }

  /// Chooses among the candidates of a descent by the scores in the workspace.
  template <SelectStrategy Strategy, class Exec, class DescentType, class Out>
  static void select(const Exec& exec, const DescentType& descent, const Out& out,
                     const GroupWorkspace& workspace) {
    auto policy = detail::team_policy(exec, descent.group.count);
    if (!detail::on_host<Exec>) {
      std::size_t const bytes = select_scratch_bytes<Strategy>(descent.budget);
      policy.set_scratch_size(0, Kokkos::PerTeam(static_cast<int>(bytes)));
    }
    Kokkos::parallel_for(
        "hisa::select", policy,
        detail::SelectCandidates<Strategy, DescentType, Out>{
            descent, workspace.scores, out,
            detail::on_host<Exec> ? workspace.strategy_scratch : StrategyScratch{}});
  }

  /// One level: score, then select; with a streaming strategy both in one kernel.
  template <SelectStrategy Strategy, class Exec, class DescentType, class Out>
  static void descend(const Exec& exec, const DescentType& descent, const Out& out,
                      const GroupWorkspace& workspace) {
    if constexpr (StreamStrategy<Strategy>) {
      detail::stream<Strategy>(exec, descent, out, workspace);
    } else {
      Backend::score(exec, descent, workspace);
      Backend::template select<Strategy>(exec, descent, out, workspace);
    }
  }

  /// The whole indexer: the levels one after the other, for as many queries at a time as the
  /// workspace holds.
  /// @tparam Call  detail::IndexCall (hisa/index.hpp), which knows the levels of this call
  template <SelectStrategy Strategy, class Exec, class Call>
  static void index(const Exec& exec, const Call& call) {
    for (std::int64_t first = call.rows.first; first < call.rows.end; first += call.group_size)
      call.template descend_levels<Backend, Strategy>(exec, first);
  }
};

} // namespace HISA_HOST_ISA

/// The backend that serves an execution space. Backends specialise it in headers that this one
/// includes whenever Kokkos has their space enabled, so that a call never depends on what else a
/// translation unit includes.
template <class Exec>
struct DefaultBackend {
  using type = Portable<>;
};

namespace detail {

/// `Backend`, or the default of the execution space where it is void.
template <class Backend, class Exec>
using backend_or_default =
    typename std::conditional_t<std::is_void_v<Backend>, DefaultBackend<Exec>,
                                std::type_identity<Backend>>::type;

} // namespace detail

HISA_NAMESPACE_END

#if defined(KOKKOS_ENABLE_CUDA)
#include <hisa/kokkos_cuda.hpp>
#endif
