// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The scoring kernel of sm_90a the other way round, for tokens of kept blocks: keys stay, queries
/// pass by.
///
/// A *worker* is a warpgroup that multiplies, and a warp that brings what it needs. Each has an
/// equal share of the pairs of a query and a tile of keys (hisa/gpu/pairs.hpp), in the order of the
/// tiles.
///   1. The CTA finds out which tiles are wanted, each warp then its worker's share;
///   2. the warp brings the heads and weights of a pair's query to a ring, and the tile if it is
///      not that of the pair before, all by the copy engine;
///   3. the warpgroup takes a tile's keys to registers, once for all its pairs; products and sums
///      of a pair are those of products.cuh, as in score.cuh, and so are the scores, to the bit.
/// The kernel that scores the level above has prepared the bins and the weights (prepare_pairs),
/// the one that keeps its blocks has listed the pairs.
#pragma once

#include <hisa/cuda/score.cuh>
#include <hisa/gpu/pairs.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

using gpu::Pair, gpu::PairShare;

/// A ScoreTask of pairs. Its pieces are none, and as such whole tiles, in whose boxes keys come.
struct PairTask : ScoreTask {
  PairLists pairs;
  CUtensorMap weight_map = {}; ///< of the packed weights, boxes of one query's
};

struct PairPolicy {
  static constexpr int workers = 3; ///< of a CTA
  static constexpr int buffers = 4; ///< of a worker's ring of queries
  static constexpr int tiles = 2;   ///< of its ring of keys
  /// In a round: a batch's; the ring's; the one that the elected lane still waits to bring when
  /// others write the next batch; and one whose reader has left, but may be late with its load.
  static constexpr int targets = 64;
  static_assert(targets >= 32 + buffers + 2);
  static constexpr int threads = 128 * (workers + 1);
  /// A thread's: see ScorePolicy.
  static constexpr int producer_registers = 56, consumer_registers = 152;
};

/// Which scores a pair has, and where they go.
struct alignas(16) PairTarget {
  float* scores;
  std::int32_t row, position, limit; ///< of its Pair
};

/// Shared memory of a worker. Each ring has one warp that fills and one warpgroup that empties it:
/// see ScorePolicy.
template <int Heads>
struct WorkerStorage {
  using P = PairPolicy;
  alignas(1024) std::uint8_t keys[P::tiles][tile_keys * 128];       ///< swizzled
  alignas(1024) std::uint8_t values[P::buffers][Heads * 128];       ///< swizzled rows, one per head
  alignas(128) float scales[P::tiles][scale_pitch(tile_keys_log2)]; ///< of the keys
  alignas(128) float weights[P::buffers][(packed_weights(Heads) + 31) / 32 * 32];
  PairTarget targets[P::targets];
  RingBarriers<P::tiles> key_ring;
  RingBarriers<P::buffers> ring;
  std::uint32_t pairs; ///< of the share
  Barrier known;       ///< that number
};

template <int Heads>
struct PairStorage {
  WorkerStorage<Heads> workers[PairPolicy::workers];
  gpu::UsedBins used;
};

/// Role of a worker's warpgroup. Each pair has two products, one with each half of the keys: see
/// Consumer.
template <int Heads>
class PairConsumer {
public:
  using P = PairPolicy;
  __device__ PairConsumer(const PairTask& task, WorkerStorage<Heads>& s)
      : s_(s), lane_(held_in_register(static_cast<int>(threadIdx.x) % 32)),
        row_(held_in_register(summed_row(static_cast<int>(threadIdx.x)))),
        rows_{held_in_register(lane_ & 1), held_in_register(lane_ & 2)},
        weights_at_(held_in_register(HeadWeights<Heads>::begin(lane_))),
        scale_shift_(task.scale_shift), first_heads_(uniform_address(s.values[0])) {}

  __device__ void run() {
    s_.known.wait(0);
    if (std::uint32_t const pairs = uniform(s_.pairs); pairs > 0)
      score_pairs(pairs);
  }

private:
  WorkerStorage<Heads>& s_;
  int lane_, row_; ///< the row of a tile whose score this lane stores
  LaneRows rows_;  ///< whose sums it keeps
  int weights_at_; ///< bytes from a query's weights to this lane's
  std::int32_t scale_shift_;
  HeadsAddress first_heads_; ///< address of the heads in the ring's first buffer
  TileKeys<Arithmetic::native> keys_;
  std::int32_t keys_row_ = -1; ///< the first row of these
  float scale_ = 0;            ///< of this lane's
  Cursor<P::tiles> key_at_;
  Cursor<P::buffers> at_;
  int next_ = 0; ///< pair, counted in the share
  // Of the pair that is begun.
  HeadsAddress heads_ = 0;
  std::int32_t first_row_ = 0, position_ = 0; ///< of the pair; of this lane's row
  ScoreTarget target_ = {nullptr, 0};

  __device__ void score_pairs(std::uint32_t left) {
    ProductStream<Heads> products;
    Sums<ScoreTarget> sums;
    begin_pair();
    load_keys();
    products.begin(keys_, heads_);
    for (;;) {
      products.second_half(keys_, heads_, s_.weights[at_.buffer], weights_at_, rows_, sums,
                           [&](Sums<ScoreTarget>& to) {
                             to.target = target_, to.position = position_, to.scale = scale_;
                           });
      if (--left == 0)
        break;
      int const before = at_.buffer;
      at_.advance();
      bool const other_keys = begin_pair();
      wait_products<0>();
      leave(s_.ring.empty[before], lane_);
      if (other_keys) {
        leave_keys();
        load_keys();
      }
      products.next(keys_, heads_, sums);
    }
    products.end(rows_, sums);
  }

  /// Waits for the pair; returns whether it has other keys than the one before.
  __device__ bool begin_pair() {
    at_.wait_full(s_.ring);
    PairTarget const t = s_.targets[next_++ % P::targets];
    target_ = {t.scores, t.limit}, position_ = t.position + row_;
    heads_ = first_heads_ + static_cast<std::uint32_t>(at_.buffer * (Heads * 128 / 16));
    first_row_ = uniform(t.row);
    return first_row_ != keys_row_;
  }
  /// No products are under way.
  __device__ void load_keys() {
    key_at_.wait_full(s_.key_ring);
    keys_row_ = first_row_;
    keys_.load(s_.keys[key_at_.buffer]);
    scale_ = s_.scales[key_at_.buffer][((keys_row_ + scale_shift_) & 3) + row_];
  }
  /// Products have taken the keys from registers; the scale was asked for before. To arrive behind
  /// the loads is not enough: that does not wait for them, and new keys came first.
  __device__ void leave_keys() {
    leave(s_.key_ring.empty[key_at_.buffer], lane_);
    key_at_.advance();
  }
};

/// Role of a worker's warp that brings what the others multiply.
template <int Heads>
class PairProducer {
public:
  using P = PairPolicy;
  __device__ PairProducer(const PairTask& task, WorkerStorage<Heads>& s, const gpu::UsedBins& used)
      : task_(task), s_(s), used_(used) {}

  /// @param worker   number of the worker
  /// @param workers  in all
  __device__ void run(unsigned worker, unsigned workers) {
    PairShare const share = pair_share(Warp(), task_.pairs, used_, worker, workers);
    if (Warp().lane() == 0) {
      s_.pairs = share.count;
      s_.known.arrive();
    }
    std::uint32_t left = share.count;
    if (left == 0)
      return;
    Batch next = ask(share.bin, share.begin);
    while (left > 0) {
      Batch const batch = next;
      std::uint32_t const count = min(min(left, 32u), batch.of_bin - batch.begin);
      left -= count;
      if (left > 0) // asked for before it is needed
        next = batch.begin + count < batch.of_bin
                   ? ask(batch.bin, batch.begin + count)
                   : ask(used_bin(Warp(), task_.pairs, used_, batch.bin + 1), 0);
      bring_pairs(batch.mine, static_cast<int>(count));
    }
  }

private:
  /// Pairs of a bin from `begin` on, one of each lane, and how many the bin has.
  struct Batch {
    std::int32_t bin;
    std::uint32_t begin, of_bin;
    Pair mine;
  };

  const PairTask& task_;
  WorkerStorage<Heads>& s_;
  const gpu::UsedBins& used_;
  std::int32_t keys_row_ = -1; ///< first row of the keys that were brought last
  int next_ = 0;               ///< pair, counted in the share
  Cursor<P::tiles> key_at_;    // these two are the elected lane's
  Cursor<P::buffers> at_;

  __device__ Batch ask(std::int32_t bin, std::uint32_t begin) const {
    Batch batch = {bin, begin, *task_.pairs.count(bin), {}};
    std::uint32_t const at = begin + static_cast<std::uint32_t>(Warp().lane());
    if (at < batch.of_bin)
      batch.mine = task_.pairs.of(bin)[at];
    return batch;
  }

  __device__ void bring_pairs(const Pair& mine, int count) {
    if (Warp().lane() < count)
      s_.targets[(next_ + Warp().lane()) % P::targets] = {task_.values + mine.query * task_.pitch,
                                                          mine.row, mine.position, mine.limit};
    next_ += count;
    __syncwarp();
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
      std::int32_t const query = __shfl_sync(0xffffffffu, mine.query, i),
                         row = __shfl_sync(0xffffffffu, mine.row, i);
      if (elected()) {
        bring_query(query);
        if (row != keys_row_)
          bring_keys(row);
      }
      keys_row_ = row;
    }
  }
  __device__ void bring_query(std::int32_t query) {
    at_.wait_empty(s_.ring);
    Barrier& full = s_.ring.full[at_.buffer];
    full.arrive_expecting(Heads * 128 + packed_weights(Heads) * 4); // publishes targets too
    copy_box(s_.values[at_.buffer], task_.query_map,
             (static_cast<std::int32_t>(task_.level.first) + query) * Heads, full);
    copy_line(s_.weights[at_.buffer], task_.weight_map, query * packed_weights(Heads), full);
    at_.advance();
  }
  __device__ void bring_keys(std::int32_t row) {
    key_at_.wait_empty(s_.key_ring);
    Barrier& full = s_.key_ring.full[key_at_.buffer];
    full.arrive_expecting(tile_keys * 128 + scale_line(tile_keys_log2) * 4);
    copy_box(s_.keys[key_at_.buffer], task_.key_map, row, full);
    copy_line(s_.scales[key_at_.buffer], task_.scale_map, (row + task_.scale_shift) & ~3, full);
    key_at_.advance();
  }
};

template <int Heads>
__global__ void __launch_bounds__(PairPolicy::threads, 1)
    pair_kernel(const __grid_constant__ PairTask task) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::uint8_t memory[];
  using P = PairPolicy;
  auto& storage = *reinterpret_cast<PairStorage<Heads>*>(memory);
  if (threadIdx.x == 0) {
    for (WorkerStorage<Heads>& worker : storage.workers) {
      worker.ring.init(1, 4);
      worker.key_ring.init(1, 4);
      worker.known.init(1);
    }
    publish_barriers();
    fetch_maps(task);
    fetch_map(task.weight_map);
  }
  begin_kernel();
  find_used(Cta<P::threads>(), task.pairs, storage.used);
  __syncthreads(); // what is used, and the barriers
  if (threadIdx.x < 128 * P::workers) {
    raise_registers<P::consumer_registers>();
    PairConsumer<Heads>(task, storage.workers[uniform(threadIdx.x / 128)]).run();
  } else {
    lower_registers<P::producer_registers>();
    unsigned const worker = uniform(threadIdx.x / 32 % 4);
    if (worker < P::workers)
      PairProducer<Heads>(task, storage.workers[worker], storage.used)
          .run(blockIdx.x * P::workers + worker, gridDim.x * P::workers);
  }
#endif
}

} // namespace cuda
HISA_NAMESPACE_END
