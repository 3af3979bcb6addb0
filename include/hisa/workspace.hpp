// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// How a call divides the caller's workspace: one group of queries at a time.
#pragma once

#include <hisa/carve.hpp>
#include <hisa/score.hpp>

#include <cstddef>
#include <cstdint>

HISA_NAMESPACE_BEGIN

/// What the teams of a streaming descent own, one slot each.
struct StreamSlots {
  std::int64_t count = 0;
  float* pieces = nullptr;           ///< [count, piece] scores on their way to the strategy
  std::int64_t piece = 0;            ///< scores
  float* best_scores = nullptr;      ///< [count, kept] what each team's share of a query leaves
  std::int32_t* positions = nullptr; ///< [count, kept]
  std::int64_t kept = 0;             ///< the largest budget
};

/// The parts of the workspace that the steps of a group share.
struct GroupWorkspace {
  detail::PreparedQueries prepared;
  ScoreRowsOut scores;
  KeptLists lists[2]; ///< kept blocks of alternating levels
  StrategyScratch strategy_scratch;
  StreamSlots stream; ///< of a plan that streams; it has no scores
};

namespace detail {

/// The sizes that a workspace is laid out from, all per query of a group but the first.
struct WorkspaceLayout {
  std::int64_t queries = 0; ///< of a group
  int heads = 0;
  int head_dim = 0;
  std::int64_t scores = 0;           ///< candidates of the widest level
  std::int64_t kept = 0;             ///< blocks of the longest kept list
  std::int64_t strategy_scratch = 0; ///< bytes
  std::int64_t streams = 0;          ///< slots of a streaming plan where there are fewer queries
  StreamSlots stream;                ///< sizes of a slot

  /// Bytes of the workspace; exact.
  std::size_t bytes() const {
    Carver carver;
    place(carver);
    return carver.bytes();
  }

  /// Divides the caller's memory.
  GroupWorkspace divide(void* data) const {
    Carver carver(data);
    return place(carver);
  }

private:
  using Carver = detail::Carver<64>;

  GroupWorkspace place(Carver& carver) const {
    GroupWorkspace w;
    w.prepared.head_dim = head_dim;
    w.prepared.padded_heads = PreparedQueries::pad(heads);
    w.prepared.values =
        carver.take<float>(queries, std::int64_t(head_dim) * w.prepared.padded_heads);
    w.prepared.weights = carver.take<float>(queries, w.prepared.padded_heads);
    w.scores.values = carver.take<float>(queries, scores);
    w.scores.pitch = scores;
    for (KeptLists& list : w.lists) {
      list.blocks = carver.take<std::int32_t>(queries, kept);
      list.counts = carver.take<std::int32_t>(queries, 1);
      list.pitch = kept;
    }
    bool const streaming = stream.piece > 0;
    std::int64_t const slots = streaming && streams > queries ? streams : queries;
    w.strategy_scratch = {carver.take<std::byte>(slots, strategy_scratch), strategy_scratch};
    if (streaming) {
      w.stream = stream;
      w.stream.count = slots;
      w.stream.pieces = carver.take<float>(slots, stream.piece);
      w.stream.best_scores = carver.take<float>(slots, stream.kept);
      w.stream.positions = carver.take<std::int32_t>(slots, stream.kept);
    }
    return w;
  }
};

} // namespace detail
HISA_NAMESPACE_END
