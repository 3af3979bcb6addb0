// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The producer of the scoring kernel (hisa/cuda/score.cuh), and the shared memory that it fills.
#pragma once

#include <hisa/cuda/pieces.cuh>
#include <hisa/cuda/ring.cuh>
#include <hisa/cuda/tile.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// How the scoring kernel runs.
struct ScorePolicy {
  static constexpr int consumers = 3; ///< warpgroups
  static constexpr int producers = 4; ///< warps, which take the tiles in turn
  static constexpr int tiles = 15;    ///< buffers of the ring
  static constexpr int items = 2;     ///< buffers of queries
  static constexpr int threads = 128 * (1 + consumers);
  static constexpr int producer_registers = 32, consumer_registers = 160;
};

/// The queries of an item.
template <int Heads>
struct alignas(1024) ItemBuffer {                  // so that each query starts a swizzle period
  std::uint8_t values[group_queries][Heads * 128]; ///< swizzled rows, one per head
  float weights[group_queries][Heads];
};
struct ItemHeader {
  int tiles;
  std::int32_t limit[group_queries]; ///< candidates of each query, 0 for one that needs no scores
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
  RingBarriers<P::tiles> tile_ring;
  RingBarriers<P::items> item_ring;
};

/// Role of each warp of the last warpgroup. The first of them brings the queries too.
template <int Heads>
class Producer {
public:
  using Storage = ScoreStorage<Heads>;
  using P = ScorePolicy;

  __device__ Producer(const ScoreTask& task, Storage& s)
      : task_(task), s_(s), lane_(static_cast<int>(threadIdx.x) % 32),
        turn_(static_cast<int>(threadIdx.x) / 32 % P::producers), leads_(turn_ == 0),
        log2_(task.pieces.piece_log2), pieces_log2_(task.pieces.pieces_log2()),
        listed_(task.pieces.rows != nullptr) {
    tile_.advance(turn_);
  }

  __device__ void run() {
    std::int64_t const items = task_.groups() * task_.splits;
    for (std::int64_t item = blockIdx.x; item < items; item += gridDim.x) {
      group_ = item / task_.splits;
      find_tiles(static_cast<int>(item % task_.splits));
      if (leads_)
        copy_queries();
      fetched_ = first_ << pieces_log2_;
      if (listed_)
        next_rows_ = fetch_rows(fetched_);
      int tile = first_ + turn_;
      for (; tile < end_; tile += P::producers)
        copy_tile(tile);
      turn_ = tile - end_; // the turns go on in the next item
    }
    wait_copies(); // a CTA's memory must outlive its copies
  }

  /// Arrivals at a full tile and at a full item.
  static constexpr int tile_writers = 33, item_writers = 33;

private:
  const ScoreTask& task_;
  Storage& s_;
  int lane_;
  int turn_; ///< tiles until this warp's next one
  bool leads_;
  int log2_, pieces_log2_;
  bool listed_;
  Cursor<P::tiles> tile_;
  Cursor<P::items> item_;
  std::int64_t group_ = 0;
  int first_ = 0, end_ = 0; ///< tiles of the item, counted in the group
  std::int32_t low_ = 0;    ///< all rows: the first row of the group's tile 0
  // Lane q < group_queries; all rows: the query's row at position 0, and its positions.
  std::int32_t begin_ = 0, limit_ = 0;
  // Listed: first rows of 32 pieces from `fetched_ - 32`, one a lane, and of the 32 behind them.
  std::int32_t rows_ = 0, next_rows_ = 0;
  int fetched_ = 0;

  /// Which tiles the item has and which positions its queries want.
  __device__ void find_tiles(int split) {
    std::int64_t const i = group_ * group_queries + lane_;
    begin_ = limit_ = 0;
    std::int32_t low = INT32_MAX, high = 0;
    if (lane_ < group_queries && i < task_.level.count) {
      Visible const v = task_.level.visible(i);
      Candidates const c = task_.level.candidates(v, i);
      if (task_.level.must_score(task_.level.contest(c, v), v)) {
        limit_ = static_cast<std::int32_t>(c.count);
        low = begin_ = static_cast<std::int32_t>(task_.level.origin(v) + c.skip);
        high = low + limit_;
      }
    }
    low_ = __reduce_min_sync(0xffffffffu, low);
    high = __reduce_max_sync(0xffffffffu, high);
    std::int64_t const rows =
        listed_ ? std::int64_t(task_.pieces.counts[group_]) << log2_ : max(0, high - low_);
    std::int64_t const tiles = (rows + tile_keys - 1) / tile_keys;
    first_ = static_cast<int>(tiles * split / task_.splits);
    end_ = static_cast<int>(tiles * (split + 1) / task_.splits);
  }

  __device__ void copy_queries() {
    item_.wait_empty(s_.item_ring);
    ItemBuffer<Heads>& item = s_.items[item_.buffer];
    Barrier& full = s_.item_ring.full[item_.buffer];
    std::int64_t const first = task_.level.first + group_ * group_queries;
    int const queries = static_cast<int>(
        min(std::int64_t(group_queries), task_.level.count - group_ * group_queries));
    for (int i = lane_; i < queries * Heads; i += 32)
      copy_4(&item.weights[0][0] + i, task_.queries.weights + first * Heads + i);
    if (lane_ < group_queries)
      s_.headers[item_.buffer].limit[lane_] = limit_;
    __syncwarp();
    if (lane_ == 0) {
      s_.headers[item_.buffer].tiles = end_ - first_;
      full.arrive_expecting(queries * Heads * 128);
      for (int q = 0; q < queries; ++q)
        copy_box(item.values[q], task_.query_map, static_cast<std::int32_t>(first + q) * Heads,
                 full);
    }
    full.arrive_after_copies();
    item_.advance();
  }

  /// The first rows of 32 listed pieces, one a lane.
  __device__ std::int32_t fetch_rows(int piece) const {
    int const at = piece + lane_;
    return at < end_ << pieces_log2_ ? task_.pieces.rows[group_ * task_.pieces.pitch + at] : 0;
  }

  __device__ void copy_tile(int tile) {
    tile_.wait_empty(s_.tile_ring);
    Barrier& full = s_.tile_ring.full[tile_.buffer];
    if (listed_ && tile << pieces_log2_ >= fetched_) {
      rows_ = next_rows_;
      fetched_ += 32;
      next_rows_ = fetch_rows(fetched_);
    }
    if (listed_)
      copy_positions(tile);
    else
      set_positions(tile);
    __syncwarp();
    if (lane_ == 0)
      full.arrive_expecting(tile_keys * 128); // publishes set_positions
    __syncwarp();
    std::int32_t const piece_row = first_row(tile, lane_);
    if (lane_ < 1 << pieces_log2_)
      copy_box(s_.keys[tile_.buffer] + (lane_ << log2_) * 128, task_.key_map, piece_row, full);
    for (int r = lane_; r < tile_keys; r += 32) {
      std::int32_t const row = first_row(tile, r >> log2_) + (r & ((1 << log2_) - 1));
      copy_4(&s_.scales[tile_.buffer][r], task_.scales + min(row, task_.last_row));
    }
    full.arrive_after_copies();
    tile_.advance(P::producers);
  }

  /// The first row of a tile's i-th piece. All lanes call it.
  __device__ std::int32_t first_row(int tile, int i) const {
    if (!listed_)
      return low_ + tile * tile_keys;
    return __shfl_sync(0xffffffffu, rows_, (tile << pieces_log2_) + i - (fetched_ - 32));
  }
  __device__ void copy_positions(int tile) {
    std::int64_t const at = group_ * task_.pieces.pitch + (std::int64_t(tile) << pieces_log2_);
    if (lane_ < 1 << pieces_log2_)
      copy_16(&s_.positions[tile_.buffer][lane_], task_.pieces.positions + at + lane_);
    else if (lane_ == 31)
      copy_4(&s_.masks[tile_.buffer], task_.pieces.masks + (at >> pieces_log2_));
  }
  __device__ void set_positions(int tile) {
    std::int32_t const position = low_ + tile * tile_keys - begin_;
    bool const wanted = position < limit_ && position > -tile_keys;
    if (lane_ < group_queries)
      s_.positions[tile_.buffer][0].of[lane_] = wanted ? position : Positions::absent;
    std::uint32_t const mask = __ballot_sync(0xffffffffu, wanted && lane_ < group_queries);
    if (lane_ == 0)
      s_.masks[tile_.buffer] = mask;
  }
};

} // namespace cuda
HISA_NAMESPACE_END
