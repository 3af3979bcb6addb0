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

#include <hisa/cuda/group.cuh>
#include <hisa/cuda/producer.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Role of the warpgroups.
///
/// The products of a warpgroup, one for each query that wants one of its tiles, form one stream:
///   1. while the tensor core works on a product, the query of the next is found, and if need be
///      its tile;
///   2. the next product starts when the one before is complete;
///   3. meanwhile that one is weighted and summed over a lane's heads, and
///   4. the sums of the one before it are added up over the lanes and stored.
template <int Heads>
class Consumer {
public:
  using Storage = ScoreStorage<Heads>;
  using P = ScorePolicy;

  __device__ Consumer(const ScoreTask& task, Storage& s)
      : task_(task), s_(s), lane_(static_cast<int>(threadIdx.x) % 32),
        turn_(uniform(static_cast<int>(threadIdx.x) / 128)) {
    int const log2 = task.pieces.piece_log2;
    int const row = static_cast<int>(threadIdx.x) / 32 % 4 * 16 + lane_ / 4 + 8 * (lane_ & 1);
    bool const stores = (lane_ & 2) == 0; // two lanes have a row's sum
    row_ = kept(row);
    piece_ = kept(row >> log2);
    in_piece_ = kept(stores ? row & ((1 << log2) - 1) : Positions::absent);
    tile_.advance(turn_);
  }

  __device__ void run() {
    std::int64_t const items = task_.groups() * task_.splits;
    for (std::int64_t item = blockIdx.x; item < items; item += gridDim.x) {
      item_.wait_full(s_.item_ring);
      int const tiles = uniform(s_.headers[item_.buffer].tiles);
      tiles_ = (tiles - turn_ + P::consumers - 1) / P::consumers;
      turn_ += tiles_ * P::consumers - tiles; // the turns go on in the next item
      score_item();
      leave(s_.item_ring.empty[item_.buffer]);
      item_.advance();
    }
  }

private:
  const ScoreTask& task_;
  Storage& s_;
  int lane_;
  int row_;                  ///< of a tile, whose sum ends up in this lane
  int piece_, in_piece_;     ///< where the row lies
  int turn_;                 ///< tiles until this warpgroup's next one
  int tiles_ = 0;            ///< of the item that this warpgroup has still to begin
  float scale_ = 0;          ///< of the tile's row_
  std::uint32_t wanted_ = 0; ///< queries of the tile whose products are still to be started
  KeyFragment keys_;
  Cursor<P::tiles> tile_;
  Cursor<P::items> item_;

  /// A product on its way.
  struct Product {
    DotProducts<Heads> dot;
    int query;
    std::int32_t position; ///< of row_ among the query's candidates
    float scale;
  };
  /// Sums over this lane's heads, of rows g and g + 8, on their way to a score.
  struct Sums {
    float lower, upper, scale;
    std::int32_t position = Positions::absent;
    ScoreTarget target = {nullptr, 0};
  };

  /// One lane of each warp arrives when the whole warp is done.
  __device__ void leave(Barrier& barrier) const {
    __syncwarp();
    if (lane_ == 0)
      barrier.arrive();
  }

  __device__ void score_item() {
    if (!next_tile())
      return;
    Product a, b;
    Sums sums;
    keys_.load(s_.keys[tile_.buffer]);
    start(a);
    while (go_on(a, b, sums) && go_on(b, a, sums))
      ;
    store(sums);
  }

  /// Starts the product that follows `now`, if there is one, and sums up `now`.
  __device__ bool go_on(Product& now, Product& next, Sums& sums) {
    Weights const weights = load_weights(now.query);
    if (wanted_ == 0) {
      if (!next_tile()) {
        wait_products<0>();
        sum_up(now, weights, sums);
        return false;
      }
      wait_products<0>();
      keys_.load(s_.keys[tile_.buffer]);
    } else {
      wait_products<0>();
    }
    start(next);
    sum_up(now, weights, sums);
    return true;
  }

  /// Goes to the warpgroup's next tile of the item that somebody wants.
  __device__ bool next_tile() {
    while (tiles_ > 0) {
      --tiles_;
      tile_.wait_full(s_.tile_ring);
      scale_ = s_.scales[tile_.buffer][row_];
      find_query(uniform(s_.masks[tile_.buffer]));
      if (wanted_ != 0)
        return true;
      leave_tile();
    }
    return false;
  }
  __device__ void leave_tile() {
    leave(s_.tile_ring.empty[tile_.buffer]);
    tile_.advance(P::consumers);
  }

  int query_;           ///< the last of wanted_
  std::uint32_t heads_; ///< its heads, for the tensor core

  __device__ void find_query(std::uint32_t wanted) {
    wanted_ = wanted;
    query_ = 31 - __clz(static_cast<int>(wanted));
    heads_ = uniform_address(s_.items[item_.buffer].values[query_]);
  }

  /// Starts the product of query_. Nothing else is under way.
  __device__ void start(Product& p) {
    start_products(p.dot, keys_, heads_);
    p.query = query_;
    p.position = s_.positions[tile_.buffer][piece_].of[query_] + in_piece_;
    p.scale = scale_;
    find_query(wanted_ ^ 1u << query_);
    if (wanted_ == 0)
      leave_tile(); // all that is needed of it is in registers
  }

  /// A lane's head weights.
  struct Weights {
    float4 of[Heads / 16];
  };
  __device__ Weights load_weights(int query) const {
    auto const from = reinterpret_cast<const float4*>(
        s_.items[item_.buffer].queries[query].weights + lane_ % 4 * weights_pitch<Heads>);
    Weights w;
#pragma unroll
    for (int i = 0; i < Heads / 16; ++i)
      w.of[i] = from[i];
    return w;
  }

  /// Sums up a complete product, and stores the sums before.
  __device__ void sum_up(const Product& p, const Weights& w, Sums& sums) const {
    store(sums);
    sums.lower = sums.upper = 0;
#pragma unroll
    for (int i = 0; i < Heads / 16; ++i) {
      add(w.of[i].x, p.dot, 8 * i, sums);
      add(w.of[i].y, p.dot, 8 * i + 1, sums);
      add(w.of[i].z, p.dot, 8 * i + 4, sums);
      add(w.of[i].w, p.dot, 8 * i + 5, sums);
    }
    sums.scale = p.scale;
    sums.position = p.position;
    sums.target = s_.items[item_.buffer].queries[p.query].target;
  }
  // Scaled down, every dot product of finite fp8 values is in [-1, 1], so that saturation is the
  // ReLU, exactly, NaN counting 0; the weights are scaled up.
  __device__ static void add(float w, const DotProducts<Heads>& dot, int at, Sums& sums) {
    sums.lower = fmaf(w, __saturatef(dot.values[at] * relu_down), sums.lower);
    sums.upper = fmaf(w, __saturatef(dot.values[at + 2] * relu_down), sums.upper);
  }
  /// Adds up the four lanes' parts and stores the score, if it is a candidate's.
  __device__ void store(const Sums& sums) const {
    bool const odd = lane_ & 1;
    float const mine = odd ? sums.upper : sums.lower, other = odd ? sums.lower : sums.upper;
    float sum = mine + __shfl_xor_sync(0xffffffffu, other, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    store_if(static_cast<std::uint32_t>(sums.position) <
                 static_cast<std::uint32_t>(sums.target.limit),
             sums.target.scores + sums.position, sums.scale * sum);
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
