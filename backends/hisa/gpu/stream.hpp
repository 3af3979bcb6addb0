// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A long row is read once, through a buffer in shared memory:
///   seed     a sample of the row says above which score its k best probably lie;
///   read     batches are copied to shared memory, one ahead; what does not reach the least score
///            that can still win is dropped by one comparison, the rest goes to the buffer, in
///            order of position;
///   shrink   a full buffer is compacted to its k best, never cut, and the least score rises;
///   join     the k best of all buffers of the groups that share the row are left in them.
/// Only a seed may drop a candidate before k that precede it are known. So when fewer than k are
/// left the seed was too high, and the row is read again without one.
#pragma once

#include <hisa/gpu/radix.hpp>
#include <hisa/gpu/row.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Shared memory of a StreamSelect by up to `Lanes` lanes, which read `Rounds` rounds at a time.
template <int Capacity, int Bins, int Rounds, int Lanes>
struct StreamStorage {
  static_assert(Capacity % 4 == 0 && Rounds >= 2); // two for a sample
  Words batches[2][Rounds][Lanes];            ///< scores of two batches: one is there, one comes
  alignas(16) std::uint32_t scores[Capacity]; ///< bits: their keys are made when they are needed
  alignas(16) std::uint32_t positions[Capacity];
  RadixStorage<Bins> radix;
  std::int32_t counts[2]; ///< candidates in the buffer, for the other groups of a cluster
};

template <class G, int Capacity, int Bins, int Rounds, int Lanes>
HISA_FUNCTION void prepare(const G& g, StreamStorage<Capacity, Bins, Rounds, Lanes>& storage) {
  prepare(g, storage.radix);
}

/// The k best of candidates that arrive in ascending order of position. All lanes of the group make
/// one each over the same storage and call the members together.
template <Group G, int Capacity, int Bins, int Rounds, int Lanes>
class StreamSelect {
public:
  using Storage = StreamStorage<Capacity, Bins, Rounds, Lanes>;

  /// 1 <= k <= Capacity - 4 * lanes.
  HISA_FUNCTION StreamSelect(const G& g, Storage& storage, std::int32_t k)
      : g_(g), s_(storage), radix_(g, storage.radix), k_(k) {}

  /// Takes the candidates of a row.
  /// @param seed_from  sampled for a seed; null: no seed
  template <StoredScoreRow Row>
  HISA_FUNCTION void read(const Row& row, const Row* seed_from) {
    std::uint32_t at = row.first / 4 * 4;
    std::int32_t const rank = seed_from == nullptr ? 0 : seed_rank(*seed_from);
    if (rank > 0) {
      fetch_sample(*seed_from);
      fetch(row, at, 0); // arrives while the seed is found
      g_.template await<1>();
      seed(rank);
    }
    while (at < row.end) {
      std::uint32_t end = at + round();
      if (drops()) {
        at = read_batches(row, at);
        end = at + Rounds * round();
      }
      g_.template await<0>();
      for (; at < end && at < row.end; at += round())
        push(keys_at(row, at + 4 * lane()));
      if (drops())
        fetch(row, at, 0);
    }
    g_.template await<0>();
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
    seed_ = 0;
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

  /// A few candidates of a row, evenly spread, as a source: they lie where the second batch will.
  struct Sample {
    static constexpr int fours = 2; ///< of a lane: 32 bytes, what a memory hands out at least
    static constexpr int batch = fours;
    const G& g;
    Storage& s;
    HISA_FUNCTION static constexpr int rounds() { return fours; }
    HISA_FUNCTION Four take(int round) const {
      Four four;
      Words const scores = g.load(&s.batches[1][round][g.lane()]);
      HISA_UNROLL
      for (int i = 0; i < 4; ++i)
        four.key[i] = candidate_key(__builtin_bit_cast(float, scores.v[i]));
      return four;
    }
  };

  G g_;
  Storage& s_;
  Radix<G, Bins> radix_;
  std::int32_t k_;
  std::int32_t count_ = 0;  ///< candidates in the buffer
  std::int32_t first_ = 0;  ///< rank of the buffer's first winner
  std::uint32_t least_ = 1; ///< candidates with a smaller key are dropped
  std::uint32_t seed_ = 0;  ///< the least key at first; 0: no seed
  int slot_ = 0;            ///< of the next exchange

  HISA_FUNCTION std::uint32_t lane() const { return static_cast<std::uint32_t>(g_.lane()); }
  /// Positions of a round.
  HISA_FUNCTION std::uint32_t round() const { return 4 * static_cast<std::uint32_t>(g_.size()); }
  /// The lane's first position in round r of the batch that begins at `at`.
  HISA_FUNCTION std::uint32_t own(std::uint32_t at, int r) const {
    return at + static_cast<std::uint32_t>(r) * round() + 4 * lane();
  }
  /// Neither what counts -inf nor what is no candidate can win.
  HISA_FUNCTION bool drops() const { return least_ > candidate_key(minus_infinity); }

  /// Asks for the batch that begins at `at`.
  template <StoredScoreRow Row>
  HISA_FUNCTION void fetch(const Row& row, std::uint32_t at, int slot) const {
    if (row.plain(at, Rounds * round())) {
      HISA_UNROLL
      for (int r = 0; r < Rounds; ++r)
        g_.copy(&s_.batches[slot][r][lane()], row.address(own(at, 0)) + r * g_.size());
    } else if (at < row.end) {
      HISA_UNROLL
      for (int r = 0; r < Rounds; ++r)
        fetch_four(row, own(at, r), s_.batches[slot][r][lane()]);
    }
    g_.commit();
  }
  template <StoredScoreRow Row>
  HISA_FUNCTION void fetch_four(const Row& row, std::uint32_t at, Words& to) const {
    if (row.plain(at, 4))
      g_.copy(&to, row.address(at));
    else
      g_.store(&to, __builtin_bit_cast(Words, row.masked(at, Scores{})));
  }
  /// Asks for a sample.
  template <StoredScoreRow Row>
  HISA_FUNCTION void fetch_sample(const Row& row) const {
    constexpr std::uint32_t fours = Sample::fours;
    auto const lanes = static_cast<std::uint32_t>(g_.size());
    std::uint32_t const step = (row.end - row.first) / lanes / (4 * fours) * (4 * fours);
    std::uint32_t const at = row.first / 4 * 4 + step * lane();
    HISA_UNROLL
    for (std::uint32_t i = 0; i < fours; ++i)
      fetch_four(row, at + 4 * i, s_.batches[1][i][lane()]);
    g_.commit();
  }

  /// Takes batches from `at` on as long as they fit the buffer; the first was asked for in slot 0.
  /// Returns where it ended.
  template <StoredScoreRow Row>
  HISA_FUNCTION std::uint32_t read_batches(const Row& row, std::uint32_t at) {
    for (int slot = 0; at < row.end; slot ^= 1) {
      std::uint32_t const next = at + Rounds * round();
      fetch(row, next, slot ^ 1);
      g_.template await<1>();
      if (!push(at, slot))
        break;
      at = next;
    }
    return at;
  }

  /// The rank in a sample of a score that lets a few more than k pass: those that are expected
  /// among the k best and more than four standard deviations beyond. 0: no use.
  template <StoredScoreRow Row>
  HISA_FUNCTION std::int32_t seed_rank(const Row& row) const {
    std::uint32_t const n = row.end - row.first;
    auto const samples = static_cast<std::uint32_t>(4 * Sample::fours * g_.size());
    if (n < samples)
      return 0;
    auto const expected = static_cast<std::uint32_t>(static_cast<std::uint64_t>(k_) * samples / n);
    std::uint32_t const rank = expected + expected / 4 + 32;
    return rank > samples / 4 * 3 ? 0 : static_cast<std::int32_t>(rank);
  }
  /// Sets the least score to one of this rank in the sample.
  HISA_FUNCTION void seed(std::int32_t rank) {
    // Scores from 2^-16 to 2^16, of which steps of a 64th are enough.
    constexpr KeyWindow likely{order_key(0x1p-16f), 17, 11};
    Threshold const t = radix_.find_threshold_near(likely, Sample{g_, s_}, rank, Alone());
    least_ = seed_ = t.ties == 0 ? t.key + 1 : t.key;
  }

  /// Takes a batch, which begins at `at`, if its candidates fit the buffer.
  HISA_FUNCTION bool push(std::uint32_t at, int slot) {
    auto const least = __builtin_bit_cast(float, score_bits(least_));
    Scores fours[Rounds];
    Counts<Rounds> counts;
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r) {
      fours[r] = __builtin_bit_cast(Scores, g_.load(&s_.batches[slot][r][lane()]));
      int n = 0;
      HISA_UNROLL
      for (int i = 0; i < 4; ++i)
        n += fours[r].v[i] >= least;
      counts.add(r, n);
    }
    auto const sum = radix_.scan(counts);
    if (count_ + sum.total.sum() > Capacity)
      return false;
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r) {
      std::int32_t to = count_ + sum.before.of(r);
      HISA_UNROLL
      for (int i = 0; i < 4; ++i)
        if (fours[r].v[i] >= least)
          put(to++, __builtin_bit_cast(std::uint32_t, fours[r].v[i]),
              own(at, r) + static_cast<std::uint32_t>(i));
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
    // The seed lets not many more than k pass: the k-th lies not far above. All groups have the
    // same seed, but perhaps not the same least score.
    KeyWindow const likely = seed_ > 0 ? KeyWindow{seed_, 0, 22} : KeyWindow();
    Threshold const t = radix_.find_threshold_near(likely, source, k_, cluster);
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
