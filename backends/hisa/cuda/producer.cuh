// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The producer of the scoring kernel (hisa/cuda/score.cuh), and the shared memory that it fills.
#pragma once

#include <hisa/cuda/items.cuh>
#include <hisa/cuda/operands.cuh>
#include <hisa/cuda/ring.cuh>
#include <hisa/cuda/sums.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// How the scoring kernel runs.
template <Arithmetic A>
struct ScorePolicy {
  static constexpr int consumers = 3;                                         ///< warpgroups
  static constexpr int tiles = (A == Arithmetic::native ? 2 : 1) * consumers; ///< of the ring
  static constexpr int items = 2; ///< buffers of queries
  /// A barrier tells two rounds apart, not three: who waits for a round of a buffer must have seen
  /// the round before. So each buffer of tiles has one warpgroup that empties it, and one warp that
  /// fills it; items every warpgroup waits for, each of them.
  static_assert(tiles % consumers == 0);
  static constexpr int threads = 128 * (1 + consumers);
  /// A thread's: together four times the 128 that a CTA of 512 threads starts with.
  static constexpr int producer_registers = A == Arithmetic::native ? 104 : 80,
                       consumer_registers = A == Arithmetic::native ? 136 : 144;
};

/// A query of an item.
template <int Heads, class Target = ScoreTarget>
struct QueryItem {
  alignas(16) float weights[4 * weights_pitch<Heads>]; ///< see weight_slot
  Target target;
};

/// The queries of an item.
template <int Heads, Arithmetic A, class Target = ScoreTarget>
struct alignas(1024) ItemBuffer { // so that each query starts a swizzle period
  std::uint8_t values[group_queries][query_bytes<Heads, A>]; ///< swizzled rows, one per head
  QueryItem<Heads, Target> queries[group_queries];
};
struct alignas(8) ItemHeader {
  std::int32_t tiles;
  std::int32_t last; ///< whether the CTA's last
};

/// Pieces of a tile, which have 8 rows at least.
inline constexpr int max_pieces = tile_keys / 8;
/// The copy engine takes floats from multiples of 16 bytes on, to multiples of 128 bytes: so many
/// for the scales of a piece, the first of which may be the fourth of them.
__host__ __device__ constexpr int scale_line(int piece_log2) {
  return (1 << piece_log2) + 4;
}
/// Floats from the scales of one piece of a tile to those of the next.
__device__ constexpr int scale_pitch(int piece_log2) {
  return (scale_line(piece_log2) + 31) / 32 * 32;
}

template <int Heads, Arithmetic A, class Target = ScoreTarget>
struct ScoreStorage {
  using P = ScorePolicy<A>;
  alignas(1024) std::uint8_t keys[P::tiles][tile_keys * 128]; ///< swizzled
  alignas(1024) ItemBuffer<Heads, A, Target> items[P::items];
  alignas(128) float scales[P::tiles][max_pieces * 32]; ///< the largest of all piece sizes
  Positions positions[P::tiles][max_pieces];            ///< of a tile's pieces
  int scale_offsets[P::tiles][max_pieces];              ///< of a piece's first scale in its line
  std::uint32_t masks[P::tiles];                        ///< queries that want the tile
  ItemHeader headers[P::items];
  KnownShare share;
  RingBarriers<P::tiles> tile_ring;
  RingBarriers<P::items> item_ring;
};

/// Role of each warp of the last warpgroup: one for the tiles of each consumer, the last for the
/// queries.
/// @tparam Task  ScoreTask, or one that has other targets
template <int Heads, Arithmetic A, class Task = ScoreTask>
class Producer {
public:
  using Target = typename Task::Target;
  using Storage = ScoreStorage<Heads, A, Target>;
  using P = ScorePolicy<A>;

  __device__ Producer(const Task& task, Storage& s)
      : task_(task), s_(s), lane_(static_cast<int>(threadIdx.x) % 32),
        turn_(static_cast<int>(threadIdx.x) / 32 % 4), brings_queries_(turn_ == P::consumers),
        log2_(task.pieces.piece_log2), pieces_log2_(task.pieces.pieces_log2()),
        listed_(task.pieces.rows != nullptr) {
    tile_.advance(turn_);
  }

  __device__ void run() {
    if (listed_)
      bring(shared_items(task_, s_.share, brings_queries_));
    else
      bring(cut_items(task_));
    wait_copies(); // a CTA's memory must outlive its copies
  }

  /// Arrivals at a full tile and at a full item.
  static constexpr int tile_writers = 33, item_writers = A == Arithmetic::native ? 33 : 32;

protected:
  const Task& task_;
  Storage& s_;
  int lane_;
  int turn_; ///< tiles until this warp's next one
  bool brings_queries_;
  int log2_, pieces_log2_;
  bool listed_;
  Cursor<P::tiles> tile_;
  Cursor<P::items> item_;
  Item at_;
  std::int32_t low_ = 0, rows_ = 0; ///< all rows: the first of the group's tile 0, and how many
  // Lane q < group_queries: the query's row at position 0, which matters where not `listed_`, and
  // its candidates, 0 if it needs no scores. Boundary blocks are among them, whose pooled row may
  // not be written: their scores are stored, but never looked at (Contest, ContestRow::hidden).
  std::int32_t begin_ = 0, limit_ = 0;
  std::int32_t next_row_ = 0; ///< lane p: the first row of piece p of this warp's next tile

  template <class Left>
  __device__ void bring(Items<Left> items) {
    if (brings_queries_ && items.whole())
      begin_kernel_reading(listed_); // behind the kernel that lists; copy_queries waits
    else
      begin_kernel();
    do {
      at_ = items.next();
      if (brings_queries_)
        copy_queries();
      else
        copy_tiles();
    } while (!at_.last);
  }

  /// What each of the item's queries wants, and the rows that they span.
  __device__ void find_candidates() {
    std::int64_t const i = at_.group * group_queries + lane_;
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
    rows_ = max(0, __reduce_max_sync(0xffffffffu, high) - low_);
  }
  /// How many tiles the item has. Of all rows, after find_candidates.
  __device__ void count_tiles() {
    int const tiles = listed_ ? task_.pieces.tiles(at_.group) : (rows_ + tile_keys - 1) / tile_keys;
    at_.tiles = max(0, min(at_.tiles, (tiles - at_.first + at_.step - 1) / at_.step));
  }

  /// Starts to bring the item's queries.
  __device__ void copy_heads() {
    item_.wait_empty(s_.item_ring);
    ItemBuffer<Heads, A, Target>& item = s_.items[item_.buffer];
    Barrier& full = s_.item_ring.full[item_.buffer];
    std::int64_t const in_level = at_.group * group_queries, first = task_.level.first + in_level;
    int const queries =
        static_cast<int>(min(std::int64_t(group_queries), task_.level.count - in_level));
    if constexpr (A == Arithmetic::precise) {
      widen_queries(item, first, queries);
    } else if (lane_ == 0) {
      full.arrive_expecting(queries * Heads * 128);
      for (int q = 0; q < queries; ++q)
        copy_box(item.values[q], task_.query_map, static_cast<std::int32_t>(first + q) * Heads,
                 full);
    }
    for (int i = lane_; i < queries * Heads; i += 32)
      item.queries[i / Heads].weights[weight_slot<Heads>(i % Heads)] =
          relu_up * task_.queries.weights[first * Heads + i];
  }
  /// The item's queries are on their way.
  /// @param target  lane q < group_queries: where query q has its scores
  __device__ void end_item(const Target& target) {
    if (lane_ < group_queries)
      s_.items[item_.buffer].queries[lane_].target = target;
    if (lane_ == 0)
      s_.headers[item_.buffer] = {at_.tiles, at_.last};
    s_.item_ring.full[item_.buffer].arrive();
    item_.advance();
  }
  __device__ void copy_queries() {
    copy_heads();
    begin_kernel();
    find_candidates();
    count_tiles();
    end_item(task_.target(at_, lane_, limit_));
  }
  __device__ void widen_queries(ItemBuffer<Heads, A, Target>& item, std::int64_t first,
                                int queries) {
    constexpr int chunks = Heads * 8, batch = 8; // a query's, of 16 dimensions
    auto const from = reinterpret_cast<const uint4*>(task_.queries.values + first * Heads * 128);
    for (int i = lane_; i < queries * chunks; i += 32 * batch) {
      uint4 codes[batch]; // all asked for before the first is used
#pragma unroll
      for (int j = 0; j < batch; ++j)
        codes[j] = from[i + 32 * j];
#pragma unroll
      for (int j = 0; j < batch; ++j) {
        int const at = (i + 32 * j) % chunks;
        store_wide<Heads>(item.values[i / chunks], at / 8, at % 8, codes[j]);
      }
    }
    static_assert(chunks % (32 * batch) == 0);
    publish_stores();
  }

  /// Lane p: the first row of piece p of the item's i-th tile, if there are so many.
  __device__ std::int32_t first_row(int i) const {
    if (i >= at_.tiles)
      return 0;
    if (!listed_)
      return low_ + tile(i) * tile_keys;
    int const at = (tile(i) << pieces_log2_) + lane_;
    return lane_ < 1 << pieces_log2_ ? task_.pieces.rows[at_.group * task_.pieces.pitch + at] : 0;
  }

  __device__ void copy_tiles() {
    if (!listed_)
      find_candidates();
    count_tiles();
    int i = turn_;
    next_row_ = first_row(i);
    for (; i < at_.tiles; i += P::consumers) {
      std::int32_t const row = next_row_;
      next_row_ = first_row(i + P::consumers); // asked for before it is needed
      copy_tile(row, tile(i));
    }
    turn_ = i - at_.tiles; // the turns go on in the next item
  }
  /// The item's i-th tile, counted in the group.
  __device__ int tile(int i) const {
    return at_.first + i * at_.step;
  }

  __device__ void copy_tile(std::int32_t row, int tile) {
    tile_.wait_empty(s_.tile_ring);
    Barrier& full = s_.tile_ring.full[tile_.buffer];
    std::int32_t const scale = row + task_.scale_shift;
    if (listed_)
      copy_positions(tile);
    else
      set_positions(tile);
    if (lane_ < 1 << pieces_log2_)
      s_.scale_offsets[tile_.buffer][lane_] = scale & 3;
    __syncwarp();
    if (lane_ == 0) // publishes what the lanes have stored
      full.arrive_expecting(tile_keys * 128 + (scale_line(log2_) * 4 << pieces_log2_));
    __syncwarp();
    if (lane_ < 1 << pieces_log2_) {
      copy_box(s_.keys[tile_.buffer] + (lane_ << log2_) * 128, task_.key_map, row, full);
      copy_line(s_.scales[tile_.buffer] + lane_ * scale_pitch(log2_), task_.scale_map, scale & ~3,
                full);
    }
    full.arrive_after_copies();
    tile_.advance(P::consumers);
  }

  __device__ void copy_positions(int tile) {
    std::int64_t const at = at_.group * task_.pieces.pitch + (std::int64_t(tile) << pieces_log2_);
    if (lane_ < 1 << pieces_log2_)
      copy_16(&s_.positions[tile_.buffer][lane_], task_.pieces.positions + at + lane_);
    else if (lane_ == 31)
      copy_4(&s_.masks[tile_.buffer], task_.pieces.masks_of(at_.group) + tile);
  }
  __device__ void set_positions(int tile) {
    std::int32_t const position = low_ + tile * tile_keys - begin_;
    bool const wanted = position < limit_ && position > -tile_keys;
    if (lane_ < group_queries)
      s_.positions[tile_.buffer][0].of[lane_] =
          wanted ? Target::mark(position, lane_) : Positions::absent;
    std::uint32_t const mask = __ballot_sync(0xffffffffu, wanted && lane_ < group_queries);
    if (lane_ == 0)
      s_.masks[tile_.buffer] = mask;
  }
};

} // namespace cuda
HISA_NAMESPACE_END
