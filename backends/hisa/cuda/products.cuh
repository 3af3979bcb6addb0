// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The products of a warpgroup, one stream, for both ways to score: the tensor core works on one
/// half of the keys while the sums of the other are taken. Which keys and queries come next is its
/// owner's.
#pragma once

#include <hisa/cuda/operands.cuh>
#include <hisa/cuda/producer.cuh>
#include <hisa/cuda/sums.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Sums over a lane's heads, on their way to a score and to where that goes.
template <class Target>
struct Sums;

/// Scores that are all stored.
template <>
struct Sums<ScoreTarget> {
  float of[2][2] = {}; ///< [half][row g or g + 8]
  float scale = 0;
  std::int32_t position = Positions::absent;
  ScoreTarget target = {nullptr, 0};

  /// What the scores of a query need to know.
  __device__ void set(const ScoreTarget& to) { target = to; }
  __device__ void reset() { position = Positions::absent; }
  __device__ void end_tile() {}
  /// Stores the score of the lane's row if it is a candidate's.
  __device__ void store(const LaneRows& rows) const {
    store_if(static_cast<std::uint32_t>(position) < static_cast<std::uint32_t>(target.limit),
             target.scores, position, scale * sum_lanes(of, rows));
  }
};

/// begin, for the first query and tile. Then second_half for each, and behind it next, for the one
/// that comes next, or at last end. No products are under way when next is called: the owner has
/// waited, and has given back what those before were read from. The sums are the owner's, no
/// members: as members they make the compiler order the loops' code otherwise.
template <int Heads>
class ProductStream {
public:
  template <class Keys>
  __device__ void begin(Keys& keys, HeadsAddress heads) {
    keys.start(lower_, 0, heads);
  }
  /// Waits for the first half's products, and sums them while the second half's are under way.
  /// @param weights     the query's, of which this lane's begin `weights_at` bytes behind
  /// @param set_target  set_target(sums): where the query's scores go, when those of the one before
  /// are
  ///                    stored
  template <class Keys, class Sums, class SetTarget>
  __device__ void second_half(Keys& keys, HeadsAddress heads, const float* weights, int weights_at,
                              const LaneRows& rows, Sums& sums, const SetTarget& set_target) {
    weights_.load(weights, weights_at);
    wait_products<0>();
    keys.start(upper_, 1, heads);
    sums.store(rows);
    set_target(sums);
    sum_heads(lower_, weights_, sums.of[0]);
  }
  /// Begins the next query's first half, and sums the second of the one before.
  template <class Keys, class Sums>
  __device__ void next(Keys& keys, HeadsAddress heads, Sums& sums) {
    begin(keys, heads);
    sum_heads(upper_, weights_, sums.of[1]);
  }
  template <class Sums>
  __device__ void end(const LaneRows& rows, Sums& sums) {
    wait_products<0>();
    sum_heads(upper_, weights_, sums.of[1]);
    sums.store(rows);
  }

private:
  DotProducts<Heads> lower_, upper_; ///< of the halves
  HeadWeights<Heads> weights_;
};

} // namespace cuda
HISA_NAMESPACE_END
