// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The flat kernel of sm_90a: scores of all rows of which none is stored for longer than it takes
/// to see whether it may win.
///
/// The scoring kernel (score.cuh) with other items and one role more. A CTA works on whole groups
/// of queries, *chunk* by chunk of their keys, an item each:
///   1. the producer, one warp, brings everything; consumers leave a chunk's scores in one of some
///      buffers of the CTA, which the second cache holds;
///   2. the listers, the other warps of its warpgroup, add what of them may win to a list of each
///      query (hisa/gpu/running.hpp), while the next chunks are multiplied.
/// The k best of a list are chosen by another kernel (tokens.cuh). The memory that all this takes
/// does not depend on how many keys there are.
#pragma once

#include <hisa/cuda/contenders.cuh>
#include <hisa/cuda/sample.cuh>
#include <hisa/cuda/score.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// A ScoreTask of all rows; `values` are the buffers: [CTAs, FlatSizes::buffers]. Targets and
/// positions of the scoring kernel are places in a chunk.
struct FlatTask : ScoreTask {
  ContenderLists lists;
  FailedGroups failed; ///< those to work on; without: all

  __device__ std::int64_t items() const {
    return failed.count == nullptr ? groups() : *failed.count;
  }
  __device__ std::int64_t group(std::int64_t item) const {
    return failed.count == nullptr ? item : failed.list[item];
  }

  /// The scores of query q of a group in a buffer of this CTA.
  __device__ float* chunk(int buffer, int q) const {
    std::int64_t const row =
        (std::int64_t(blockIdx.x) * FlatSizes::chunks + buffer) * group_queries + q;
    return values + row * FlatSizes::chunk;
  }
};

/// Whose scores a buffer has.
struct Chunk {
  std::int32_t first[group_queries]; ///< a query's position of the chunk's first row
  std::int32_t limit[group_queries]; ///< candidates of a query, 0: it needs no scores
  std::int64_t group;
  std::int32_t rows;
  bool begins, ends; ///< the group's first, its last
  bool last;         ///< of the CTA
};

struct ListerStorage {
  FlatSizes::Storage select;
  Barrier meeting;
  gpu::ContenderList lists[FlatSizes::listers / 32][group_queries]; ///< of each warp its own
};

template <int Heads, Arithmetic A>
struct FlatStorage {
  using Ring = RingBarriers<FlatSizes::chunks>;
  ScoreStorage<Heads, A> score;
  ListerStorage lister;
  Chunk chunks[FlatSizes::chunks];
  Ring chunk_ring;
};

/// Role of the warps that list contenders.
class Lister {
public:
  using Ring = RingBarriers<FlatSizes::chunks>;
  __device__ Lister(const FlatTask& task, ListerStorage& s, const Chunk* chunks, Ring& ring)
      : task_(task), lists_(s.lists[threadIdx.x % 128 / 32]), chunks_(chunks), ring_(ring),
        g_(s.meeting), select_(g_, s.select) {
    prepare(g_, s.select);
  }

  __device__ void run() {
    bool last = false;
    for (Cursor<FlatSizes::chunks> at; !last; at.advance()) {
      at.wait_full(ring_);
      last = chunks_[at.buffer].last;
#pragma unroll 1
      for (int q = 0; q < group_queries; ++q)
        take(chunks_[at.buffer], at.buffer, q);
      __syncwarp();
      if (g_.lane() % 32 == 0)
        ring_.empty[at.buffer].arrive();
    }
  }

private:
  const FlatTask& task_;
  gpu::ContenderList (&lists_)[group_queries];
  const Chunk* chunks_;
  Ring& ring_;
  Part<FlatSizes::listers> g_;
  FlatSizes::Select select_;

  __device__ void take(const Chunk& chunk, int buffer, int q) {
    std::int64_t const i = chunk.group * group_queries + q;
    gpu::ContenderList list;
    if (!chunk.begins)
      list = lists_[q];
    list.contenders = task_.lists.of(i); // so that the compiler knows: global memory
    std::int32_t const begin = max(0, -chunk.first[q]);
    std::int32_t const end = min(chunk.rows, chunk.limit[q] - chunk.first[q]);
    select_.take(list, static_cast<std::int32_t>(task_.level.budget),
                 {task_.chunk(buffer, q), static_cast<std::uint32_t>(begin),
                  static_cast<std::uint32_t>(max(begin, end))},
                 chunk.first[q]);
    __syncwarp();
    if (g_.lane() % 32 == 0)
      lists_[q] = list;
    if (g_.lane() == 0 && chunk.ends)
      task_.lists.counts[i] = list.count;
    __syncwarp();
  }
};

/// Role of the warp that brings everything.
template <int Heads, Arithmetic A>
class ChunkProducer : Producer<Heads, A> {
  using Base = Producer<Heads, A>;
  using Base::at_, Base::lane_, Base::low_, Base::begin_, Base::limit_;

public:
  static constexpr int tile_writers = 1; ///< arrivals at a full tile

  __device__ ChunkProducer(const FlatTask& task, FlatStorage<Heads, A>& s)
      : Base(task, s.score), flat_(task), chunks_(s.chunks), ring_(s.chunk_ring) {
    this->tile_ = {}; // it brings them all
  }

  __device__ void run() {
    begin_kernel();
    std::int64_t const items = flat_.items();
    for (std::int64_t item = blockIdx.x; item < items; item += gridDim.x) {
      at_.group = flat_.group(item);
      this->find_candidates();
      int const all = (this->rows_ + tile_keys - 1) / tile_keys;
      at_.first = 0;
      do {
        at_.tiles = min(FlatSizes::tiles, all - at_.first);
        bool const ends = at_.first + FlatSizes::tiles >= all;
        at_.last = ends && item + gridDim.x >= items;
        begin_chunk(ends);
        for (int i = 0; i < at_.tiles; ++i)
          copy_tile(at_.first + i, i * tile_keys);
        at_.first += FlatSizes::tiles;
      } while (at_.first < all);
    }
  }

private:
  const FlatTask& flat_;
  Chunk* chunks_;
  typename FlatStorage<Heads, A>::Ring& ring_;
  Cursor<FlatSizes::chunks> chunk_;

  __device__ void begin_chunk(bool ends) {
    chunk_.wait_empty(ring_);
    Chunk& c = chunks_[chunk_.buffer];
    std::int32_t const first = low_ + at_.first * tile_keys - begin_;
    if (lane_ < group_queries)
      c.first[lane_] = first, c.limit[lane_] = limit_;
    if (lane_ == 0) {
      c.group = at_.group, c.rows = at_.tiles * tile_keys;
      c.begins = at_.first == 0, c.ends = ends, c.last = at_.last;
    }
    this->copy_heads();
    this->end_item({flat_.chunk(chunk_.buffer, lane_ % group_queries), FlatSizes::chunk});
    chunk_.advance();
  }
  /// As the base's, of all rows and by the copy engine alone.
  /// @param place  where the tile's scores lie in the chunk
  __device__ void copy_tile(int tile, std::int32_t place) {
    auto& s = this->s_;
    int const buffer = this->tile_.buffer;
    std::int32_t const row = low_ + tile * tile_keys, scale = row + flat_.scale_shift;
    std::int32_t const position = row - begin_;
    bool const wanted = position < limit_ && position > -tile_keys;
    std::uint32_t const mask = __ballot_sync(0xffffffffu, lane_ < group_queries && wanted);
    if (lane_ == 0) { // which alone waits: another lane could miss a round that it has no part in
      this->tile_.wait_empty(s.tile_ring);
      Barrier& full = s.tile_ring.full[buffer];
#pragma unroll
      for (int q = 0; q < group_queries; ++q)
        s.positions[buffer][0].of[q] = (mask >> q & 1) != 0 ? place : Positions::absent;
      s.masks[buffer] = mask;
      s.scale_offsets[buffer][0] = scale & 3;
      full.arrive_expecting(tile_keys * 128 + scale_line(tile_keys_log2) * 4);
      copy_box(s.keys[buffer], flat_.key_map, row, full);
      copy_line(s.scales[buffer], flat_.scale_map, scale & ~3, full);
    }
    this->tile_.advance();
  }
};

template <int Heads, Arithmetic A>
__global__ void __launch_bounds__(ScorePolicy<A>::threads, 1)
    flat_kernel(const __grid_constant__ FlatTask task) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::uint8_t memory[];
  using P = ScorePolicy<A>;
  begin_kernel();
  if (blockIdx.x >= task.items())
    return;
  constexpr int consumers = 128 * P::consumers;
  static_assert(consumers % FlatSizes::listers == 0); // as Part numbers its lanes
  auto& storage = *reinterpret_cast<FlatStorage<Heads, A>*>(memory);
  if (threadIdx.x == 0) {
    init_rings(storage.score, ChunkProducer<Heads, A>::tile_writers);
    storage.chunk_ring.init(4 * P::consumers, FlatSizes::listers / 32);
    storage.lister.meeting.init(FlatSizes::listers);
    publish_barriers();
    fetch_maps(task);
  }
  __syncthreads();
  if (threadIdx.x < consumers) {
    raise_registers<P::consumer_registers>();
    int buffer = 0;
    Consumer<Heads, A, true>(task, storage.score)
        .run_apart([](Sums<ScoreTarget>&, const ScoreTarget&) {},
                   [&](Sums<ScoreTarget>&) {
                     leave(storage.chunk_ring.full[buffer], static_cast<int>(threadIdx.x) % 32);
                     buffer = (buffer + 1) % FlatSizes::chunks;
                   });
  } else {
    lower_registers<P::producer_registers>();
    if (threadIdx.x < consumers + FlatSizes::listers)
      Lister(task, storage.lister, storage.chunks, storage.chunk_ring).run();
    else
      ChunkProducer<Heads, A>(task, storage).run();
  }
#endif
}

} // namespace cuda
HISA_NAMESPACE_END
