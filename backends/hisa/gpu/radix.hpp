// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Exact top-k by a group of lanes: descending score, then ascending position; NaN last.
///
/// Radix select on the order key (hisa/order_key.hpp) works over a *source* of candidates, digit by
/// digit from the highest:
///   find_threshold  1. count a digit of the keys that share the threshold's leading digits,
///                   2. choose the bin that holds the k-th of them; after the last digit the
///                      threshold is the k-th key and the number of its equals to keep is known;
///   compact         3. emit what is above the threshold and the first of its equals, in order.
/// The groups of a cluster, each with a source of its own, find a threshold together: what they
/// count they add up through each other's shared memory. Positions ascend with the rank.
///
/// A source comes in *rounds* of four candidates a lane: `source.rounds()` of them, and
/// `source.take(round)` is what the lane has of that round, a Four or a Share; of rounds behind the
/// last it has keys 0. `batch` rounds, up to four, are taken together, so that a scan serves all.
/// Positions ascend within a lane's four, then with the lane, then with the round.
#pragma once

#include <hisa/gpu/group.hpp>
#include <hisa/gpu/keys.hpp>

#include <type_traits>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Which candidates of a group win: keys above `key`, and the first `ties` of those that equal it.
struct Threshold {
  std::uint32_t key = 0;
  std::int32_t ties = 0;
  std::int32_t before = 0; ///< winners in the groups of lower rank
};

/// A number of candidates of a cluster's groups: of all in the lower half, and of the groups of
/// lower rank than one's own in the upper half.
using Tally = std::uint64_t;

HISA_FUNCTION constexpr Tally tally(std::uint32_t count, bool lower) {
  return (lower ? Tally(count) << 32 : 0) | count;
}
/// Up to 2^31: a row may have 2^31 - 257 candidates, and its last round is counted whole.
HISA_FUNCTION constexpr std::uint32_t of_all(Tally t) {
  return static_cast<std::uint32_t>(t & 0xffffffffu);
}
HISA_FUNCTION constexpr std::int32_t of_lower(Tally t) {
  return static_cast<std::int32_t>(t >> 32);
}

/// The four words from word 4 * i of an array that is aligned to 16 bytes.
HISA_FUNCTION inline Words* words(std::uint32_t* array, std::int32_t i) {
  return reinterpret_cast<Words*>(array) + i;
}

/// A candidate by itself.
struct alignas(8) Listed {
  std::uint32_t key, position;
  HISA_FUNCTION bool precedes(const Listed& other) const {
    return key != other.key ? key > other.key : position < other.position;
  }
};

/// Where the last candidate that is needed lies.
struct Bin {
  std::uint32_t index; ///< of the bin
  std::uint32_t count; ///< candidates in it
  std::int32_t need;   ///< of those
};

/// Shared memory of a radix select with digits of log2(Bins) bits. A group of up to Bins / 4 lanes.
template <int Bins>
struct RadixStorage {
  static constexpr int bins = Bins, listed = 64;
  static_assert(Bins >= 128 && Bins <= 2048 && (Bins & (Bins - 1)) == 0);
  // In a cluster two in turn: other groups read one while the next digit is counted.
  alignas(16) std::uint32_t histogram[2][Bins];
  std::uint32_t of_waves[2][max_waves]; ///< what each wave has counted, for the other groups
  ScanStorage scan;
  std::int32_t bin;          ///< the chosen bin
  std::int32_t need;         ///< candidates still to be taken in it
  std::uint32_t in_bin;      ///< candidates in it
  std::int32_t lower_above;  ///< of groups of lower rank, candidates of this digit above it
  std::int32_t lower_in_bin; ///< and in it
  // Of LinearSelect:
  Listed list[listed];
  std::uint32_t listing; ///< candidates in the list
  Listed last;           ///< of those that win
};

/// Makes the storage ready for a Radix; a barrier has to follow. All lanes call it.
template <class G, int Bins>
HISA_FUNCTION void prepare(const G& g, RadixStorage<Bins>& storage) {
  for (int i = g.lane(); i < Bins / 2; i += g.size())
    g.store(words(storage.histogram[0], i), Words{});
  if (g.lane() == 0)
    g.store(&storage.listing, 0u);
}

/// The counts of up to four rounds in one word: a round's fit 16 bits.
template <int Rounds>
struct Counts {
  static_assert(Rounds <= 4);
  std::conditional_t<(Rounds > 2), std::uint64_t, std::uint32_t> packed = 0;

  HISA_FUNCTION std::int32_t of(int round) const {
    return static_cast<std::int32_t>(packed >> 16 * round & 0xffff);
  }
  HISA_FUNCTION void add(int round, int count) {
    packed += static_cast<decltype(packed)>(count) << 16 * round;
  }
  HISA_FUNCTION std::int32_t sum() const {
    std::int32_t all = 0;
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r)
      all += of(r);
    return all;
  }
};

/// Radix select by the lanes of a group; the storage was made ready for this object.
template <Group G, int Bins>
class Radix {
public:
  HISA_FUNCTION Radix(const G& g, RadixStorage<Bins>& storage) : g_(g), s_(storage) {}

  /// The threshold of the `k` best of more than k candidates, k >= 1; in a cluster, of all groups'.
  /// What the source reads of shared memory was written before the last barrier.
  template <class Source, class C = Alone>
  HISA_FUNCTION Threshold find_threshold(const Source& source, std::int32_t k,
                                         const C& cluster = C()) {
    return find_threshold_near(KeyWindow(), source, k, cluster);
  }
  /// The same, fast if the k-th key lies in a window. With steps, the least winner's key is that of
  /// its step: no threshold for compact.
  template <class Source, Cluster C>
  HISA_FUNCTION Threshold find_threshold_near(const KeyWindow& likely, const Source& source,
                                              std::int32_t k, const C& cluster) {
    Threshold t;
    if (!find_threshold_in(likely, source, k, cluster, t))
      find_threshold_in(KeyWindow(), source, k, cluster, t);
    return t;
  }

  /// Calls emit(rank, position, key) for each winner of the group, ranks ascending with positions,
  /// and returns how many there are. A rank is given out after all lanes have taken the candidates
  /// of its round, and never exceeds the winner's index in the source, so `emit` may write the
  /// source.
  template <class Source, class Emit>
  HISA_FUNCTION std::int32_t compact(const Source& source, Threshold t, const Emit& emit) {
    constexpr int batch = Source::batch;
    std::int32_t above = 0, equal = 0; // in the rounds before
    for (int round = 0; round < source.rounds(); round += batch) {
      decltype(source.take(0)) taken[batch];
      Counts<batch> higher;
      HISA_UNROLL
      for (int r = 0; r < batch; ++r) {
        taken[r] = source.take(round + r);
        higher.add(r, count(taken[r], [&](std::uint32_t key) { return key > t.key; }));
      }
      auto const a = scan(higher);
      if (t.ties > 0) {
        compact_ties(taken, t, a, above, equal, emit);
        continue;
      }
      HISA_UNROLL
      for (int r = 0; r < batch; ++r) {
        std::int32_t rank = above + a.before.of(r);
        HISA_UNROLL
        for (int i = 0; i < 4; ++i)
          if (taken[r].key[i] > t.key)
            emit(rank++, taken[r].position(i), taken[r].key[i]);
        above += a.total.of(r);
      }
    }
    return above + (equal < t.ties ? equal : t.ties);
  }

  /// Steps 1 and 2 with bins of any meaning: of the candidates that each(count) reports, need or
  /// more of them, by calls of count(bin, condition), the bin of the need-th from the highest down.
  template <class Each>
  HISA_FUNCTION Bin choose(std::int32_t need, const Each& each) {
    each([&](std::uint32_t bin, bool condition) {
      g_.count(&s_.histogram[counted_][bin], condition);
    });
    g_.barrier();
    choose_bin(Alone(), need);
    return {static_cast<std::uint32_t>(g_.load(&s_.bin)), g_.load(&s_.in_bin), g_.load(&s_.need)};
  }

  template <int Rounds>
  HISA_FUNCTION Scanned<Counts<Rounds>> scan(Counts<Rounds> counts) {
    half_ ^= 1;
    auto const sum = exclusive_scan(g_, counts.packed, s_.scan, half_);
    return {{sum.before}, {sum.total}};
  }

  /// How many of the four keys meet a condition.
  template <class Candidates, class Condition>
  HISA_FUNCTION static int count(const Candidates& four, const Condition& condition) {
    int n = 0;
    HISA_UNROLL
    for (int i = 0; i < 4; ++i)
      n += condition(four.key[i]);
    return n;
  }

private:
  static constexpr int digit_bits = Bins == 2048   ? 11
                                    : Bins == 1024 ? 10
                                    : Bins == 512  ? 9
                                    : Bins == 256  ? 8
                                                   : 7;
  G g_;
  RadixStorage<Bins>& s_;
  int half_ = 0;    ///< of the scan's storage
  int counted_ = 0; ///< the next digit's histogram: it is all zero; the same in all groups

  /// Finds the threshold among the keys of a window. False: it is not there, as all groups agree.
  template <class Source, Cluster C>
  HISA_FUNCTION bool find_threshold_in(const KeyWindow& window, const Source& source,
                                       std::int32_t k, const C& cluster, Threshold& t) {
    bool const shared = cluster.ranks() > 1;
    std::uint32_t distance = 0;
    std::uint32_t known = 0; // mask of the leading digits that `distance` holds
    t = {0, k, 0};
    for (int shift = window.bits; shift > 0;) {
      int const width = shift < digit_bits ? shift : digit_bits;
      shift -= width;
      if (known == 0)
        count_digit<true>(window, source, 0, 0, shift, (1u << width) - 1);
      else
        count_digit<false>(window, source, distance, known, shift, (1u << width) - 1);
      choose_bin(cluster, t.ties);
      distance |= static_cast<std::uint32_t>(g_.load(&s_.bin)) << shift;
      t.ties = g_.load(&s_.need);
      t.before += shared ? g_.load(&s_.lower_above) : 0;
      known = ~0u << shift;
      t.key = window.key(distance);
      if (!window.holds(distance, known))
        return false;
      if (g_.load(&s_.in_bin) == static_cast<std::uint32_t>(t.ties)) { // all of the bin are taken
        t = {t.key - 1, 0, t.before + (shared ? g_.load(&s_.lower_in_bin) : 0)};
        return true;
      }
    }
    std::int32_t const equal = shared ? g_.load(&s_.lower_in_bin) : 0; // they come first
    std::int32_t const taken = equal < t.ties ? equal : t.ties;
    t.ties -= taken, t.before += taken;
    return true;
  }

  /// A batch of step 3 where some of the threshold's equals are kept.
  template <class Candidates, int Rounds, class Emit>
  HISA_FUNCTION void compact_ties(const Candidates (&taken)[Rounds], Threshold t,
                                  const Scanned<Counts<Rounds>>& a, std::int32_t& above,
                                  std::int32_t& equal, const Emit& emit) {
    Counts<Rounds> same;
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r)
      same.add(r, count(taken[r], [&](std::uint32_t key) { return key == t.key; }));
    auto const e = scan(same);
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r) {
      std::int32_t higher = above + a.before.of(r), equals = equal + e.before.of(r);
      HISA_UNROLL
      for (int i = 0; i < 4; ++i) {
        std::uint32_t const key = taken[r].key[i];
        if (key > t.key || (key == t.key && equals < t.ties))
          emit(higher + (equals < t.ties ? equals : t.ties), taken[r].position(i), key);
        higher += key > t.key, equals += key == t.key;
      }
      above += a.total.of(r), equal += e.total.of(r);
    }
  }

  /// Step 1.
  template <bool First, class Source>
  HISA_FUNCTION void count_digit(const KeyWindow& window, const Source& source,
                                 std::uint32_t prefix, std::uint32_t known, int shift,
                                 std::uint32_t mask) {
    constexpr int batch = Source::batch;
    for (int round = 0; round < source.rounds(); round += batch) {
      HISA_UNROLL
      for (int r = 0; r < batch; ++r) {
        if (round + r >= source.rounds())
          continue;
        auto const taken = source.take(round + r);
        HISA_UNROLL
        for (int i = 0; i < 4; ++i) { // 0 is the least key: counting it harms nobody
          std::uint32_t const distance = window.distance(taken.key[i]);
          g_.count(&s_.histogram[counted_][distance >> shift & mask],
                   First || (distance & known) == prefix);
        }
      }
    }
    g_.barrier();
  }

  /// Step 2: each lane sums some neighbouring bins, from the highest down; the lane in whose bins
  /// the need-th candidate lies says which. Each lane clears its bins. Returns how many were
  /// counted.
  HISA_FUNCTION void choose_bin(const Alone&, std::int32_t need) {
    int const mine = (Bins / 4 + g_.size() - 1) / g_.size(); // words of four bins, at most
    bool const all_alike = mine * g_.size() == Bins / 4;
    int const highest = Bins / 4 - 1 - g_.lane() * mine;
    Words* const top = words(s_.histogram[counted_], highest);
    std::uint32_t own = 0;
    for (int w = 0; w < mine && (all_alike || w <= highest); ++w)
      own += sum(g_.load(top - w).v);
    half_ ^= 1;
    auto before = exclusive_scan(g_, own, s_.scan, half_).before;
    auto const wanted = static_cast<std::uint32_t>(need);
    bool const here = of_all(before) < wanted && wanted <= of_all(before + own);
    for (int w = 0; w < mine && (all_alike || w <= highest); ++w) {
      if (here)
        find_in(g_.load(top - w).v, 4 * (highest - w), need, before);
      g_.store(top - w, Words{});
    }
    g_.barrier();
  }

  /// Step 2 in a cluster, of groups with a lane for every four bins: they tell each other what each
  /// wave has counted, and the wave in whose bins the need-th candidate lies adds up its bins. Each
  /// lane clears its bins of the last digit.
  template <Cluster C>
  HISA_FUNCTION void choose_bin(const C& cluster, std::int32_t need) {
    int const lane = g_.lane() % G::wave, wave = g_.lane() / G::wave, waves = g_.size() / G::wave;
    int const word = Bins / 4 - 1 - g_.lane();
    Words* const own = words(s_.histogram[counted_], word);
    counted_ ^= 1;
    std::uint32_t* const of_waves = s_.of_waves[counted_];
    std::uint32_t const mine = wave_scan(g_, sum(g_.load(own).v));
    if (lane == G::wave - 1)
      g_.store(of_waves + wave, mine);
    cluster.barrier();

    Tally of_wave = 0; // of wave number `lane`
    if (lane < waves)
      for_each_rank(g_, cluster, of_waves + lane, [&](int rank, std::uint32_t count) {
        of_wave += tally(count, rank < cluster.rank());
      });
    Tally before = wave_sum(g_, lane < wave ? of_wave : 0);
    Tally const through = before + g_.shuffle(of_wave, wave);
    auto const wanted = static_cast<std::uint32_t>(need);
    bool const here = of_all(before) < wanted && wanted <= of_all(through);
    Tally bins[4] = {};
    if (here)
      for_each_rank(g_, cluster, own, [&](int rank, const Words& counts) {
        HISA_UNROLL
        for (int i = 0; i < 4; ++i)
          bins[i] += tally(counts.v[i], rank < cluster.rank());
      });
    before += wave_scan(g_, sum(bins)) - sum(bins);
    if (here)
      find_in(bins, 4 * word, need, before);
    g_.store(words(s_.histogram[counted_], word), Words{});
    g_.barrier();
  }

  template <class T>
  HISA_FUNCTION static T sum(const T (&bins)[4]) {
    return bins[0] + bins[1] + bins[2] + bins[3];
  }

  /// Says it if the need-th candidate lies in these bins, of which the first is bin `lowest`.
  /// @tparam T  Tally, or a plain number
  template <class T>
  HISA_FUNCTION void find_in(const T (&bins)[4], int lowest, std::int32_t need, T& before) const {
    auto const wanted = static_cast<std::uint32_t>(need);
    HISA_UNROLL
    for (int i = 3; i >= 0; --i) {
      if (of_all(before) < wanted && wanted <= of_all(before + bins[i])) {
        g_.store(&s_.bin, lowest + i);
        g_.store(&s_.need, static_cast<std::int32_t>(wanted - of_all(before)));
        g_.store(&s_.in_bin, of_all(bins[i]));
        if constexpr (std::is_same_v<T, Tally>) {
          g_.store(&s_.lower_above, of_lower(before));
          g_.store(&s_.lower_in_bin, of_lower(bins[i]));
        }
      }
      before += bins[i];
    }
  }
};

} // namespace gpu
HISA_NAMESPACE_END
