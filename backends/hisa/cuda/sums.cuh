// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// From dot products to scores: a lane weights and sums a quarter of the heads for two rows of each
/// half of a tile, then four lanes exchange their sums. The one order in which this backend sums
/// heads.
#pragma once

#include <hisa/cuda/group.cuh>
#include <hisa/cuda/mma.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Lane t of four sums the heads 8i + 2t and 8i + 2t + 1 (see DotProducts), so their weights lie
/// together, at a distance from the next lane's that spreads them over the banks.
template <int Heads>
inline constexpr int weights_pitch = Heads / 4 + 4;
/// Floats of a query's weights: four times weights_pitch.
HISA_FUNCTION constexpr int packed_weights(int heads) {
  return heads + 16;
}
static_assert(packed_weights(64) == 4 * weights_pitch<64> &&
              packed_weights(32) == 4 * weights_pitch<32>);
template <int Heads>
__device__ constexpr int weight_slot(int head) {
  return head % 8 / 2 * weights_pitch<Heads> + head / 8 * 2 + head % 2;
}
/// Dot products are scaled down, and the weights are scaled up: those of 2^103 and more become
/// infinite.
inline constexpr float relu_down = 0x1p-25f, relu_up = 0x1p+25f;

/// A lane's head weights.
template <int Heads>
struct HeadWeights {
  float4 of[Heads / 16];

  /// Where they begin among a query's, in bytes.
  __device__ static int begin(int lane) { return lane % 4 * weights_pitch<Heads> * 4; }
  /// @param weights  a query's, see weight_slot
  __device__ void load(const float* weights, int begin) {
#pragma unroll
    for (int i = 0; i < Heads / 16; ++i)
      of[i] = behind(reinterpret_cast<const float4*>(weights)[i], begin);
  }
};

// Scaled down, every dot product of finite fp8 values is in [-1, 1], so that saturation is the
// ReLU, exactly, NaN counting 0.
template <int Heads>
__device__ void add_head(float w, const DotProducts<Heads>& dot, int at, float (&sums)[2]) {
  sums[0] = fmaf(w, __saturatef(dot.values[at] * relu_down), sums[0]);
  sums[1] = fmaf(w, __saturatef(dot.values[at + 2] * relu_down), sums[1]);
}
/// A lane's part of sum_j w_j relu(dot_j) for two rows: with the exchange, four chains a score,
/// where the reference has its own order.
template <int Heads>
__device__ void sum_heads(const DotProducts<Heads>& dot, const HeadWeights<Heads>& w,
                          float (&sums)[2]) {
  sums[0] = sums[1] = 0;
#pragma unroll
  for (int i = 0; i < Heads / 16; ++i) {
    add_head(w.of[i].x, dot, 8 * i, sums);
    add_head(w.of[i].y, dot, 8 * i + 1, sums);
    add_head(w.of[i].z, dot, 8 * i + 4, sums);
    add_head(w.of[i].w, dot, 8 * i + 5, sums);
  }
}

/// Which of the four rows of its sums a lane ends with.
struct LaneRows {
  int second; ///< not 0: row g + 8, else g
  int upper;  ///< not 0: of the upper half, else of the lower
};
/// Of two sums, keeps the second if `second`, else the first, and adds the partner's part of it.
__device__ inline float exchange_sums(float a, float b, bool second, int distance) {
  return (second ? b : a) + __shfl_xor_sync(0xffffffffu, second ? a : b, distance);
}
/// Adds up the four lanes' parts, such that each lane ends with the sum of its row: summed_row.
/// @param sums  [half][row g or g + 8]
__device__ inline float sum_lanes(const float (&sums)[2][2], const LaneRows& rows) {
  bool const second = rows.second != 0, upper = rows.upper != 0;
  return exchange_sums(exchange_sums(sums[0][0], sums[0][1], second, 1),
                       exchange_sums(sums[1][0], sums[1][1], second, 1), upper, 2);
}
/// The row of a tile whose sum a thread of the warpgroup ends with.
__device__ inline int summed_row(int thread) {
  int const lane = thread % 32;
  return thread / 32 % 4 * warp_keys + lane / 4 + 8 * (lane & 1) + half_warp_keys * (lane >> 1 & 1);
}

} // namespace cuda
HISA_NAMESPACE_END
