// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The scoring kernel of sm_90a: one kernel for pooled rows and tokens, all rows or listed ones.
///
/// A CTA works on *items*, a group of four neighbouring queries and a range of key tiles each.
///   1. Producer warps have the copy engine bring an item's queries to shared memory, then, tile by
///      tile, 64 keys with their scales and positions into a ring.
///   2. Three consumer warpgroups take the tiles in turn. Each holds the head weights of the four
///      queries in registers and loads a tile's keys into registers;
///   3. for each query that wants the tile, the tensor core multiplies the keys with the query's
///      heads, while the products of the query before are weighted, summed over heads and stored.
#pragma once

#include <hisa/cuda/machine.cuh>
#include <hisa/cuda/mma.cuh>
#include <hisa/cuda/producer.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Role of the warpgroups.
template <int Heads>
class Consumer {
public:
  using Storage = ScoreStorage<Heads>;
  using P = ScorePolicy;

  __device__ Consumer(const ScoreTask& task, Storage& s)
      : task_(task), s_(s), lane_(static_cast<int>(threadIdx.x) % 32) {
    int const warp = static_cast<int>(threadIdx.x) / 32 % 4;
    row_ = 16 * warp + lane_ / 4 + 8 * (lane_ & 1);
    first_query_ = lane_ & 2;
    turn_ = static_cast<int>(threadIdx.x) / 128;
    tile_.advance(turn_);
  }

  __device__ void run() {
    std::int64_t const items = task_.groups() * task_.splits;
    for (std::int64_t item = blockIdx.x; item < items; item += gridDim.x) {
      item_.wait_full(s_.item_ring);
      load_weights();
      values_[0] =
          task_.values + (item / task_.splits * group_queries + first_query_) * task_.pitch;
      values_[1] = values_[0] + task_.pitch;
      int const tiles = s_.headers[item_.buffer].tiles;
      int tile = turn_;
      for (; tile < tiles; tile += P::consumers)
        score_tile();
      turn_ = tile - tiles; // the turns go on in the next item
      leave(s_.item_ring.empty[item_.buffer]);
      item_.advance();
    }
  }

private:
  const ScoreTask& task_;
  Storage& s_;
  int lane_, row_; ///< row_: of the tile, whose sum ends up in this lane
  int turn_;       ///< tiles until this warpgroup's next one
  Cursor<P::tiles> tile_;
  Cursor<P::items> item_;
  int first_query_;       ///< of the two whose scores this lane stores
  float* values_[2] = {}; ///< their rows of scores
  float weights_[group_queries][Heads / 4];

  // Scaled down, every dot product of finite fp8 values is in [-1, 1], so that saturation is the
  // ReLU, exactly, NaN counting 0; the weights are scaled up.
  static constexpr float down = 0x1p-25f, up = 0x1p+25f;

  __device__ void load_weights() {
#pragma unroll
    for (int q = 0; q < group_queries; ++q)
#pragma unroll
      for (int i = 0; i < Heads / 8; ++i) {
        auto const w = *reinterpret_cast<const float2*>(
            &s_.items[item_.buffer].weights[q][8 * i + lane_ % 4 * 2]);
        weights_[q][2 * i] = w.x * up;
        weights_[q][2 * i + 1] = w.y * up;
      }
  }

  /// One lane of each warp arrives when the whole warp is done.
  __device__ void leave(Barrier& barrier) const {
    __syncwarp();
    if (lane_ == 0)
      barrier.arrive();
  }

  __device__ void score_tile() {
    tile_.wait_full(s_.tile_ring);
    KeyFragment keys;
    load_keys(keys, s_.keys[tile_.buffer]);
    std::uint32_t const mask = __shfl_sync(0xffffffffu, s_.masks[tile_.buffer], 0);
    Sums sums = {};
    score_wanted<group_queries, 0>(mask, keys, sums);
    store(sums);
    leave(s_.tile_ring.empty[tile_.buffer]);
    tile_.advance(P::consumers);
  }

  /// A lane's part of the sums over heads, for each query: rows g and g + 8 of the warp's 16.
  struct Sums {
    float of[group_queries][2];
  };

  /// Turns the tile's queries into a compile-time set, one bit at a time from the last query down:
  /// the tensor core's asynchronous products need code without branches.
  template <int Bits, unsigned Wanted>
  __device__ void score_wanted(std::uint32_t mask, const KeyFragment& keys, Sums& sums) const {
    if constexpr (Bits > 0) {
      if (mask >> (Bits - 1) & 1)
        score_wanted<Bits - 1, (Wanted | 1u << (Bits - 1))>(mask, keys, sums);
      else
        score_wanted<Bits - 1, Wanted>(mask, keys, sums);
    } else if constexpr (Wanted != 0) {
      DotProducts<Heads> p[2];
      start<lowest(Wanted)>(p[0], keys);
      score_queries<Wanted>(p[0], p[1], keys, sums);
    }
  }
  __device__ static constexpr int lowest(unsigned set) {
    return set & 1 ? 0 : 1 + lowest(set >> 1);
  }

  template <int Query>
  __device__ void start(DotProducts<Heads>& p, const KeyFragment& keys) const {
    start_products(p, keys, tile_descriptor(s_.items[item_.buffer].values[Query]));
  }

  /// Scores the queries of a set; the products of the first are under way in `now`.
  template <unsigned Set>
  __device__ void score_queries(DotProducts<Heads>& now, DotProducts<Heads>& next,
                                const KeyFragment& keys, Sums& sums) const {
    constexpr int query = lowest(Set);
    constexpr unsigned rest = Set & (Set - 1);
    if constexpr (rest != 0) {
      start<lowest(rest)>(next, keys);
      wait_products<1>();
    } else {
      wait_products<0>();
    }
    sum_heads(now, weights_[query], sums.of[query]);
    if constexpr (rest != 0)
      score_queries<rest>(next, now, keys, sums);
  }

  /// The lane's part of sum_j w_j relu(dot_j): two chains a row.
  __device__ static void sum_heads(const DotProducts<Heads>& p, const float (&w)[Heads / 4],
                                   float (&sums)[2]) {
    float lower[2] = {}, upper[2] = {}; // rows g and g + 8
#pragma unroll
    for (int i = 0; i < Heads / 4; ++i) {
      int const at = i / 2 * 4 + i % 2;
      lower[i % 2] = fmaf(w[i], __saturatef(p.values[at] * down), lower[i % 2]);
      upper[i % 2] = fmaf(w[i], __saturatef(p.values[at + 2] * down), upper[i % 2]);
    }
    sums[0] = lower[0] + lower[1];
    sums[1] = upper[0] + upper[1];
  }

  /// Adds up the four lanes' parts, such that each lane ends with the sums of row_ and the queries
  /// first_query_ and first_query_ + 1; stores those of candidates.
  __device__ void store(const Sums& sums) const {
    bool const odd = lane_ & 1, high = lane_ & 2;
    float row[group_queries], score[2];
#pragma unroll
    for (int q = 0; q < group_queries; ++q)
      row[q] = exchange(sums.of[q][0], sums.of[q][1], odd, 1);
#pragma unroll
    for (int i = 0; i < 2; ++i)
      score[i] = exchange(row[i], row[i + 2], high, 2);
    float const scale = s_.scales[tile_.buffer][row_];
    int const log2 = task_.pieces.piece_log2, in_piece = row_ & ((1 << log2) - 1);
    const Positions& positions = s_.positions[tile_.buffer][row_ >> log2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      std::int32_t const position = positions.of[first_query_ + i] + in_piece;
      auto const limit =
          static_cast<std::uint32_t>(s_.headers[item_.buffer].limit[first_query_ + i]);
      if (static_cast<std::uint32_t>(position) < limit)
        values_[i][position] = scale * score[i];
    }
  }
  /// Of two sums, keeps the second if `upper`, else the first, and adds the partner's part of it.
  __device__ static float exchange(float a, float b, bool upper, int distance) {
    return (upper ? b : a) + __shfl_xor_sync(0xffffffffu, upper ? a : b, distance);
  }
};

template <int Heads>
__global__ void __launch_bounds__(ScorePolicy::threads, 1)
    score_kernel(const __grid_constant__ ScoreTask task) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<ScoreStorage<Heads>*>(memory);
  if (threadIdx.x == 0) {
    storage.tile_ring.init(Producer<Heads>::tile_writers, 4);
    storage.item_ring.init(Producer<Heads>::item_writers, 4 * ScorePolicy::consumers);
    publish_barriers();
  }
  __syncthreads();
  begin_kernel();
  if (threadIdx.x < 128 * ScorePolicy::consumers) {
    raise_registers<ScorePolicy::consumer_registers>();
    Consumer<Heads>(task, storage).run();
  } else {
    lower_registers<ScorePolicy::producer_registers>();
    Producer<Heads>(task, storage).run();
  }
#endif
}

} // namespace cuda
HISA_NAMESPACE_END
