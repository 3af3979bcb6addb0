// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The scoring kernel of sm_90a: one kernel for pooled rows and tokens, all rows or listed ones.
///
/// A CTA works on *items*, a group of four neighbouring queries and a range of key tiles each.
///   1. The producer warpgroup copies an item's queries to shared memory, then, tile by tile, 64 keys
///      with their scales and positions into a ring.
///   2. Three consumer warpgroups take the tiles in turn. Each holds the head weights of the four
///      queries in registers and loads a tile's keys into registers;
///   3. for each query that wants the tile, the tensor core multiplies the keys with the query's
///      heads, while the products of the query before are weighted, summed over heads and stored.
#pragma once

#include <hisa/cuda/mma.cuh>
#include <hisa/cuda/pieces.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// How the scoring kernel runs.
struct ScorePolicy {
  static constexpr int consumers = 3; ///< warpgroups
  static constexpr int tiles = 12;    ///< buffers of the ring
  static constexpr int items = 2;     ///< buffers of queries
  static constexpr int listed = 2048; ///< pieces of an item
  static constexpr int threads = 128 * (1 + consumers);
  static constexpr int producer_registers = 56, consumer_registers = 152;
};

/// The queries of an item.
template <int Heads>
struct alignas(1024) ItemBuffer { // so that each query starts a swizzle period
  std::uint8_t values[group_queries][Heads * 128]; ///< swizzled rows, one per head
  float weights[group_queries][Heads];
};
struct ItemHeader {
  int tiles;
  std::int32_t limit[group_queries]; ///< candidates of each query, 0 for one that needs no scores
  std::int64_t begin[group_queries]; ///< all rows: the row at a query's position 0
};

template <int Heads>
struct ScoreStorage {
  using P = ScorePolicy;
  alignas(1024) std::uint8_t keys[P::tiles][tile_keys * 128]; ///< swizzled
  alignas(1024) ItemBuffer<Heads> items[P::items];
  Positions positions[P::tiles][8]; ///< of a tile's pieces
  float scales[P::tiles][tile_keys];
  std::uint32_t masks[P::tiles]; ///< queries that want the tile
  ItemHeader headers[P::items];
  std::int32_t listed[P::listed]; ///< the producer's: first rows of the item's pieces
  RingBarriers<P::tiles> tile_ring;
  RingBarriers<P::items> item_ring;
};

/// The tiles of an item.
struct ItemTiles {
  std::int64_t low = 0; ///< all rows: the first row of the group's tile 0
  int first = 0, count = 0;
};

/// Role of warpgroup 0.
template <int Heads>
class Producer {
public:
  using Storage = ScoreStorage<Heads>;
  using P = ScorePolicy;

  __device__ Producer(const ScoreTask& task, Storage& s)
      : task_(task), s_(s), thread_(static_cast<int>(threadIdx.x) % 128) {}

  __device__ void run() {
    std::int64_t const items = task_.groups() * task_.splits;
    for (std::int64_t item = blockIdx.x; item < items; item += gridDim.x) {
      group_ = item / task_.splits;
      item_.wait_empty(s_.item_ring);
      find_tiles(static_cast<int>(item % task_.splits));
      copy_queries();
      if (task_.pieces.rows != nullptr)
        copy_list();
      for (int tile = 0; tile < tiles_.count; ++tile)
        copy_tile(tile);
      item_.advance();
    }
    wait_copies(); // a CTA's memory must outlive its copies
  }

private:
  const ScoreTask& task_;
  Storage& s_;
  int thread_;
  Cursor<P::tiles> tile_;
  Cursor<P::items> item_;
  std::int64_t group_ = 0;
  ItemTiles tiles_;

  /// Which tiles the item has and which positions its queries want.
  __device__ void find_tiles(int split) {
    ItemHeader& header = s_.headers[item_.buffer];
    std::int64_t low = INT64_MAX, high = 0;
#pragma unroll 1
    for (int q = 0; q < group_queries; ++q) {
      std::int64_t const i = group_ * group_queries + q;
      std::int32_t limit = 0;
      std::int64_t begin = 0;
      if (i < task_.level.count) {
        Visible const v = task_.level.visible(i);
        Candidates const c = task_.level.candidates(v, i);
        if (task_.level.must_score(task_.level.contest(c, v))) {
          limit = static_cast<std::int32_t>(c.count);
          begin = task_.level.origin(v) + c.skip;
          low = min(low, begin), high = max(high, begin + limit);
        }
      }
      if (thread_ == tile_keys) {
        header.limit[q] = limit;
        header.begin[q] = begin;
      }
    }
    std::int64_t rows = low < high ? high - low : 0;
    if (task_.pieces.rows != nullptr)
      rows = std::int64_t(task_.pieces.counts[group_]) << task_.pieces.piece_log2;
    std::int64_t const tiles = (rows + tile_keys - 1) / tile_keys;
    tiles_.low = low;
    tiles_.first = static_cast<int>(tiles * split / task_.splits);
    tiles_.count = static_cast<int>(tiles * (split + 1) / task_.splits) - tiles_.first;
    if (thread_ == tile_keys)
      header.tiles = tiles_.count;
  }

  __device__ void copy_queries() {
    ItemBuffer<Heads>& item = s_.items[item_.buffer];
    std::int64_t const first = task_.level.first + group_ * group_queries;
    int const queries = static_cast<int>(
        min(std::int64_t(group_queries), task_.level.count - group_ * group_queries));
    auto const* values = reinterpret_cast<const std::uint8_t*>(task_.queries.values) +
                         first * Heads * 128;
    for (int i = thread_; i < queries * Heads * 8; i += 128)
      copy_16(&item.values[0][0] + swizzled(i / 8, i % 8), values + i * 16);
    for (int i = thread_; i < queries * Heads; i += 128)
      copy_4(&item.weights[0][0] + i, task_.queries.weights + first * Heads + i);
    wait_copies();
    fence_for_tensor_core();
    s_.item_ring.full[item_.buffer].arrive();
  }

  __device__ void copy_list() {
    synchronise(); // the rows of the item before have been read
    int const log2 = task_.pieces.pieces_log2();
    auto const* rows = task_.pieces.rows + group_ * task_.pieces.pitch + (tiles_.first << log2);
    for (int i = thread_; i < tiles_.count << log2; i += 128)
      s_.listed[i] = rows[i];
    synchronise();
  }
  __device__ static void synchronise() { asm volatile("bar.sync 1, 128;" ::: "memory"); }

  /// @param tile  counted in the item
  __device__ void copy_tile(int tile) {
    tile_.wait_empty(s_.tile_ring);
    std::uint8_t* const keys = s_.keys[tile_.buffer];
    auto const* values = reinterpret_cast<const std::uint8_t*>(task_.rows) + thread_ % 8 * 16;
    for (int r = thread_ / 8; r < tile_keys; r += 16)
      copy_16(keys + swizzled(r, thread_ % 8), values + row(tile, r) * task_.row_stride);
    if (thread_ < tile_keys)
      copy_4(&s_.scales[tile_.buffer][thread_], task_.scales + row(tile, thread_));
    else if (task_.pieces.rows != nullptr)
      copy_positions(tiles_.first + tile, thread_ - tile_keys);
    else if (thread_ == tile_keys)
      set_positions(tiles_.first + tile);
    Barrier& full = s_.tile_ring.full[tile_.buffer];
    full.arrive_after_copies();
    if (thread_ == tile_keys)
      full.arrive(); // publishes set_positions
    tile_.advance();
  }

  /// The buffer's row behind row r of a tile. Rows that nobody sees may lie beyond the buffer.
  __device__ std::int64_t row(int tile, int r) const {
    if (task_.pieces.rows == nullptr)
      return min(tiles_.low + std::int64_t(tiles_.first + tile) * tile_keys + r,
                 task_.row_count - 1);
    int const log2 = task_.pieces.piece_log2;
    std::int64_t const first = s_.listed[(tile << task_.pieces.pieces_log2()) + (r >> log2)];
    return min(first + (r & ((1 << log2) - 1)), task_.row_count - 1);
  }
  __device__ void copy_positions(int tile, int i) {
    int const pieces = 1 << task_.pieces.pieces_log2();
    std::int64_t const at = group_ * task_.pieces.pitch + std::int64_t(tile) * pieces;
    if (i < pieces)
      copy_16(&s_.positions[tile_.buffer][i], task_.pieces.positions + at + i);
    else if (i == 32)
      copy_4(&s_.masks[tile_.buffer], task_.pieces.masks + at / pieces);
  }
  __device__ void set_positions(int tile) {
    const ItemHeader& header = s_.headers[item_.buffer];
    std::uint32_t mask = 0;
    for (int q = 0; q < group_queries; ++q) {
      std::int64_t const position = tiles_.low + std::int64_t(tile) * tile_keys - header.begin[q];
      bool const wanted = position < header.limit[q] && position > -tile_keys;
      s_.positions[tile_.buffer][0].of[q] =
          wanted ? static_cast<std::int32_t>(position) : Positions::absent;
      mask |= std::uint32_t(wanted) << q;
    }
    s_.masks[tile_.buffer] = mask;
  }
};

/// Role of the other warpgroups.
template <int Heads>
class Consumer {
public:
  using Storage = ScoreStorage<Heads>;
  using P = ScorePolicy;

  __device__ Consumer(const ScoreTask& task, Storage& s)
      : task_(task), s_(s), lane_(static_cast<int>(threadIdx.x) % 32) {
    int const warp = static_cast<int>(threadIdx.x) / 32 % 4;
    row_ = 16 * warp + lane_ / 4 + 8 * (lane_ & 1);
    turn_ = static_cast<int>(threadIdx.x) / 128 - 1;
    tile_.advance(turn_);
  }

  __device__ void run() {
    std::int64_t const items = task_.groups() * task_.splits;
    for (std::int64_t item = blockIdx.x; item < items; item += gridDim.x) {
      item_.wait_full(s_.item_ring);
      load_weights();
      values_ = task_.values + item / task_.splits * group_queries * task_.pitch;
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
  float* values_ = nullptr; ///< of the group's first query
  float weights_[group_queries][Heads / 4];

  // Scaled down, every dot product of finite fp8 values is in [-1, 1], so that saturation is the ReLU,
  // exactly, NaN counting 0; the weights are scaled up.
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
    keys.load(s_.keys[tile_.buffer]);
    std::uint32_t const mask = __shfl_sync(0xffffffffu, s_.masks[tile_.buffer], 0);
    score_wanted<group_queries, 0>(mask, keys);
    leave(s_.tile_ring.empty[tile_.buffer]);
    tile_.advance(P::consumers);
  }

  /// Turns the tile's queries into a compile-time set, one bit at a time from the last query down: the
  /// tensor core's asynchronous products need code without branches.
  template <int Bits, unsigned Wanted>
  __device__ void score_wanted(std::uint32_t mask, const KeyFragment& keys) const {
    if constexpr (Bits > 0) {
      if (mask >> (Bits - 1) & 1)
        score_wanted<Bits - 1, (Wanted | 1u << (Bits - 1))>(mask, keys);
      else
        score_wanted<Bits - 1, Wanted>(mask, keys);
    } else if constexpr (Wanted != 0) {
      DotProducts<Heads> p[2];
      start<lowest(Wanted)>(p[0], keys);
      score_queries<Wanted>(p[0], p[1], keys);
    }
  }
  __device__ static constexpr int lowest(unsigned set) { return set & 1 ? 0 : 1 + lowest(set >> 1); }

  template <int Query>
  __device__ void start(DotProducts<Heads>& p, const KeyFragment& keys) const {
    start_products(p, keys, tile_descriptor(s_.items[item_.buffer].values[Query]));
  }

  /// Scores the queries of a set; the products of the first are under way in `now`.
  template <unsigned Set>
  __device__ void score_queries(DotProducts<Heads>& now, DotProducts<Heads>& next,
                                const KeyFragment& keys) const {
    constexpr int query = lowest(Set);
    constexpr unsigned rest = Set & (Set - 1);
    if constexpr (rest != 0) {
      start<lowest(rest)>(next, keys);
      wait_products<1>();
    } else {
      wait_products<0>();
    }
    store(query, sum_heads(now, weights_[query]));
    if constexpr (rest != 0)
      score_queries<rest>(next, now, keys);
  }

  /// sum_j w_j relu(dot_j) of the tile's row_: two chains over a lane's heads, then over the quad.
  __device__ float sum_heads(const DotProducts<Heads>& p, const float (&w)[Heads / 4]) const {
    float lower[2] = {}, upper[2] = {}; // rows g and g + 8
#pragma unroll
    for (int i = 0; i < Heads / 4; ++i) {
      int const at = i / 2 * 4 + i % 2;
      lower[i % 2] = fmaf(w[i], __saturatef(p.values[at] * down), lower[i % 2]);
      upper[i % 2] = fmaf(w[i], __saturatef(p.values[at + 2] * down), upper[i % 2]);
    }
    float const a = lower[0] + lower[1], b = upper[0] + upper[1];
    bool const odd = lane_ & 1; // odd lanes go on with the upper row, even ones with the lower
    float sum = (odd ? b : a) + __shfl_xor_sync(0xffffffffu, odd ? a : b, 1);
    return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
  }

  /// Scales the sum of the tile's row_ and stores it, if the row is a candidate of the query.
  __device__ void store(int q, float sum) const {
    int const log2 = task_.pieces.piece_log2;
    std::uint32_t const position = static_cast<std::uint32_t>(
        s_.positions[tile_.buffer][row_ >> log2].of[q] + (row_ & ((1 << log2) - 1)));
    auto const limit = static_cast<std::uint32_t>(s_.headers[item_.buffer].limit[q]);
    if ((lane_ & 2) == 0 && position < limit)
      values_[q * task_.pitch + position] = s_.scales[tile_.buffer][row_] * sum;
  }
};

template <int Heads>
__global__ void __launch_bounds__(ScorePolicy::threads, 1)
    score_kernel(const __grid_constant__ ScoreTask task) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& storage = *reinterpret_cast<ScoreStorage<Heads>*>(memory);
  if (threadIdx.x == 0) {
    storage.tile_ring.init(129, 4);
    storage.item_ring.init(128, 4 * ScorePolicy::consumers);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(ScorePolicy::producer_registers));
    Producer<Heads>(task, storage).run();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(ScorePolicy::consumer_registers));
    Consumer<Heads>(task, storage).run();
  }
#endif
}

} // namespace cuda
HISA_NAMESPACE_END
