// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Exact top-k by a group of lanes: descending score, then ascending position; NaN last.
///
/// Radix select on the order key (hisa/order_key.hpp) works over a *source* of keys, in three
/// digits:
///   find_threshold  1. count a digit of the keys that share the threshold's leading digits,
///                   2. choose the bin that holds the k-th of them; after the last digit the
///                      threshold is the k-th key and the number of its equals to keep is known;
///   compact         3. emit what is above the threshold and the first of its equals, in order.
/// StreamSelect puts a buffer in shared memory before it, so that a long row is read once: a
/// candidate is dropped only when k that precede it are known, and a full buffer is compacted,
/// never cut.
#pragma once

#include <hisa/gpu/group.hpp>
#include <hisa/order_key.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// The key of a candidate: larger precedes. 0 is no candidate at all, and never selected.
HISA_FUNCTION inline std::uint32_t candidate_key(float score) {
  return order_key(score) + 1;
}

/// `Width` candidates as one lane holds them, positions ascending.
template <int Width>
struct Share {
  std::uint32_t key[Width] = {};
  std::int32_t position[Width] = {};
};

/// Which candidates win: keys above `key`, and the first `ties` of those that equal it.
struct Threshold {
  std::uint32_t key = 0;
  std::int32_t ties = 0;
};

/// Shared memory of a radix select.
struct RadixStorage {
  static constexpr int bins = 2048;
  alignas(16) std::int32_t histogram[bins];
  ScanStorage scan;
  std::int32_t bin;    ///< the chosen bin
  std::int32_t need;   ///< candidates still to be taken in it
  std::int32_t in_bin; ///< candidates in it
};

/// Radix select by the lanes of `g` over a source of candidates in rounds: `source.rounds()` of
/// them, `source.take(r)` the lane's candidates of round r. Positions ascend within a lane's
/// candidates, then with the lane, then with the round.
template <Group G>
class Radix {
public:
  HISA_FUNCTION Radix(const G& g, RadixStorage& storage) : g_(g), s_(storage) {}

  /// The threshold of the `k` best of more than k candidates, k >= 1.
  template <class Source>
  HISA_FUNCTION Threshold find_threshold(const Source& source, std::int32_t k) {
    Threshold t{0, k};
    std::uint32_t known = 0; // mask of the leading digits that t.key holds
    for (int bin = g_.lane(); bin < RadixStorage::bins; bin += g_.size())
      g_.store(&s_.histogram[bin], 0);
    g_.barrier();
    for (int digit = 0; digit < 3; ++digit) { // of 11, 11 and 10 bits
      int const shift = digit == 2 ? 0 : 21 - 11 * digit;
      count_digit(source, t.key, known, shift, digit == 2 ? 0x3ffu : 0x7ffu);
      choose_bin(t.ties);
      t.key |= static_cast<std::uint32_t>(g_.load(&s_.bin)) << shift;
      t.ties = g_.load(&s_.need);
      known = ~0u << shift;
      if (g_.load(&s_.in_bin) == t.ties) // all of the bin are taken
        return {t.key - 1, 0};
    }
    return t;
  }

  /// Calls emit(rank, candidates, i) for each winner, ranks ascending with positions. A rank is
  /// given out after all lanes have taken the candidates of its round, and never exceeds the
  /// winner's index in the source, so `emit` may write the source.
  template <class Source, class Emit>
  HISA_FUNCTION void compact(const Source& source, Threshold t, const Emit& emit) {
    std::int32_t above = 0, equal = 0; // winners-to-be in the rounds before
    for (int round = 0; round < source.rounds(); ++round) {
      auto const taken = source.take(round);
      if (t.ties == 0) {
        above += compact_above(taken, t.key, above, emit);
        continue;
      }
      std::uint32_t mine = 0; // a round's counts fit 16 bits each
      HISA_UNROLL
      for (int i = 0; i < Source::width; ++i)
        mine += taken.key[i] > t.key ? 0x10000u : taken.key[i] == t.key;
      auto const sum = scan(mine);
      std::int32_t a = above + high(sum.before), e = equal + low(sum.before);
      HISA_UNROLL
      for (int i = 0; i < Source::width; ++i) {
        bool const wins = taken.key[i] > t.key || (taken.key[i] == t.key && e < t.ties);
        if (wins)
          emit(a + (e < t.ties ? e : t.ties), taken, i);
        a += taken.key[i] > t.key;
        e += taken.key[i] == t.key;
      }
      above += high(sum.total), equal += low(sum.total);
    }
  }

  template <class T>
  HISA_FUNCTION Scanned<T> scan(T value) {
    half_ ^= 1;
    return exclusive_scan(g_, value, s_.scan, half_);
  }

private:
  G g_;
  RadixStorage& s_;
  int half_ = 0;

  /// One round of step 3 where no equals are kept; returns the winners of the round.
  template <int Width, class Emit>
  HISA_FUNCTION std::int32_t compact_above(const Share<Width>& taken, std::uint32_t key,
                                           std::int32_t before, const Emit& emit) {
    std::uint32_t mine = 0;
    HISA_UNROLL
    for (int i = 0; i < Width; ++i)
      mine += taken.key[i] > key;
    auto const sum = scan(mine);
    std::int32_t rank = before + static_cast<std::int32_t>(sum.before);
    HISA_UNROLL
    for (int i = 0; i < Width; ++i)
      if (taken.key[i] > key)
        emit(rank++, taken, i);
    return static_cast<std::int32_t>(sum.total);
  }

  HISA_FUNCTION static std::int32_t high(std::uint32_t x) {
    return static_cast<std::int32_t>(x >> 16);
  }
  HISA_FUNCTION static std::int32_t low(std::uint32_t x) {
    return static_cast<std::int32_t>(x & 0xffff);
  }

  /// Step 1. The histogram is all zero.
  template <class Source>
  HISA_FUNCTION void count_digit(const Source& source, std::uint32_t prefix, std::uint32_t known,
                                 int shift, std::uint32_t mask) {
    for (int round = 0; round < source.rounds(); ++round) {
      auto const taken = source.take(round);
      HISA_UNROLL
      for (int i = 0; i < Source::width; ++i) // 0 is the least key: counting it harms nobody
        if ((taken.key[i] & known) == prefix)
          g_.add(&s_.histogram[taken.key[i] >> shift & mask], 1);
    }
    g_.barrier();
  }

  /// Step 2: each lane sums some neighbouring bins, from the highest down; the lane in whose bins
  /// the need-th candidate lies says which. Each lane clears its bins.
  HISA_FUNCTION void choose_bin(std::int32_t need) {
    int const mine = RadixStorage::bins / g_.size();
    int const top = RadixStorage::bins - 1 - g_.lane() * mine;
    std::int32_t sum = 0;
    for (int i = 0; i < mine; ++i)
      sum += g_.load(&s_.histogram[top - i]);
    auto before = static_cast<std::int32_t>(scan(static_cast<std::uint32_t>(sum)).before);
    if (before < need && need <= before + sum) {
      int bin = top;
      while (before + g_.load(&s_.histogram[bin]) < need)
        before += g_.load(&s_.histogram[bin--]);
      g_.store(&s_.bin, static_cast<std::int32_t>(bin));
      g_.store(&s_.need, need - before);
      g_.store(&s_.in_bin, g_.load(&s_.histogram[bin]));
    }
    for (int i = 0; i < mine; ++i)
      g_.store(&s_.histogram[top - i], 0);
    g_.barrier();
  }
};

/// Shared memory of a StreamSelect.
template <int Capacity>
struct StreamStorage {
  static_assert(Capacity % 4 == 0);
  struct alignas(16) Four {
    std::uint32_t v[4];
  };
  Four keys[Capacity / 4];
  Four positions[Capacity / 4];
  RadixStorage radix;
};

/// A lane's candidates in its registers, at neighbouring positions from `first`, as a source.
template <int Width>
struct Held {
  static constexpr int width = Width;
  std::uint32_t key[Width] = {};
  std::int32_t first = 0;

  HISA_FUNCTION static constexpr int rounds() { return 1; }
  HISA_FUNCTION Share<Width> take(int) const {
    Share<Width> c;
    HISA_UNROLL
    for (int i = 0; i < Width; ++i) {
      c.key[i] = key[i];
      c.position[i] = first + i;
    }
    return c;
  }
};

/// The k best of candidates that arrive in ascending order of position. All lanes of the group make
/// one each over the same storage and call the members together.
template <Group G, int Capacity>
class StreamSelect {
public:
  using Storage = StreamStorage<Capacity>;

  /// Needs k >= 1; push says how large it may be.
  HISA_FUNCTION StreamSelect(const G& g, Storage& storage, std::int32_t k)
      : g_(g), s_(storage), radix_(g, storage.radix), k_(k) {}

  /// Takes the candidates of each lane, behind all that were taken before; `Width` times the lanes
  /// must not exceed Capacity - k.
  template <int Width>
  HISA_FUNCTION void push(const Held<Width>& held) {
    auto sum = radix_.scan(passing(held));
    if (count_ + static_cast<std::int32_t>(sum.total) > Capacity) {
      shrink();
      sum = radix_.scan(passing(held));
    }
    std::int32_t at = count_ + static_cast<std::int32_t>(sum.before);
    HISA_UNROLL
    for (int i = 0; i < Width; ++i)
      if (held.key[i] >= least_)
        put(at++, held.key[i], held.first + i);
    count_ += static_cast<std::int32_t>(sum.total);
  }

  /// Calls emit(rank, position, key) for each of the min(k, candidates) winners, ranks ascending
  /// with positions, and returns how many there are.
  template <class Emit>
  HISA_FUNCTION std::int32_t finish(const Emit& emit) {
    shrink();
    g_.barrier();
    for (std::int32_t rank = g_.lane(); rank < count_; rank += g_.size())
      emit(rank, static_cast<std::int32_t>(g_.load(&s_.positions[rank / 4].v[rank % 4])),
           g_.load(&s_.keys[rank / 4].v[rank % 4]));
    return count_;
  }

private:
  /// The buffer as a source.
  struct Source {
    static constexpr int width = 4;
    const G& g;
    Storage& s;
    std::int32_t count;
    HISA_FUNCTION int rounds() const { return (count + 4 * g.size() - 1) / (4 * g.size()); }
    HISA_FUNCTION Share<4> take(int round) const {
      std::int32_t const i = 4 * (round * g.size() + g.lane());
      Share<4> c;
      if (i >= count)
        return c;
      auto const keys = g.load(&s.keys[i / 4]), positions = g.load(&s.positions[i / 4]);
      HISA_UNROLL
      for (int j = 0; j < 4; ++j) {
        c.key[j] = i + j < count ? keys.v[j] : 0;
        c.position[j] = static_cast<std::int32_t>(positions.v[j]);
      }
      return c;
    }
  };

  G g_;
  Storage& s_;
  Radix<G> radix_;
  std::int32_t k_;
  std::int32_t count_ = 0;
  std::uint32_t least_ = 1; ///< candidates with a smaller key are dropped

  template <int Width>
  HISA_FUNCTION std::uint32_t passing(const Held<Width>& held) const {
    std::uint32_t count = 0;
    HISA_UNROLL
    for (int i = 0; i < Width; ++i)
      count += held.key[i] >= least_;
    return count;
  }
  HISA_FUNCTION void put(std::int32_t at, std::uint32_t key, std::int32_t position) const {
    g_.store(&s_.keys[at / 4].v[at % 4], key);
    g_.store(&s_.positions[at / 4].v[at % 4], static_cast<std::uint32_t>(position));
  }
  /// Leaves the k best in the buffer. Later candidates that equal the least of them come after it.
  HISA_FUNCTION void shrink() {
    if (count_ <= k_)
      return;
    Source const source{g_, s_, count_};
    Threshold const t = radix_.find_threshold(source, k_);
    radix_.compact(source, t, [&](std::int32_t rank, const auto& c, int i) {
      put(rank, c.key[i], c.position[i]);
    });
    count_ = k_;
    least_ = t.key + 1;
  }
};

/// The k best of candidates that fit the group's registers: emit(rank, position) for each, ranks
/// ascending with positions. Shares a StreamSelect's storage. All lanes call it.
template <Group G, int Capacity, int Width, class Emit>
HISA_FUNCTION void select_held(const G& g, StreamStorage<Capacity>& storage,
                               const Held<Width>& source, std::int32_t candidates, std::int32_t k,
                               const Emit& emit) {
  Radix<G> radix(g, storage.radix);
  std::int32_t const count = candidates < k ? candidates : k;
  Threshold const t = candidates > k ? radix.find_threshold(source, k) : Threshold{};
  auto const winner = [&](std::int32_t rank) { return &storage.positions[rank / 4].v[rank % 4]; };
  radix.compact(source, t, [&](std::int32_t rank, const auto& c, int i) {
    g.store(winner(rank), static_cast<std::uint32_t>(c.position[i]));
  });
  g.barrier();
  for (std::int32_t rank = g.lane(); rank < count; rank += g.size())
    emit(rank, static_cast<std::int32_t>(g.load(winner(rank))));
}

} // namespace gpu
HISA_NAMESPACE_END
