// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A long row is read once, through a buffer in shared memory:
///   seed     a sample of the row says above which score its k best probably lie;
///   read     what does not reach the least score that can still win is dropped by one comparison,
///            the rest goes to the buffer, in order of position;
///   shrink   a full buffer is compacted to its k best, never cut, and the least score rises;
///   join     the k best of all buffers of the groups that share the row are left in them.
/// Only a seed may drop a candidate before k that precede it are known. So when fewer than k are
/// left the seed was too high, and the row is read again without one.
#pragma once

#include <hisa/gpu/radix.hpp>
#include <hisa/gpu/row.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Shared memory of a StreamSelect.
template <int Capacity, int Bins>
struct StreamStorage {
  static_assert(Capacity % 4 == 0);
  alignas(16) std::uint32_t scores[Capacity]; ///< bits: their keys are made when they are needed
  alignas(16) std::uint32_t positions[Capacity];
  RadixStorage<Bins> radix;
  std::int32_t counts[2]; ///< candidates in the buffer, for the other groups of a cluster
};

template <class G, int Capacity, int Bins>
HISA_FUNCTION void prepare(const G& g, StreamStorage<Capacity, Bins>& storage) {
  prepare(g, storage.radix);
}

/// The k best of candidates that arrive in ascending order of position. All lanes of the group make
/// one each over the same storage and call the members together.
template <Group G, int Capacity, int Bins>
class StreamSelect {
public:
  using Storage = StreamStorage<Capacity, Bins>;

  /// 1 <= k <= Capacity - 4 * lanes.
  HISA_FUNCTION StreamSelect(const G& g, Storage& storage, std::int32_t k)
      : g_(g), s_(storage), radix_(g, storage.radix), k_(k) {}

  /// Takes the candidates of a row.
  /// @param seed_from  sampled for a seed; null: no seed
  template <ScoreRow Row>
  HISA_FUNCTION void read(const Row& row, const Row* seed_from) {
    auto const round = 4 * static_cast<std::uint32_t>(g_.size()), positions = batch * round;
    std::uint32_t at = row.first / 4 * 4;
    Batch next; // asked for before it is needed
    bool ahead = seed_from != nullptr && row.plain(at, positions);
    if (ahead)
      next = ask(row, at);
    if (seed_from != nullptr)
      seed(*seed_from);
    ahead = ahead && least_ > 1;
    while (at < row.end) {
      if (ahead) {
        Batch const now = next;
        bool const more = row.plain(at + positions, positions);
        if (more)
          next = ask(row, at + positions);
        if (push(now, at)) {
          at += positions;
          ahead = more;
          continue;
        }
      }
      push(keys_at(row, at + own()));
      at += round;
      ahead = least_ > 1 && row.plain(at, positions);
      if (ahead)
        next = ask(row, at);
    }
  }

  /// Takes a round of candidates, behind all that were taken before.
  HISA_FUNCTION void push(const Four& four) {
    Counts<1> passing;
    auto const passes = [&](std::uint32_t key) { return key >= least_; };
    passing.add(0, Radix<G, Bins>::count(four, passes));
    auto sum = radix_.scan(passing);
    if (count_ + sum.total.of(0) > Capacity) {
      shrink(Alone());
      passing = {};
      passing.add(0, Radix<G, Bins>::count(four, passes));
      sum = radix_.scan(passing);
    }
    std::int32_t to = count_ + sum.before.of(0);
    HISA_UNROLL
    for (int i = 0; i < 4; ++i)
      if (passes(four.key[i]))
        put(to++, score_bits(four.key[i]), four.position(i));
    count_ += sum.total.of(0);
  }

  /// Forgets all candidates.
  HISA_FUNCTION void restart() {
    count_ = 0;
    least_ = 1;
  }

  /// Leaves the k best of the cluster's candidates in the buffers of its groups. Where there are
  /// fewer than `wanted`, nothing is done and false returned. The groups of a cluster read each
  /// other's shared memory until its next barrier, and have Bins / 4 lanes each.
  template <Cluster C>
  HISA_FUNCTION bool join(const C& cluster, std::int32_t wanted) {
    auto const all = exchange(cluster);
    if (all.total < wanted)
      return false;
    first_ = all.before;
    if (all.total > k_) {
      if (cluster.ranks() == 1)
        shrink(Alone());
      else
        shrink(cluster);
      g_.barrier();
    }
    return true;
  }

  /// Calls emit(rank, position) for each winner in the group's buffer, ranks ascending with
  /// positions. After join.
  template <class Emit>
  HISA_FUNCTION void finish(const Emit& emit) const {
    for (std::int32_t i = g_.lane(); i < count_; i += g_.size())
      emit(first_ + i, g_.load(&s_.positions[i]));
  }

private:
  static constexpr int batch = 2; ///< rounds that are asked for, and scanned, together

  /// A lane's scores of some rounds.
  struct Batch {
    Scores scores[batch];
  };

  /// The buffer as a source.
  struct Buffer {
    static constexpr int batch = 2;
    const G& g;
    Storage& s;
    std::int32_t count;
    HISA_FUNCTION int rounds() const { return (count + 4 * g.size() - 1) / (4 * g.size()); }
    HISA_FUNCTION Share take(int round) const {
      std::int32_t const i = 4 * (round * g.size() + g.lane());
      Share four;
      if (i >= count)
        return four;
      Words const scores = g.load(words(s.scores, i / 4)),
                  positions = g.load(words(s.positions, i / 4));
      HISA_UNROLL
      for (int j = 0; j < 4; ++j) {
        four.key[j] = i + j < count ? candidate_key(__builtin_bit_cast(float, scores.v[j])) : 0;
        four.at[j] = positions.v[j];
      }
      return four;
    }
  };

  /// A few candidates of a row, evenly spread, as a source.
  struct Sample {
    static constexpr int fours = 2; ///< of a lane: 32 bytes, what a memory hands out at least
    static constexpr int batch = fours;
    Four four[fours];

    template <ScoreRow Row>
    HISA_FUNCTION Sample(const G& g, const Row& row) {
      auto const lanes = static_cast<std::uint32_t>(g.size());
      std::uint32_t const step = (row.end - row.first) / lanes / (4 * fours) * (4 * fours);
      std::uint32_t const at = row.first / 4 * 4 + step * static_cast<std::uint32_t>(g.lane());
      HISA_UNROLL
      for (std::uint32_t i = 0; i < fours; ++i)
        four[i] = keys_at(row, at + 4 * i);
    }
    HISA_FUNCTION static constexpr int rounds() { return fours; }
    HISA_FUNCTION Four take(int round) const { return round < fours ? four[round] : Four{}; }
  };

  G g_;
  Storage& s_;
  Radix<G, Bins> radix_;
  std::int32_t k_;
  std::int32_t count_ = 0;  ///< candidates in the buffer
  std::int32_t first_ = 0;  ///< rank of the buffer's first winner
  std::uint32_t least_ = 1; ///< candidates with a smaller key are dropped
  int slot_ = 0;            ///< of the next exchange

  HISA_FUNCTION std::uint32_t own() const { return 4 * static_cast<std::uint32_t>(g_.lane()); }

  template <ScoreRow Row>
  HISA_FUNCTION Batch ask(const Row& row, std::uint32_t at) const {
    Batch b;
    HISA_UNROLL
    for (int r = 0; r < batch; ++r)
      b.scores[r] = row.scores(at + 4 * static_cast<std::uint32_t>(r * g_.size()) + own());
    return b;
  }

  /// A least score that lets a few more than k pass: of the sample, those that are expected among
  /// the k best and more than four standard deviations beyond.
  template <ScoreRow Row>
  HISA_FUNCTION void seed(const Row& row) {
    std::uint32_t const n = row.end - row.first;
    auto const samples = static_cast<std::uint32_t>(4 * Sample::fours * g_.size());
    if (n < samples)
      return;
    auto const expected = static_cast<std::uint32_t>(static_cast<std::uint64_t>(k_) * samples / n);
    std::uint32_t const rank = expected + expected / 4 + 32;
    if (rank > samples / 4 * 3)
      return;
    Threshold const t = radix_.find_threshold(Sample(g_, row), static_cast<std::int32_t>(rank));
    least_ = t.ties == 0 ? t.key + 1 : t.key;
  }

  /// Takes a batch, of which the first position is `at`, if its candidates fit the buffer. Needs a
  /// least score.
  HISA_FUNCTION bool push(const Batch& b, std::uint32_t at) {
    auto const least = __builtin_bit_cast(float, score_bits(least_));
    Counts<batch> passing;
    HISA_UNROLL
    for (int r = 0; r < batch; ++r) {
      int n = 0;
      HISA_UNROLL
      for (int i = 0; i < 4; ++i)
        n += b.scores[r].v[i] >= least;
      passing.add(r, n);
    }
    auto const sum = radix_.scan(passing);
    if (count_ + sum.total.sum() > Capacity)
      return false;
    HISA_UNROLL
    for (int r = 0; r < batch; ++r) {
      std::uint32_t const first = at + 4 * static_cast<std::uint32_t>(r * g_.size()) + own();
      std::int32_t to = count_ + sum.before.of(r);
      HISA_UNROLL
      for (int i = 0; i < 4; ++i)
        if (b.scores[r].v[i] >= least)
          put(to++, __builtin_bit_cast(std::uint32_t, b.scores[r].v[i]),
              first + static_cast<std::uint32_t>(i));
      count_ += sum.total.of(r);
    }
    return true;
  }

  HISA_FUNCTION void put(std::int32_t to, std::uint32_t score, std::uint32_t position) const {
    g_.store(&s_.scores[to], score);
    g_.store(&s_.positions[to], position);
  }

  /// Leaves the k best of a cluster's more than k candidates in the buffers. Later candidates that
  /// equal the least of them come after it. What is in the buffers was written before the last
  /// barrier.
  template <Cluster C>
  HISA_FUNCTION void shrink(const C& cluster) {
    Buffer const source{g_, s_, count_};
    Threshold const t = radix_.find_threshold(source, k_, cluster);
    count_ = radix_.compact(source, t,
                            [&](std::int32_t rank, std::uint32_t position, std::uint32_t key) {
                              put(rank, score_bits(key), position);
                            });
    first_ = t.before;
    least_ = t.key + 1;
  }

  /// How many candidates the groups of lower rank have, and all together. A barrier. Two slots in
  /// turn: one is written again only after the cluster's barrier between.
  template <Cluster C>
  HISA_FUNCTION Scanned<std::int32_t> exchange(const C& cluster) {
    if (cluster.ranks() == 1) {
      g_.barrier();
      return {0, count_};
    }
    if (g_.lane() == 0)
      g_.store(&s_.counts[slot_], count_);
    cluster.barrier();
    Scanned<std::int32_t> all{0, 0};
    for_each_rank(g_, cluster, &s_.counts[slot_], [&](int rank, std::int32_t count) {
      all.before += rank < cluster.rank() ? count : 0;
      all.total += count;
    });
    slot_ ^= 1;
    return all;
  }
};

} // namespace gpu
HISA_NAMESPACE_END
