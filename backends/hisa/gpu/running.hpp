// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What may be among the k best of a row that comes in parts, one behind the other: a list of
/// *contenders* in memory, in order of position. A list that may have no room for the next part's
/// is reduced to not many more than its k best, and what comes later has to exceed the last of
/// these.
#pragma once

#include <hisa/gpu/contender.hpp>
#include <hisa/gpu/radix.hpp>
#include <hisa/gpu/row.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// A part of a row in memory: `values` is 16-byte aligned, positions [first, end) count.
struct RowPart {
  const float* values = nullptr;
  std::uint32_t first = 0, end = 0;
};

/// The contenders of a row, in memory that is aligned to 16 bytes.
struct ContenderList {
  Contender* contenders = nullptr;
  std::int32_t count = 0;
  float bound = no_score; ///< that k contenders reach; NaN: all scores may win
};

/// Shared memory of a RunningSelect.
template <int Bins>
struct RunningStorage {
  RadixStorage<Bins> radix;
  std::uint32_t of_waves[2][max_waves]; ///< in turn
};

/// Makes the storage ready; the first part's barrier is enough. All lanes call it.
template <class G, int Bins>
HISA_FUNCTION void prepare(const G& g, RunningStorage<Bins>& storage) {
  prepare(g, storage.radix);
}

/// Lists contenders, by `Lanes` lanes; the storage is prepared. Its public members are collective.
/// Lists are memory of the lanes alone, which their barrier orders as it does shared memory.
template <Group G, int Lanes, int Capacity, int Bins>
class RunningSelect {
public:
  static constexpr int rounds = 8;                 ///< of four scores a lane
  static constexpr int batch = 4 * rounds * Lanes; ///< scores of a part, at most
  static constexpr int slack = 512;                ///< contenders beyond k that a reduction leaves
  static constexpr int max_k = Capacity - batch - slack;

  HISA_FUNCTION RunningSelect(const G& g, RunningStorage<Bins>& storage)
      : g_(g), s_(storage), radix_(g, storage.radix) {}

  /// Lists what of the next part of a row may be among its k best, 1 <= k <= max_k.
  /// @param shift  the part's position 0 is the row's position `shift`
  HISA_FUNCTION void take(ContenderList& list, std::int32_t k, const RowPart& part,
                          std::int32_t shift) {
    if (part.first >= part.end)
      return;
    if (list.count > Capacity - batch)
      shrink(list, k);
    Scores scores[rounds];
    const Scores* const own =
        reinterpret_cast<const Scores*>(part.values) + first_of_lane<rounds>();
    int const begin = (static_cast<int>(part.first) - first_of_wave<rounds>()) / round; // rounds
    int const end = (static_cast<int>(part.end) - first_of_wave<rounds>() + round - 1) / round;
    HISA_UNROLL
    for (int r = 0; r < rounds; ++r) {
      scores[r] = {};
      if (r >= begin && r < end)
        scores[r] = own[r * G::wave];
    }
    std::uint32_t marks = ~0u;
    if (list.bound == list.bound)
      marks = mark<rounds>([&](int r, int i) { return scores[r].v[i] > list.bound; });
    std::uint32_t const first = static_cast<std::uint32_t>(4 * first_of_lane<rounds>());
    if (part.first > 0 || part.end < batch)
      marks &= mark<rounds>([&](int r, int i) {
        std::uint32_t const at = first + static_cast<std::uint32_t>(r * round + i);
        return at >= part.first && at < part.end;
      });
    Places const places = find_places(marks);
    std::int32_t const position = shift + static_cast<std::int32_t>(first);
    put_marked<rounds>(marks, places, list.count, [&](std::int32_t to, int r, int i) {
      g_.store(list.contenders + to, Contender{scores[r].v[i], position + r * round + i});
    });
    list.count += places.total;
  }

private:
  G g_;
  RunningStorage<Bins>& s_;
  Radix<G, Bins> radix_;
  int half_ = 0; ///< of the storage

  /// A batch is of `Rounds` rounds of four neighbours a lane; a wave has neighbouring rounds.
  static constexpr int round = 4 * G::wave; ///< of a wave
  template <int Rounds>
  HISA_FUNCTION int first_of_wave() const {
    return g_.lane() / G::wave * Rounds * round;
  }
  /// In fours.
  template <int Rounds>
  HISA_FUNCTION int first_of_lane() const {
    return first_of_wave<Rounds>() / 4 + g_.lane() % G::wave;
  }

  /// Marks some of a lane's scores: bit 4 r + i is that of score i of round r.
  template <int Rounds, class Condition>
  HISA_FUNCTION static std::uint32_t mark(const Condition& condition) {
    std::uint32_t marks = 0;
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r)
      HISA_UNROLL
    for (int i = 0; i < 4; ++i)
      marks |= condition(r, i) ? 1u << (4 * r + i) : 0;
    return marks;
  }

  /// Eight numbers, of a round each, in the bytes of a word.
  struct OfRounds {
    std::uint64_t bytes;
    HISA_FUNCTION std::int32_t of(int round) const {
      return static_cast<std::int32_t>(bytes >> (8 * (round / 2) + 32 * (round % 2)) & 0xff);
    }
    HISA_FUNCTION std::uint32_t sum() const {
      constexpr std::uint32_t even = 0x00ff00ffu;
      auto const low = static_cast<std::uint32_t>(bytes);
      auto const high = static_cast<std::uint32_t>(bytes >> 32);
      std::uint32_t const two =
          (low & even) + (low >> 8 & even) + (high & even) + (high >> 8 & even);
      return (two + (two >> 16)) & 0xffffu;
    }
  };
  /// Where marked scores go, in order of position.
  struct Places {
    OfRounds before;    ///< marked in lanes before this one
    OfRounds of_wave;   ///< in all lanes
    std::int32_t first; ///< marked in the waves before
    std::int32_t total; ///< in all waves
  };

  /// Collective. One barrier.
  HISA_FUNCTION Places find_places(std::uint32_t marks) {
    std::uint32_t const pairs = marks - (marks >> 1 & 0x55555555u);
    std::uint32_t const fours = (pairs & 0x33333333u) + (pairs >> 2 & 0x33333333u);
    std::uint64_t const own = std::uint64_t(fours >> 4 & 0x0f0f0f0fu) << 32 | (fours & 0x0f0f0f0fu);
    std::uint64_t const through = wave_scan(g_, own);
    Places p;
    p.before = {through - own};
    p.of_wave = {g_.shuffle(through, G::wave - 1)};
    int const lane = g_.lane() % G::wave, wave = g_.lane() / G::wave;
    half_ ^= 1;
    if (lane == 0)
      g_.store(&s_.of_waves[half_][wave], p.of_wave.sum());
    g_.barrier();
    std::uint32_t const mine = lane < Lanes / G::wave ? g_.load(&s_.of_waves[half_][lane]) : 0;
    p.first = static_cast<std::int32_t>(g_.sum(lane < wave ? mine : 0));
    p.total = static_cast<std::int32_t>(g_.sum(mine));
    return p;
  }

  /// Calls put(place, round, i) for each marked score.
  /// @param from  of the first place
  template <int Rounds, class Put>
  HISA_FUNCTION static void put_marked(std::uint32_t marks, const Places& places, std::int32_t from,
                                       const Put& put) {
    std::int32_t to = from + places.first;
    HISA_UNROLL
    for (int r = 0; r < Rounds; ++r) {
      std::int32_t const of_wave = places.of_wave.of(r);
      if (of_wave == 0)
        continue;
      std::int32_t at = to + places.before.of(r);
      HISA_UNROLL
      for (int i = 0; i < 4; ++i)
        if ((marks >> (4 * r + i) & 1) != 0)
          put(at++, r, i);
      to += of_wave;
    }
  }

  /// A batch of a list as a lane has it. What is behind the list's end has scores 0. It is
  /// read by pairs: `shrink` fills the last.
  template <int Rounds>
  struct Batch {
    static constexpr int rounds = Rounds;
    static constexpr std::int32_t size = 4 * rounds * Lanes;
    Contender of[rounds][4];
    std::uint32_t there = ~0u; ///< marks of what is in the list

    HISA_FUNCTION Batch(const RunningSelect& s, const ContenderList& list, std::int32_t base) {
      auto const pairs = reinterpret_cast<const Pair*>(list.contenders);
      std::int32_t const first = base + 4 * s.first_of_lane<rounds>();
      bool const whole = base + size <= list.count;
      HISA_UNROLL
      for (int r = 0; r < rounds; ++r)
        HISA_UNROLL
      for (int i = 0; i < 4; i += 2) {
        std::int32_t const at = (first + r * round + i) / 2, last = (list.count - 1) / 2;
        Pair const pair = s.g_.load(pairs + (whole || at < last ? at : last));
        of[r][i] = pair.of[0], of[r][i + 1] = pair.of[1];
      }
      if (whole)
        return;
      there = mark<rounds>([&](int r, int i) { return first + r * round + i < list.count; });
      HISA_UNROLL
      for (int r = 0; r < rounds; ++r)
        HISA_UNROLL
      for (int i = 0; i < 4; ++i)
        of[r][i].score = has(r, i) ? of[r][i].score : 0;
    }
    HISA_FUNCTION bool has(int r, int i) const { return (there >> (4 * r + i) & 1) != 0; }
    /// 0: there is none.
    HISA_FUNCTION std::uint32_t key(int r, int i) const {
      return has(r, i) ? candidate_key(of[r][i].score) : 0;
    }

  private:
    struct alignas(16) Pair {
      Contender of[2];
    };
  };

  using Counted = Batch<8>; ///< registers are for its scores alone
  using Kept = Batch<4>;    ///< of which some go on

  /// Calls each(r, i, batch) for each of a lane's places in the batches of a list.
  template <class Each>
  HISA_FUNCTION void for_each(const ContenderList& list, const Each& each) const {
    for (std::int32_t base = 0; base < list.count; base += Counted::size) {
      Counted const batch(*this, list, base);
      HISA_UNROLL
      for (int r = 0; r < Counted::rounds; ++r)
        HISA_UNROLL
      for (int i = 0; i < 4; ++i)
        each(batch, r, i);
    }
  }

  /// Leaves k to k + slack contenders of more, all that come before the others, and their bound.
  HISA_FUNCTION void shrink(ContenderList& list, std::int32_t k) {
    if (g_.lane() == 0 && list.count % 2 != 0)
      g_.store(list.contenders + list.count, Contender{}); // of a pair
    g_.barrier();                                          // what was listed
    Threshold const t = find_threshold(list, k);
    std::uint32_t const bits = score_bits(t.ties == 0 ? t.key + 1 : t.key);
    float const bound = __builtin_bit_cast(float, bits);
    // Comparisons of floats may take a bound that is not normal for zero (-ftz=true).
    bool const by_keys = t.ties > 0 || (bits & 0x7f800000u) == 0;
    if (by_keys)
      compact_by_keys(list, t);
    else
      compact(list, [&](const Kept& batch) {
        return mark<Kept::rounds>([&](int r, int i) { return batch.of[r][i].score >= bound; });
      });
    list.bound = bound;
  }

  /// Keys [lowest, lowest + width] in bins of 2^shift.
  struct Window {
    std::uint32_t lowest, width;
    int shift;
    /// What lies outside is in the first or the last.
    HISA_FUNCTION std::uint32_t bin(std::uint32_t key) const {
      std::uint32_t const b = (key > lowest ? key - lowest : 0) >> shift;
      return b < Bins ? b : Bins - 1;
    }
  };

  /// Like Radix::find_threshold, but from the least key that a contender can have, and it stops
  /// where a bin has not many more than are needed: then all of it is taken.
  HISA_FUNCTION Threshold find_threshold(const ContenderList& list, std::int32_t k) {
    constexpr int bits = 10, near = 14; // of a digit; steps in which most contenders lie near
    static_assert(Bins == 1 << bits);
    bool const any = list.bound != list.bound;
    Window w{any ? 1 : candidate_key(list.bound), ~0u, any ? 32 - bits : near};
    std::int32_t need = k;
    // First without conditions. What is behind the list's end is in the lowest bin: it harms
    // nobody.
    Bin bin = radix_.choose(need, [&](const auto& count) {
      if (list.bound > 0) { // so all keys are those of positive scores
        for_each(list, [&](const Counted& batch, int r, int i) {
          count(w.bin(1u << 31 | __builtin_bit_cast(std::uint32_t, batch.of[r][i].score)), true);
        });
      } else {
        for_each(list,
                 [&](const Counted& batch, int r, int i) { count(w.bin(batch.key(r, i)), true); });
      }
    });
    for (;;) {
      need = bin.need;
      bool const beyond = bin.index == Bins - 1 && w.width >> w.shift >= Bins;
      w.lowest += bin.index << w.shift;
      w.width = beyond ? ~0u : (1u << w.shift) - 1;
      if (bin.count - need <= slack)
        return {w.lowest - 1, 0};
      if (w.width == 0)
        return {w.lowest, need};
      w.shift = beyond ? 32 - bits : (w.shift > bits ? w.shift - bits : 0);
      bin = radix_.choose(need, [&](const auto& count) {
        for_each(list, [&](const Counted& batch, int r, int i) {
          std::uint32_t const key = batch.key(r, i);
          count(w.bin(key), key >= w.lowest && key - w.lowest <= w.width);
        });
      });
    }
  }

  /// Keeps what marks_of(batch) says.
  template <class Marks>
  HISA_FUNCTION void compact(ContenderList& list, const Marks& marks_of) {
    std::int32_t kept = 0;
    for (std::int32_t base = 0; base < list.count; base += Kept::size) {
      Kept const batch(*this, list, base);
      std::uint32_t const marks = marks_of(batch) & batch.there;
      Places const places = find_places(marks); // behind its barrier the batch may be overwritten
      put_marked<Kept::rounds>(marks, places, kept, [&](std::int32_t to, int r, int i) {
        g_.store(list.contenders + to, batch.of[r][i]);
      });
      kept += places.total;
    }
    list.count = kept;
  }
  /// Keeps what is above a threshold, and the first of its equals.
  HISA_FUNCTION void compact_by_keys(ContenderList& list, const Threshold& t) {
    std::int32_t ties = t.ties; // still to be kept
    compact(list, [&](const Kept& batch) {
      std::uint32_t marks =
          mark<Kept::rounds>([&](int r, int i) { return batch.key(r, i) > t.key; });
      std::uint32_t const equal =
          mark<Kept::rounds>([&](int r, int i) { return batch.key(r, i) == t.key; });
      Places const places = find_places(equal);
      put_marked<Kept::rounds>(equal, places, 0, [&](std::int32_t rank, int r, int i) {
        marks |= rank < ties ? 1u << (4 * r + i) : 0;
      });
      ties -= places.total < ties ? places.total : ties;
      return marks;
    });
  }
};

} // namespace gpu
HISA_NAMESPACE_END
