// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// How a call divides the caller's workspace.
#pragma once

#include <hisa/carve.hpp>
#include <hisa/cuda/contenders.cuh>
#include <hisa/cuda/sift.cuh>
#include <hisa/cuda/sums.cuh>
#include <hisa/cuda/task.cuh>
#include <hisa/levels.hpp>

#include <algorithm>

HISA_NAMESPACE_BEGIN
namespace cuda {

using hisa::detail::LevelTable;

/// Neighbouring rows of the level below a block of level `l` that go together in tiles: the largest
/// power of two in the ratio, at most a tile, as its logarithm.
inline int piece_log2(const LevelTable& levels, int l) {
  int log2 = 0;
  while (log2 < tile_keys_log2 && levels.ratio(l) % (2 << log2) == 0)
    ++log2;
  return log2;
}

/// The parts of the workspace.
struct Parts {
  float* scores = nullptr;
  std::int32_t* blocks[2] = {}; ///< kept lists of alternating levels
  std::int32_t* counts[2] = {};
  PieceLists pieces[2];
  PairBuffers pairs; ///< of tokens, used instead of their pieces by calls of few queries
  // Of flat calls without rows of scores:
  Sample sample;
  SiftedLists sifted;
  FailedGroups failed;
  float* chunks = nullptr; ///< buffers of the flat kernel
  ContenderLists lists;
};

/// The sizes that a workspace is laid out from.
struct Layout {
  std::int64_t queries = 0; ///< that are worked on at a time; whole groups
  int lists = 0;            ///< of kept blocks, for levels in turn
  std::int64_t scores = 0;  ///< pitch of the score rows
  std::int64_t kept = 0;    ///< pitch of the kept lists
  std::int64_t pieces = 0;  ///< pitch of the piece lists
  // Of pairs of queries and tiles of tokens, behind the score rows of a call that has them, in the
  // memory of all rows as far as that goes; 0: there are none.
  std::int64_t paired = 0; ///< queries that a call with pairs may have
  std::int64_t bins = 0, weights = 0;
  // Of flat calls without rows of scores, in the memory of these; 0: there are none.
  std::int64_t listed = 0; ///< queries at a time; whole groups
  std::int64_t ctas = 0;
  std::int64_t samples = 0; ///< of the keys; 0: none are sifted

  /// For as many queries at a time as keep the workspace below `limit`.
  /// @param own_lists  the blocks come from the caller: only tokens are scored
  static Layout fitting(const LevelTable& levels, bool own_lists, std::int64_t max_queries,
                        std::int64_t max_keys, std::size_t limit) {
    Layout layout;
    for (int l = own_lists ? levels.count : 0; l <= levels.count; ++l)
      layout.scores = std::max(layout.scores, levels.candidates(l, max_keys));
    for (int l = 0; l < levels.count; ++l) {
      std::int64_t const kept = levels.kept(l, max_keys);
      layout.kept = std::max(layout.kept, kept);
      // A query that takes all it sees may have blocks more than m.
      layout.pieces = std::max(layout.pieces, group_queries * (kept + 2) *
                                                  (levels.ratio(l) >> piece_log2(levels, l)));
    }
    layout.scores = (layout.scores + 31) / 32 * 32;
    layout.pieces = (layout.pieces + 15) / 16 * 16; // whole tiles of pieces of 8 rows
    layout.lists = std::min(levels.count, 2);
    layout.queries = group_queries;
    std::int64_t const groups =
        std::max<std::int64_t>(1, (max_queries + group_queries - 1) / group_queries);
    std::size_t const slack = Carver().bytes(); // that the memory's alignment may cost
    std::size_t const fit = (std::max(limit, slack) - slack) / (layout.bytes() - slack);
    auto const most = std::max<std::int64_t>(1, static_cast<std::int64_t>(fit));
    std::int64_t const times = (groups + most - 1) / most;
    layout.queries = (groups + times - 1) / times * group_queries; // as many each time
    return layout;
  }

  /// Makes room for the pairs of as many queries, but no more than are worked on at a time; or of
  /// half as many, and so on, until that keeps the workspace below `limit`.
  void add_pairs(std::int64_t max_queries, std::int64_t max_keys, int heads, std::size_t limit) {
    Layout with = *this;
    with.paired = std::min(max_queries, queries);
    with.bins = (max_keys + tile_keys - 1) / tile_keys;
    with.weights = packed_weights(heads);
    while (with.paired > 0 && with.bytes() > limit)
      with.paired /= 2;
    if (with.paired > 0 && with.bins <= gpu::max_bins)
      *this = with;
  }

  /// Lets the flat kernel run on `processors` multiprocessors, for as many queries at a time as
  /// keep the workspace below `limit`, unless these are fewer than a group for each. Calls that it
  /// does not take have rows of scores in the same memory.
  /// @param sampled  of the keys, for the sift kernel before it; 0: without
  void add_flat(std::int64_t max_queries, std::int64_t processors, std::size_t limit,
                std::int64_t sampled = 0) {
    std::int64_t const groups = (max_queries + group_queries - 1) / group_queries;
    Layout flat;
    flat.ctas = processors, flat.samples = sampled;
    for (std::int64_t rounds = (groups + processors - 1) / processors; rounds > 0; --rounds) {
      flat.listed = std::min(groups, rounds * processors) * group_queries;
      if (flat.bytes() > limit)
        continue;
      listed = flat.listed, ctas = flat.ctas, samples = flat.samples;
      return;
    }
  }

  /// Bytes of the workspace; exact.
  std::size_t bytes() const {
    Carver carver;
    place(carver);
    return carver.bytes();
  }
  /// Divides the caller's memory.
  Parts divide(void* data) const {
    Carver carver(data);
    return place(carver);
  }

private:
  using Carver = hisa::detail::Carver<128>;

  /// The flat kernel comes when the lists of the sift kernel have been chosen from, and that when
  /// the scores of the sample have been looked at.
  void place_flat(Carver& carver, Parts& p) const {
    std::int64_t const groups = listed / group_queries, sifts = samples > 0 ? 1 : 0;
    auto const join = [](Carver& to, const Carver& other) {
      to = other.bytes() > to.bytes() ? other : to;
    };
    p.failed.count = carver.take<std::int32_t>(sifts, 1);
    p.failed.list = carver.take<std::int32_t>(sifts * groups, 1);
    p.failed.fails = carver.take<std::uint32_t>(sifts * groups, 1);
    Carver sifted = carver;
    p.chunks = carver.take<float>(ctas, FlatSizes::buffers);
    p.lists.contenders = carver.take<gpu::Contender>(listed, FlatSizes::capacity);
    p.lists.counts = carver.take<std::int32_t>(listed, 1);
    if (samples > 0) {
      p.sample.bounds = sifted.take<SampledBound>(listed, 1);
      Carver sampled = sifted;
      p.sample.values = sampled.take<e4m3fn>(samples, 128);
      p.sample.scales = sampled.take<float>(samples, 1);
      p.sample.ks = sampled.take<std::int32_t>(listed, 1);
      p.sample.ke = sampled.take<std::int32_t>(listed, 1);
      p.sample.pitch = (samples + 31) / 32 * 32;
      p.sample.scores = sampled.take<float>(listed, p.sample.pitch);
      std::int64_t const items = SiftItems::max_items(groups, ctas);
      p.sifted.contenders =
          sifted.take<gpu::Contender>(items, SiftSizes::lanes * SiftSizes::capacity);
      p.sifted.counts = sifted.take<std::int32_t>(items, SiftSizes::lanes);
      join(carver, sampled), join(carver, sifted);
    }
  }

  Parts place(Carver& carver) const {
    std::int64_t const groups = queries / group_queries;
    Parts p;
    Carver same = carver, behind = carver;
    p.scores = carver.take<float>(queries, scores);
    place_flat(same, p);
    behind.take<float>(paired, scores);
    PairLists& pairs = p.pairs.lists;
    pairs.bins = static_cast<std::int32_t>(bins), pairs.capacity = paired;
    while (pairs.spread < 5 && bins << pairs.spread <= 4096)
      ++pairs.spread; // as far apart as 8192 counts allow, up to a line
    pairs.counts = behind.take<std::uint32_t>(bins << pairs.spread, 1);
    pairs.pairs = behind.take<gpu::Pair>(bins, paired);
    p.pairs.weights = behind.take<float>(paired, weights);
    for (const Carver& other : {same, behind})
      carver = other.bytes() > carver.bytes() ? other : carver;
    for (int i = 0; i < lists; ++i) {
      p.blocks[i] = carver.take<std::int32_t>(queries, kept);
      p.counts[i] = carver.take<std::int32_t>(queries, 1);
      p.pieces[i].rows = carver.take<std::int32_t>(groups, pieces);
      p.pieces[i].positions = carver.take<Positions>(groups, pieces);
      p.pieces[i].masks = carver.take<std::uint32_t>(groups, pieces);
      p.pieces[i].counts = carver.take<std::int32_t>(groups, 1);
      p.pieces[i].costs = carver.take<std::uint32_t>(groups, 1);
      p.pieces[i].pitch = pieces;
    }
    return p;
  }
};

} // namespace cuda
HISA_NAMESPACE_END
