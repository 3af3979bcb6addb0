// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A strategy that never sees a whole row: its memory depends on k only.
#pragma once

#include <hisa/radix_select.hpp>

HISA_NAMESPACE_BEGIN

/// Keeps a buffer of candidates. A score is dropped only when k scores that precede it are known;
/// when the next piece might not fit, the buffer is compacted to its k best, which raises what it
/// takes to enter. So a bad order of arrival costs compactions, at most one for k scores, and never
/// a candidate.
class StreamSelect {
public:
  static constexpr const char* name = "stream"; ///< in tables and messages
  static constexpr std::int64_t piece = 512;    ///< scores of one step of push

  /// That a row's selection takes, however long the row.
  HISA_FUNCTION static constexpr std::size_t scratch_bytes(std::int64_t k) {
    std::int64_t const entries = capacity(k) + k;
    return sizeof(Shared) +
           static_cast<std::size_t>(entries) * (sizeof(float) + sizeof(std::int32_t));
  }

  /// An empty row, of which the `k` best are wanted. The whole team calls it, as the others.
  template <class Member>
  KOKKOS_FUNCTION void begin(const Member& team, std::int64_t k, std::byte* scratch) {
    k_ = k;
    shared_ = reinterpret_cast<Shared*>(scratch);
    scores_ = reinterpret_cast<float*>(scratch + sizeof(Shared));
    positions_ = reinterpret_cast<std::int32_t*>(scores_ + capacity(k));
    best_scores_ = reinterpret_cast<float*>(positions_ + capacity(k));
    best_positions_ = reinterpret_cast<std::int32_t*>(best_scores_ + k);
    Kokkos::single(Kokkos::PerTeam(team), [&] {
      shared_->count = 0;
      shared_->to_beat = below_all;
    });
    team.team_barrier();
  }

  /// Takes scores[0 .. n) as those of the positions `first` ..; positions ascend from push to push.
  /// O(n), and O(k) once for k candidates that enter the buffer.
  template <class Member>
  KOKKOS_FUNCTION void push(const Member& team, const float* scores, std::int64_t n,
                            std::int64_t first) {
    for (std::int64_t i = 0; i < n; i += piece)
      push_piece(team, scores + i, n - i < piece ? n - i : piece, first + i);
  }

  /// Calls emit(rank, position, score) for the k best, or for all where k or fewer were pushed.
  template <class Member, class Emit>
  KOKKOS_FUNCTION void finish(const Member& team, const Emit& emit) {
    if (shared_->count > k_)
      compact(team);
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, shared_->count),
                         [&](std::int64_t i) { emit(i, positions_[i], scores_[i]); });
  }

private:
  static constexpr std::int64_t below_all = -1; ///< the order keys start at 0

  /// What the team agrees on.
  struct alignas(16) Shared {
    std::int64_t count;   ///< candidates in the buffer, in ascending order of position
    std::int64_t to_beat; ///< k candidates of this order key or a larger one are in the buffer
    alignas(16) std::byte radix[RadixSelect::scratch_bytes(0)];
  };

  std::int64_t k_ = 0;
  Shared* shared_ = nullptr;
  float* scores_ = nullptr;           ///< [capacity] the buffer
  std::int32_t* positions_ = nullptr; ///< [capacity]
  float* best_scores_ = nullptr;      ///< [k] where a compaction puts what it keeps
  std::int32_t* best_positions_ = nullptr;

  /// After a compaction k more fit, and a piece.
  HISA_FUNCTION static constexpr std::int64_t capacity(std::int64_t k) { return 2 * k + piece; }

  template <class Member>
  KOKKOS_FUNCTION void push_piece(const Member& team, const float* scores, std::int64_t n,
                                  std::int64_t first) {
    if (shared_->count + n > capacity(k_))
      compact(team);
    std::int64_t const count = shared_->count, to_beat = shared_->to_beat;
    std::int64_t entering = 0;
    Kokkos::parallel_scan(
        Kokkos::TeamThreadRange(team, n),
        [&](std::int64_t i, std::int64_t& before, bool final) {
          // An equal one comes after those that set the mark.
          if (std::int64_t(order_key(scores[i])) <= to_beat)
            return;
          if (final) {
            scores_[count + before] = scores[i];
            positions_[count + before] = static_cast<std::int32_t>(first + i);
          }
          ++before;
        },
        entering);
    team.team_barrier();
    Kokkos::single(Kokkos::PerTeam(team), [&] { shared_->count = count + entering; });
    team.team_barrier();
  }

  template <class Member>
  KOKKOS_FUNCTION void compact(const Member& team) {
    std::uint32_t const kth =
        RadixSelect::select(team, scores_, shared_->count, k_, shared_->radix,
                            [&](std::int64_t rank, std::int64_t i, float score) {
                              best_scores_[rank] = score;
                              best_positions_[rank] = positions_[i];
                            });
    team.team_barrier();
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, k_), [&](std::int64_t i) {
      scores_[i] = best_scores_[i];
      positions_[i] = best_positions_[i];
    });
    Kokkos::single(Kokkos::PerTeam(team), [&] {
      shared_->count = k_;
      shared_->to_beat = kth;
    });
    team.team_barrier();
  }
};

HISA_NAMESPACE_END
