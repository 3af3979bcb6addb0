// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Choosing the winners of a contest from a row of scores, by a group of threads; what the kernels
/// of keep.cuh and tokens.cuh share. The selection itself is hisa/gpu/select.hpp.
#pragma once

#include <hisa/cuda/group.cuh>
#include <hisa/cuda/pieces.cuh>
#include <hisa/gpu/select.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Scores of consecutive queries, as the scoring kernel leaves them.
struct ScoreRows {
  const float* values = nullptr;
  std::int64_t pitch = 0; ///< a multiple of 4, like the alignment of `values`
};

/// Candidates::row in 32-bit arithmetic, without a division where the ratio is a power of two.
class RowOf {
public:
  __device__ RowOf() {}
  __device__ explicit RowOf(const Candidates& c)
      : parents_(c.parents), ratio_(static_cast<std::uint32_t>(c.ratio)),
        skip_(static_cast<std::uint32_t>(c.skip)) {
    log2_ = (ratio_ & (ratio_ - 1)) == 0 ? 31 - __clz(static_cast<int>(ratio_)) : -1;
  }
  __device__ std::int32_t operator()(std::uint32_t position) const {
    std::uint32_t const p = position + skip_;
    if (parents_ == nullptr)
      return static_cast<std::int32_t>(p);
    std::uint32_t const parent = log2_ >= 0 ? p >> log2_ : p / ratio_;
    // Nothing writes parents while this kernel runs: their loads need not wait for stores.
    auto const kept = static_cast<std::uint32_t>(__ldg(parents_ + parent));
    return static_cast<std::int32_t>(kept * ratio_ + p - parent * ratio_);
  }

private:
  const std::int32_t* parents_ = nullptr;
  std::uint32_t ratio_ = 1;
  std::uint32_t skip_ = 0;
  int log2_ = 0; ///< -1: the ratio is no power of two
};

/// The candidates of a contest, as gpu::ScoreRow.
struct ContestRow {
  const float* values = nullptr; ///< 16-byte aligned
  std::uint32_t first = 0, end = 0;
  std::int32_t hidden[2] = {-1, -1}; ///< positions that count -inf; -1: none

  __device__ ContestRow() {}
  __device__ ContestRow(const float* v, const Contest& c)
      : values(v), first(static_cast<std::uint32_t>(c.first)),
        end(static_cast<std::uint32_t>(c.end)) {}

  __device__ bool plain(std::uint32_t at, std::uint32_t count) const {
    return at >= first && at + count <= end && hidden[0] < 0 && hidden[1] < 0;
  }
  __device__ gpu::Scores scores(std::uint32_t at) const {
    return *reinterpret_cast<const gpu::Scores*>(values + at);
  }
  __device__ gpu::Four keys(std::uint32_t at, const gpu::Scores& scores) const {
    gpu::Four four;
    four.first = at;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      four.key[i] = gpu::candidate_key(scores.v[i]);
    if (plain(at, 4))
      return four;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      std::uint32_t const position = four.position(i);
      auto const p = static_cast<std::int32_t>(position);
      four.key[i] = 0;
      if (position >= first && position < end)
        four.key[i] = gpu::candidate_key(p == hidden[0] || p == hidden[1] ? minus_infinity
                                                                          : values[position]);
    }
    return four;
  }
};

/// Choosing by a CTA from rows that fit its registers.
template <int Longest>
struct ShortRows {
  static constexpr int threads = 512, ctas = 3; ///< of a multiprocessor
  static constexpr int longest = Longest;       ///< from a multiple of 4
  static constexpr int max_k = Longest;
  using Storage = gpu::HeldStorage<Longest, 2048>;

  template <class G, class Emit>
  __device__ static void select(const G& g, const CtaCluster&, Storage& storage,
                                const ContestRow& row, std::int32_t k, const Emit& emit) {
    gpu::select_held(g, storage, gpu::Held<Longest / 4 / threads>(g, row), row, k, emit);
  }
};

/// Choosing by the CTAs of a cluster from rows of any length, through buffers.
template <int Capacity>
struct LongRows {
  static constexpr int threads = 512, ctas = Capacity > 8192 ? 1 : 2;
  static constexpr int max_k = Capacity - 4 * threads;
  using Storage = gpu::StreamStorage<Capacity, 2048>;

  template <class G, class Emit>
  __device__ static void select(const G& g, const CtaCluster& cluster, Storage& storage,
                                const ContestRow& row, std::int32_t k, const Emit& emit) {
    gpu::select_stream(g, cluster, storage, row, k, emit);
  }
};

} // namespace cuda
HISA_NAMESPACE_END
