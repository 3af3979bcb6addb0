// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Kokkos::Cuda and the CUDA backend (hisa/cuda.hpp): plans, pooling and scores take its kernels
/// where they serve, and the portable pipeline elsewhere. hisa/backend.hpp includes this header
/// whenever Kokkos has CUDA enabled.
#pragma once

#include <hisa/backend.hpp>
#include <hisa/cuda.hpp>

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <optional>
#include <string>
#include <type_traits>

HISA_NAMESPACE_BEGIN
namespace detail {

/// Makes the device of an instance the current one, as the CUDA backend expects, until the scope
/// ends.
class OnDeviceOf {
  int before_ = 0;

public:
  explicit OnDeviceOf(const Kokkos::Cuda& exec) {
    cuda::check(cudaGetDevice(&before_), "no device");
    if (exec.cuda_device() != before_)
      cuda::check(cudaSetDevice(exec.cuda_device()), "set device");
  }
  ~OnDeviceOf() { cudaSetDevice(before_); }
  OnDeviceOf(const OnDeviceOf&) = delete;
  OnDeviceOf& operator=(const OnDeviceOf&) = delete;
};

/// Why the CUDA backend has no kernels for the types of a plan, or null where it has.
template <CandidateSource Source, SelectStrategy Strategy, class Keys>
constexpr const char* types_not_covered() {
  if (!std::same_as<Keys, ContiguousKeys<e4m3fn>>)
    return "the keys are not ContiguousKeys<e4m3fn>";
  if constexpr (HeadRule<Source>)
    return "the pooling rule does not make rows of keys";
  else if (!cuda::takes_source<Source>())
    return "the pooling rule has several rows";
  else
    return std::same_as<Strategy, RadixSelect> ? nullptr : "the strategy is not RadixSelect";
}

/// What a plan on Kokkos::Cuda decides when it is made: a plan of the CUDA backend, or why not.
template <class LevelsT, CandidateSource Source, SelectStrategy Strategy, class Keys>
class CudaPath {
  static constexpr const char* types = types_not_covered<Source, Strategy, Keys>();
  using Plan = cuda::Plan<LevelsT, std::conditional_t<types == nullptr, Source, MeanPool>>;
  std::optional<Plan> plan_;
  std::string why_not_;

public:
  /// Whether `run` compiles.
  static constexpr bool possible = types == nullptr;

  CudaPath(const Kokkos::Cuda& exec, const Configuration& configuration) {
    if constexpr (possible) {
      OnDeviceOf const scope(exec);
      cuda::Device const device = cuda::Device::current();
      why_not_ = cuda::not_covered(device, configuration);
      if (why_not_.empty())
        plan_.emplace(device, configuration);
    } else {
      why_not_ = types;
    }
  }

  bool covers() const { return plan_.has_value(); }
  std::size_t workspace_bytes(std::size_t portable) const {
    return covers() ? plan_->workspace_bytes() : portable;
  }
  std::string text() const {
    return covers() ? "cuda pipeline on Cuda: " + plan_->path()
                    : "portable pipeline on Cuda: " + why_not_;
  }

  /// Only if covers().
  template <class Call>
  void run(const Kokkos::Cuda& exec, const Call& call) const {
    OnDeviceOf const scope(exec);
    auto const take = [&](const auto& blocks) {
      (*plan_)(exec.cuda_stream(), call.queries, call.keys, blocks, call.visibility, call.out,
               {call.workspace, workspace_bytes(0)}, call.rows);
    };
    if constexpr (std::same_as<Source, CallerBlocks>) {
      take(call.lists);
    } else {
      std::array<PooledKeys<const e4m3fn>, LevelsT::count> pooled;
      std::copy_n(call.pooled, pooled.size(), pooled.begin());
      take(pooled);
    }
  }
};

} // namespace detail

inline namespace HISA_HOST_ISA {

/// The backend of Kokkos::Cuda. A plan on it asks that queries, keys and pooled rows start at, and
/// key rows are apart by, multiples of 16 bytes where path() begins with "cuda".
///
/// The two paths of an indexer differ in the order of sums, and in arithmetic unless that is
/// precise. So `score`, which writes scores out, takes the CUDA backend where a plan of those keys,
/// heads and dimensions on that device would: its scores are those of the native plans whose path()
/// begins with "cuda"; those of the precise ones are cuda::score's. The scores of other plans are
/// score<Portable<>>'s. Pooled rows are the same on both paths.
struct CudaBackend : Portable<CudaBackend> {
  static constexpr const char* name = "cuda";

  template <class LevelsT, CandidateSource Source, SelectStrategy Strategy, class Keys, class>
  using Path = detail::CudaPath<LevelsT, Source, Strategy, Keys>;

  template <SelectStrategy Strategy, class Call>
  static void index(const Kokkos::Cuda& exec, const Call& call) {
    if constexpr (Call::path_type::possible)
      if (call.path->covers()) {
        call.path->run(exec, call);
        return;
      }
    Portable<>::template index<Strategy>(exec, call);
  }

  template <PoolingRule Rule, class Keys>
  static void pool(const Kokkos::Cuda& exec, const Keys& keys,
                   const PooledKeys<pooled_element<Rule, typename Keys::element_type>>& pooled,
                   const Sequences& sequences) {
    if constexpr (std::same_as<Keys, ContiguousKeys<e4m3fn>> && RowRule<Rule>)
      if (keys.head_dim == 128 && sequences.count <= 65535 && keys.row_stride % 4 == 0 &&
          in_words(keys.values) && in_words(pooled.values)) {
        detail::OnDeviceOf const scope(exec);
        cuda::Sequences const same{sequences.count, sequences.old_length, sequences.new_length,
                                   sequences.begin};
        cuda::pool_checked<Rule>("pool", exec.cuda_stream(), keys, pooled, same);
        return;
      }
    Portable<>::template pool<Rule>(exec, keys, pooled, sequences);
  }

  /// hisa::score's descents: all tokens, scores wanted whatever the choice.
  template <class DescentType>
  static void score(const Kokkos::Cuda& exec, const DescentType& descent,
                    const GroupWorkspace& workspace) {
    using Rows = typename DescentType::rows_type;
    if constexpr (std::same_as<Rows, TokenRows<ContiguousKeys<e4m3fn>>>) {
      Queries<e4m3fn> queries = descent.group.queries;
      const ContiguousKeys<e4m3fn>& keys = descent.rows.keys;
      detail::OnDeviceOf const scope(exec);
      Configuration const same{
          queries.count, keys.count, queries.heads, queries.head_dim, {}, 1, {}};
      if (cuda::not_covered(cuda::Device::current(), same).empty()) {
        std::int64_t const first = descent.group.first;
        queries.count = descent.group.count;
        queries.values += first * queries.heads * queries.head_dim;
        queries.weights += first * queries.heads;
        cuda::score(exec.cuda_stream(), queries, keys,
                    {descent.visibility.ks + first, descent.visibility.ke + first},
                    workspace.scores.values, workspace.scores.pitch);
        return;
      }
    }
    Portable<>::score(exec, descent, workspace);
  }

private:
  static bool in_words(const void* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer) % 4 == 0;
  }
};

} // namespace HISA_HOST_ISA

template <>
struct DefaultBackend<Kokkos::Cuda> {
  using type = CudaBackend;
};

HISA_NAMESPACE_END
