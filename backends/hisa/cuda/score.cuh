// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The scoring kernel of sm_90a: one kernel for pooled rows and tokens, all rows or listed ones.
/// Tokens of few queries have another (pairs.cuh), for which the producers here prepare.
///
/// A CTA works on *items*, a group of four neighbouring queries and some of its key tiles each.
///   1. A producer warp brings an item's queries to shared memory; others bring its tiles, 128 keys
///      with their scales and positions, to a ring, keys and scales by the copy engine;
///   2. three consumer warpgroups take the tiles in turn; a tile's keys go to registers, once, or
///      for each product if the arithmetic is precise;
///   3. for each query that wants the tile, the tensor core multiplies the keys with the query's
///      heads, one half of the keys while the products of the other are weighted, summed over heads
///      (products.cuh, sums.cuh) and stored.
#pragma once

#include <hisa/cuda/machine.cuh>
#include <hisa/cuda/producer.cuh>
#include <hisa/cuda/products.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// One lane of each warp arrives when the whole warp is done.
__device__ inline void leave(Barrier& barrier, int lane) {
  __syncwarp();
  if (lane == 0)
    barrier.arrive();
}

/// Role of the warpgroups.
///
/// For each query that wants one of the warpgroup's tiles there are two products, one with each
/// half of the tile's keys. All products form one stream: the tensor core works on one while the
/// one before is weighted and summed. A lane sums a quarter of the heads for two rows of each half;
/// then four lanes exchange their sums, so that each has those of one row, whose score it stores
/// while the next products are under way.
/// @tparam Chunks  whether an item is a chunk of scores that somebody waits for (flat.cuh)
/// @tparam Task  ScoreTask, or one that has other targets, and sums of another kind for them
template <int Heads, Arithmetic A, bool Chunks = false, class Task = ScoreTask>
class Consumer {
public:
  using Target = typename Task::Target;
  using Storage = ScoreStorage<Heads, A, Target>;
  using P = ScorePolicy<A>;

  __device__ Consumer(const Task& task, Storage& s)
      : s_(by_held_address(s)), lane_(held_in_register(static_cast<int>(threadIdx.x) % 32)),
        turn_(uniform(static_cast<int>(threadIdx.x) / 128)) {
    int const log2 = task.pieces.piece_log2;
    int const row = summed_row(static_cast<int>(threadIdx.x));
    piece_ = held_in_register(row >> log2);
    in_piece_ = held_in_register(Target::mark(row & ((1 << log2) - 1), 0));
    scale_at_ = held_in_register((row >> log2) * scale_pitch(log2) + (row & ((1 << log2) - 1)));
    rows_ = {held_if_native(lane_ & 1), held_if_native(lane_ & 2)};
    weights_at_ = held_in_register(HeadWeights<Heads>::begin(lane_));
    tile_.advance(turn_);
  }

  __device__ void run() {
    Sums<Target> sums;
    begin_item();
    if (next_tile())
      score_tiles(sums);
    leave_item();
  }
  /// The same, but what is asked for of an item is known before the next one begins.
  /// @param done  done(buffer, lane) is called then, with the item's buffer
  template <class Begin, class Done>
  __device__ void run_apart(const Begin& begin, const Done& done) {
    Sums<Target> sums;
    for (bool last = false; !last;) {
      begin_item();
      begin(sums, queries_[0].target);
      last = uniform(s_.headers[item_.buffer].last) != 0;
      if (next_tile())
        score_tiles(sums);
      done(sums);

      leave_item();
    }
  }

private:
  /// Whether registers keep what belongs to a lane's row. Precise arithmetic has fewer to spare.
  static constexpr bool keeps_row = A == Arithmetic::native;
  __device__ static int held_if_native(int value) {
    return keeps_row ? held_in_register(value) : value;
  }

  Storage& s_;
  int lane_;
  int piece_, in_piece_;     ///< the row of a tile whose score this lane stores
  int scale_at_;             ///< floats from a tile's scales to its own, less scale_offsets
  LaneRows rows_;            ///< whose sums this lane keeps
  int weights_at_;           ///< bytes from a query's weights to this lane's
  int turn_;                 ///< tiles until this warpgroup's next one
  int tiles_ = 0;            ///< of the item that this warpgroup has still to begin
  std::uint32_t wanted_ = 0; ///< the tile's queries that are still to be scored, query_ among them
  int query_ = 0;            ///< that is scored
  HeadsAddress heads_ = 0;   ///< address of its heads
  const QueryItem<Heads, Target>* queries_; ///< of the item
  HeadsAddress first_heads_;                ///< of the first of these
  TileKeys<A> keys_;                        ///< of the tile
  float scale_ = 0;                         ///< of this lane's row of the tile, if keeps_row
  int positions_at_ = 0;                    ///< row_positions(), if keeps_row
  Cursor<P::tiles> tile_;
  Cursor<P::items> item_;

  /// Scores the warpgroup's tiles, of which the first is known.
  __device__ void score_tiles(Sums<Target>& sums) {
    ProductStream<Heads> products;
    sums.reset(); // those before have been stored
    choose_query();
    load_tile();
    products.begin(keys_, heads_);
    for (;;) {
      products.second_half(keys_, heads_, queries_[query_].weights, weights_at_, rows_, sums,
                           [&](Sums<Target>& to) { set_target(to); });
      wanted_ ^= 1u << query_;
      if (wanted_ != 0) {
        choose_query();
        wait_products<0>();
      } else {
        sums.end_tile();
        leave_tile(); // its last products have their keys in registers
        if (!next_tile())
          break;
        choose_query();
        wait_products<0>();
        load_tile();
      }
      products.next(keys_, heads_, sums);
    }
    products.end(rows_, sums);
  }

  /// Waits for the item, and finds out which of its tiles are this warpgroup's, and where its
  /// queries are.
  __device__ void begin_item() {
    item_.wait_full(s_.item_ring);
    int const tiles = uniform(s_.headers[item_.buffer].tiles);
    tiles_ = (tiles - turn_ + P::consumers - 1) / P::consumers;
    turn_ += tiles_ * P::consumers - tiles; // the turns go on in the next item
    first_heads_ = uniform_address(s_.items[item_.buffer].values[0]);
    queries_ = &by_held_address(s_.items[item_.buffer].queries[0]);
  }
  __device__ void leave_item() {
    leave(s_.item_ring.empty[item_.buffer], lane_);
    item_.advance();
  }
  /// Goes to the warpgroup's next tile that somebody wants, of this item or a later one, but not of
  /// another chunk. The tile before has been left; its last products may be under way.
  __device__ bool next_tile() {
    for (;;) {
      for (; tiles_ > 0; leave_tile()) {
        --tiles_;
        tile_.wait_full(s_.tile_ring);
        wanted_ = uniform(s_.masks[tile_.buffer]);
        if (wanted_ != 0)
          return true;
      }
      if (Chunks || uniform(s_.headers[item_.buffer].last) != 0)
        return false;
      wait_products<0>(); // those under way read the item's queries
      leave_item();
      begin_item();
    }
  }
  __device__ void leave_tile() {
    leave(s_.tile_ring.empty[tile_.buffer], lane_);
    tile_.advance(P::consumers);
  }
  /// The last query of a set that is not empty.
  __device__ void choose_query() {
    query_ = highest_bit(wanted_);
    heads_ = first_heads_ + static_cast<std::uint32_t>(query_ * query_bytes<Heads, A> / 16);
  }

  /// Of this lane's row of the tile.
  __device__ float row_scale() const {
    return s_.scales[tile_.buffer][scale_at_ + s_.scale_offsets[tile_.buffer][piece_]];
  }
  /// Bytes from the storage's positions to those of its piece.
  __device__ int row_positions() const {
    return (tile_.buffer * max_pieces + piece_) * static_cast<int>(sizeof(Positions));
  }
  /// What is the same for all queries of the tile.
  __device__ void load_tile() {
    keys_.load(s_.keys[tile_.buffer]);
    if (keeps_row)
      scale_ = row_scale(), positions_at_ = held_if_native(row_positions());
  }
  /// Where the scores of query_ go.
  __device__ void set_target(Sums<Target>& sums) const {
    sums.scale = keeps_row ? scale_ : row_scale();
    sums.position =
        behind(s_.positions[0][0].of[query_], keeps_row ? positions_at_ : row_positions());
    sums.position += in_piece_;
    sums.set(queries_[query_].target);
  }
};

/// @param tile_writers  arrivals at a full tile
template <int Heads, Arithmetic A, class Target>
__device__ void init_rings(ScoreStorage<Heads, A, Target>& storage, int tile_writers) {
  storage.tile_ring.init(tile_writers, 4);
  storage.item_ring.init(Producer<Heads, A>::item_writers, 4 * ScorePolicy<A>::consumers);
}
__device__ inline void fetch_maps(const ScoreTask& task) {
  for (const CUtensorMap* map : {&task.query_map, &task.key_map, &task.scale_map})
    fetch_map(*map);
}

/// Empties the bins of pairs, which the next kernel lists, and packs the weights of their queries.
/// By the producers, so that the consumers' code stays what it is without.
template <int Heads>
__device__ void prepare_pairs(const ScoreTask& task) {
  const PairBuffers& to = task.prepares;
  if (to.weights == nullptr)
    return;
  begin_kernel();
  unsigned const first = blockIdx.x * 128 + threadIdx.x % 128, step = gridDim.x * 128;
  for (unsigned bin = first; bin < static_cast<unsigned>(to.lists.bins); bin += step)
    *to.lists.count(static_cast<std::int32_t>(bin)) = 0;
  const float* const from = task.queries.weights + task.level.first * Heads;
  for (unsigned i = first; i < task.level.count * Heads; i += step)
    to.weights[i / Heads * packed_weights(Heads) +
               static_cast<unsigned>(weight_slot<Heads>(static_cast<int>(i % Heads)))] =
        relu_up * from[i];
}

template <int Heads, Arithmetic A>
__global__ void __launch_bounds__(ScorePolicy<A>::threads, 1)
    score_kernel(const __grid_constant__ ScoreTask task) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::uint8_t memory[];
  using P = ScorePolicy<A>;
  auto& storage = *reinterpret_cast<ScoreStorage<Heads, A>*>(memory);
  if (threadIdx.x == 0) {
    init_rings(storage, Producer<Heads, A>::tile_writers);
    storage.share.known.init(1);
    publish_barriers();
    fetch_maps(task);
  }
  __syncthreads();
  if (threadIdx.x < 128 * P::consumers) {
    raise_registers<P::consumer_registers>();
    Consumer<Heads, A>(task, storage).run();
  } else {
    lower_registers<P::producer_registers>();
    prepare_pairs<Heads>(task);
    Producer<Heads, A>(task, storage).run();
  }
#endif
}

} // namespace cuda
HISA_NAMESPACE_END
