// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The k best of a row, of which the lanes of a group hold the scores in registers:
///   find     1. count the scores in bins of equal width over a range that a sample suggests;
///            2. choose the bin in which the k-th lies: what is in higher bins wins;
///            3. list the bin's few scores, and find which of them win;
///   compact  4. emit the winners in order.
/// Where the row is too long, the range was wrong, a bin holds too many, or scores are not finite,
/// the digits of the keys decide, whatever the row (again.hpp).
#pragma once

#include <hisa/gpu/again.hpp>

#include <cmath>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// x in [0, 1], monotone; 0 for NaN.
HISA_FUNCTION inline float saturated(float x) {
#if defined(__CUDA_ARCH__)
  return __saturatef(x);
#else
  return x > 0 ? (x < 1 ? x : 1) : 0;
#endif
}
/// Some scores of a row in the lanes' registers: `Rounds` rounds of four a lane. Sets of a lane's
/// scores are bits, in order of position.
template <Group G, ScoreRow Row, int Rounds>
class HeldScores {
public:
  static_assert(Rounds <= 8);

  HISA_FUNCTION HeldScores(const G& g, const Row& row)
      : first_(row.first / 4 * 4 + 4 * static_cast<std::uint32_t>(g.lane())),
        stride_(4 * static_cast<std::uint32_t>(g.size())) {
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r) // all asked for before the first is used
      if (row.plain(position(4 * r), 4))
        scores_[r] = row.scores(position(4 * r));
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r)
      scores_[r] = row.masked(position(4 * r), scores_[r]);
  }
  /// Of the lane's i-th score.
  HISA_FUNCTION std::uint32_t position(int i) const {
    return first_ + static_cast<std::uint32_t>(i / 4) * stride_ + static_cast<std::uint32_t>(i % 4);
  }
  /// Calls visit(score, bit) for each of the lane's scores; no_score is none, or perhaps -inf.
  template <class Visit>
  HISA_FUNCTION void for_each(const Visit& visit) const {
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r)
      HISA_UNROLL
    for (int i = 0; i < 4; ++i)
      visit(scores_[r].v[i], 1u << (4 * r + i));
  }
  /// One score of a round: of all rounds, a quarter of the lane's.
  HISA_FUNCTION float sample(int round) const { return scores_[round].v[round % 4]; }

private:
  std::uint32_t first_, stride_;
  Scores scores_[Rounds];
};

/// Finds which scores of a row are among its k best, in bins of equal width.
template <Group G, ScoreRow Row, int Bins>
class LinearSelect {
public:
  /// The radix is new.
  HISA_FUNCTION LinearSelect(const G& g, RadixStorage<Bins>& storage, Radix<G, Bins>& radix,
                             const Row& row, std::int32_t k)
      : g_(g), s_(storage), radix_(radix), row_(row), k_(k) {}

  /// Step 1, first half: the range of the bins, from a sample. False: no use.
  ///
  /// The k-th probably lies in the range, which is narrow so that bins are, and not as wide as a
  /// few scores far off would make it: each wave looks at its own part of the sample, and of the
  /// waves' extremes the inner ones are taken unless k is near an end.
  template <int Rounds>
  HISA_FUNCTION bool set_range(const HeldScores<G, Row, Rounds>& sample) {
    auto const n = static_cast<std::int32_t>(row_.end - row_.first);
    bool const widest_low = k_ > n / 2, widest_high = k_ < n / 8;
    float low = -minus_infinity, high = minus_infinity;
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r)
      low = fminf(low, sample.sample(r)), high = fmaxf(high, sample.sample(r));
    std::uint32_t least = ~g_.max(~order_key(low)), greatest = g_.max(order_key(high));
    int const waves = g_.size() / G::wave, wave = g_.lane() / G::wave;
    if (waves > 1) {
      // Told so that the greatest is wanted of both; a wave without candidates tells the least.
      bool const any = least <= greatest;
      if (g_.lane() % G::wave == 0) {
        g_.store(&s_.of_waves[0][wave], any ? flip(least, widest_low) : 0);
        g_.store(&s_.of_waves[1][wave], any ? flip(greatest, !widest_high) : 0);
      }
      g_.barrier();
      int const other = g_.lane() % G::wave % waves;
      least = flip(g_.max(g_.load(&s_.of_waves[0][other])), widest_low);
      greatest = flip(g_.max(g_.load(&s_.of_waves[1][other])), !widest_high);
    }
    float const lowest = __builtin_bit_cast(float, score_bits(least));
    scale_ = 1 / (__builtin_bit_cast(float, score_bits(greatest)) - lowest);
    offset_ = -lowest * scale_;
    return scale_ > 0 && scale_ < 0x1p100f; // else too few candidates, equal or not finite
  }
  /// Steps 1 and 2. False: not in this way.
  template <class Held>
  HISA_FUNCTION bool choose_bin(const Held& held) {
    bin_ = radix_.choose(k_, [&](const auto& count) {
      held.for_each([&](float score, std::uint32_t) {
        count(__builtin_bit_cast(std::uint32_t, binned(score)) & (Bins - 1), true);
      });
    });
    edge_ = 0x1p23f + static_cast<float>(bin_.index);
    return bin_.index != 0 && bin_.count <= static_cast<std::uint32_t>(RadixStorage<Bins>::listed);
  }
  /// Those in higher bins, which win, and those in the bin.
  template <class Held>
  HISA_FUNCTION void divide(const Held& held, std::uint32_t& higher, std::uint32_t& equal) const {
    higher = equal = 0;
    held.for_each([&](float score, std::uint32_t bit) {
      float const at = binned(score);
      higher |= at > edge_ ? bit : 0;
      equal |= at == edge_ ? bit : 0;
    });
  }
  /// Step 3, first half.
  template <class Held>
  HISA_FUNCTION void list(const Held& held, std::uint32_t equal) {
    for (std::uint32_t rest = equal; rest != 0; rest &= rest - 1)
      g_.store(&s_.list[g_.ticket(&s_.listing)], listed(held, rest));
  }
  /// Step 3: all are listed.
  HISA_FUNCTION void find_last() {
    g_.barrier();
    for (std::int32_t i = g_.lane(); i < static_cast<std::int32_t>(bin_.count); i += g_.size()) {
      Listed const own = g_.load(&s_.list[i]);
      std::int32_t rank = 1;
      for (std::int32_t j = 0; j < static_cast<std::int32_t>(bin_.count); ++j)
        rank += g_.load(&s_.list[j]).precedes(own);
      if (rank == bin_.need)
        g_.store(&s_.last, own);
    }
    g_.barrier();
    last_ = g_.load(&s_.last);
  }
  /// Those of the bin that win.
  template <class Held>
  HISA_FUNCTION std::uint32_t best_of(const Held& held, std::uint32_t equal) const {
    std::uint32_t best = equal;
    for (std::uint32_t rest = equal; rest != 0; rest &= rest - 1)
      if (last_.precedes(listed(held, rest)))
        best ^= rest & (~rest + 1);
    return best;
  }
  /// Step 4: emit(rank, position) for each winner, ranks ascending with positions.
  template <int Rounds, class Emit>
  HISA_FUNCTION void compact(const HeldScores<G, Row, Rounds>& held, std::uint32_t winners,
                             const Emit& emit) {
    constexpr int batch = Rounds < 4 ? Rounds : 4;
    std::uint32_t const pairs = winners - (winners >> 1 & 0x55555555u);
    std::uint32_t const fours = (pairs & 0x33333333u) + (pairs >> 2 & 0x33333333u);
    std::int32_t rank = 0;
    HISA_UNROLL
    for (int first = 0; first < Rounds; first += batch) {
      Counts<batch> counts;
      HISA_UNROLL
      for (int r = 0; r < batch; ++r)
        counts.add(r, static_cast<int>(fours >> 4 * (first + r) & 0xf));
      auto const sum = radix_.scan(counts);
      HISA_UNROLL
      for (int r = 0; r < batch; ++r) {
        std::int32_t to = rank + sum.before.of(r);
        HISA_UNROLL
        for (int i = 4 * (first + r); i < 4 * (first + r) + 4; ++i)
          if (winners >> i & 1)
            emit(to++, held.position(i));
        rank += sum.total.of(r);
      }
    }
  }

private:
  const G& g_;
  RadixStorage<Bins>& s_;
  Radix<G, Bins>& radix_;
  const Row& row_;
  std::int32_t k_;
  float scale_ = 0, offset_ = 0; ///< from scores to [0, 1]
  Bin bin_ = {};
  float edge_ = 0;
  Listed last_ = {};

  /// 2^23 + bin. Monotone, as every rounding is; NaN goes to bin 0.
  HISA_FUNCTION float binned(float score) const {
    return fmaf(saturated(fmaf(score, scale_, offset_)), Bins - 1, 0x1p23f);
  }
  HISA_FUNCTION static std::uint32_t flip(std::uint32_t key, bool condition) {
    return condition ? ~key : key;
  }
  /// The lowest of a set.
  template <class Held>
  HISA_FUNCTION Listed listed(const Held& held, std::uint32_t set) const {
    std::uint32_t const position = held.position(lowest_bit(set));
    return {row_.key(position), position};
  }
};

/// Shared memory of select_held, for up to `Capacity` winners.
template <int Capacity, int Bins>
struct HeldStorage {
  std::uint32_t positions[Capacity];
  RadixStorage<Bins> radix;
};

template <class G, int Capacity, int Bins>
HISA_FUNCTION void prepare(const G& g, HeldStorage<Capacity, Bins>& storage) {
  prepare(g, storage.radix);
}

/// The k best, 1 <= k, of a row of more than k candidates: emit(rank, position) for each, ranks
/// ascending with positions. Fast where the group's lanes can hold the row in `Rounds` rounds.
template <int Rounds, Group G, int Capacity, int Bins, ScoreRow Row, class Emit>
HISA_FUNCTION void select_held(const G& g, HeldStorage<Capacity, Bins>& storage, const Row& row,
                               std::int32_t k, const Emit& emit) {
  Radix radix(g, storage.radix);
  LinearSelect linear(g, storage.radix, radix, row, k);
  auto const put = [&](std::int32_t rank, std::uint32_t position) {
    g.store(&storage.positions[rank], position);
  };
  bool found = false;
  if (row.end - row.first / 4 * 4 <= static_cast<std::uint32_t>(4 * Rounds * g.size())) {
    HeldScores<G, Row, Rounds> const held(g, row);
    if (linear.set_range(held) && linear.choose_bin(held)) {
      std::uint32_t higher, equal;
      linear.divide(held, higher, equal);
      linear.list(held, equal);
      linear.find_last();
      linear.compact(held, higher | linear.best_of(held, equal), put);
      found = true;
    }
  }
  if (!found)
    select_again(g, storage.radix, row, k, put);
  g.barrier();
  for (std::int32_t rank = g.lane(); rank < k; rank += g.size())
    emit(rank, g.load(&storage.positions[rank]));
}

} // namespace gpu
HISA_NAMESPACE_END
