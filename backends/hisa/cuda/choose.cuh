// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Choosing the winners of a contest from a row of scores, by a group of threads; what the kernels
/// of keep.cuh and tokens.cuh share. The selection itself is hisa/gpu/select.hpp.
#pragma once

#include <hisa/cuda/group.cuh>
#include <hisa/cuda/pieces.cuh>
#include <hisa/gpu/select.hpp>

#include <cmath>

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
    while (ratio_ >> (log2_ + 1) != 0)
      ++log2_;
    log2_ = (ratio_ & (ratio_ - 1)) == 0 ? log2_ : -1;
  }
  __device__ std::int32_t operator()(std::int32_t position) const {
    std::uint32_t const p = static_cast<std::uint32_t>(position) + skip_;
    if (parents_ == nullptr)
      return static_cast<std::int32_t>(p);
    std::uint32_t const parent = log2_ >= 0 ? p >> log2_ : p / ratio_;
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(parents_[parent]) * ratio_ + p -
                                     parent * ratio_);
  }

private:
  const std::int32_t* parents_ = nullptr;
  std::uint32_t ratio_ = 1;
  std::uint32_t skip_ = 0;
  int log2_ = 0; ///< -1: the ratio is no power of two
};

/// The positions that compete, in 32-bit arithmetic.
struct Field {
  std::int32_t first = 0, end = 0;
  std::int32_t hidden[2] = {-1, -1}; ///< positions that count -inf; -1: none

  __device__ Field() {}
  __device__ explicit Field(const Contest& c)
      : first(static_cast<std::int32_t>(c.first)), end(static_cast<std::int32_t>(c.end)) {}
};

/// The keys of four scores of a row from position `base`, a multiple of 4.
__device__ inline void load_keys(std::uint32_t* key, const float* row, std::int32_t base,
                                 const Field& field) {
  float scores[4] = {};
  bool const inside = base >= field.first && base + 4 <= field.end;
  if (inside && reinterpret_cast<std::uintptr_t>(row + base) % 16 == 0) {
    auto const four = *reinterpret_cast<const float4*>(row + base);
    scores[0] = four.x, scores[1] = four.y, scores[2] = four.z, scores[3] = four.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      scores[i] = base + i < field.end ? row[base + i] : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    key[i] = gpu::candidate_key(scores[i]);
  if (inside && field.hidden[0] < 0 && field.hidden[1] < 0)
    return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    std::int32_t const position = base + i;
    if (position == field.hidden[0] || position == field.hidden[1])
      key[i] = gpu::candidate_key(-INFINITY);
    if (position < field.first || position >= field.end)
      key[i] = 0;
  }
}

/// The winners of a contest: emit(rank, position) for each, ranks ascending with positions.
/// @tparam Width  scores that a lane takes at a time
template <int Width, int Capacity, class G, class Emit>
__device__ void choose(const G& g, gpu::StreamStorage<Capacity>& storage, const float* row,
                       const Field& field, std::int64_t need, const Emit& emit) {
  auto const k = static_cast<std::int32_t>(need);
  std::int32_t const begin = field.first / 4 * 4;
  if (field.end - begin <= Width * g.size()) {
    gpu::Held<Width> all;
    all.first = begin + Width * g.lane();
#pragma unroll
    for (int i = 0; i < Width; i += 4)
      load_keys(all.key + i, row, all.first + i, field);
    gpu::select_held(g, storage, all, field.end - field.first, k, emit);
    return;
  }
  gpu::StreamSelect<G, Capacity> stream(g, storage, k);
  auto const push = [&]<int W>(std::int32_t base, gpu::Held<W> held) {
    held.first = base + W * g.lane();
#pragma unroll
    for (int i = 0; i < W; i += 4)
      load_keys(held.key + i, row, held.first + i, field);
    stream.push(held);
  };
  if (k <= Capacity - 8 * g.size())
    for (std::int32_t base = begin; base < field.end; base += 8 * g.size())
      push(base, gpu::Held<8>{});
  else
    for (std::int32_t base = begin; base < field.end; base += 4 * g.size())
      push(base, gpu::Held<4>{});
  stream.finish(
      [&](std::int32_t rank, std::int32_t position, std::uint32_t) { emit(rank, position); });
}

} // namespace cuda
HISA_NAMESPACE_END
