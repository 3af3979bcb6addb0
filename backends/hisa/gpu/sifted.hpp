// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The k best of each query of a group, from lists of contenders in which the group's queries, and
/// their positions, are in any order:
///   count   1. the group counts each query's contenders in bins of equal width;
///   choose  2. for each query a part of the group finds the bin of the k-th: what is in higher
///              bins wins;
///   gather  3. the group puts these into a row of winners for each query, in any order, and lists
///              those of the bin;
///   emit    4. the part adds the best of the bin, sets a bit for the position of each winner, and
///              counts the bits before each: ranks ascend with positions.
#pragma once

#include <hisa/gpu/contender.hpp>
#include <hisa/gpu/held.hpp>
#include <hisa/gpu/pieces.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// What the contenders of a query are chosen by.
struct alignas(16) SiftedQuery {
  float scale = 0, offset = 1; ///< of scores, so that the bins begin at 1
  std::int32_t limit = 0;      ///< of positions
  std::int32_t k = 0;          ///< 0: nothing to choose

  /// @param low     no contender is worse
  /// Bins grow with the distance from `low`, and end at about four times that of `likely`.
  /// @param likely  what the k-th is about
  HISA_FUNCTION void set_range(float low, float likely) {
    float const s = 4 / (likely - low);
    if (s > 0 && s < 0x1p100f)
      scale = s, offset = 1 - low * s;
  }
  /// Monotone, as every rounding is.
  template <int Bins>
  HISA_FUNCTION std::int32_t bin(float score) const {
    float const at = fmaxf(fmaf(score, scale, offset), 1);
    constexpr std::uint32_t step = (1u << 23) / (Bins / 4); // of four powers of two
    std::uint32_t const bin = (__builtin_bit_cast(std::uint32_t, at) - 0x3f800000u) / step;
    return static_cast<std::int32_t>(bin < Bins - 1 ? bin : Bins - 1);
  }
};

/// Shared memory for a group of queries.
template <int Bins, int Words>
struct SiftedStorage {
  static constexpr int bins = Bins, max_k = 2 * Bins; ///< winners are where counts were
  static constexpr int words = Words;
  static constexpr std::uint32_t window = 32 * Words; ///< positions at a time
  static constexpr int run = 8;                       ///< words whose bits are counted together
  static_assert(Words % run == 0);
  RadixStorage<Bins> radix[group_queries];
  SiftedQuery queries[group_queries];
  std::int32_t edges[group_queries];   ///< twice the bin of the k-th, or less by 1 if all of it win
  std::int32_t needs[group_queries];   ///< of the bin's contenders
  std::uint32_t counts[group_queries]; ///< of the winners that were put into rows
  std::uint32_t lost;                  ///< not 0: too few contenders, or bins do not tell
  alignas(16) std::uint32_t marks[group_queries][Words];
  std::uint32_t before[group_queries][Words / run]; ///< winners before a run of words

  HISA_FUNCTION std::uint32_t* winners(int q) { return radix[q].histogram[0]; }
};

template <class G, int Bins, int Words>
HISA_FUNCTION void prepare(const G& g, SiftedStorage<Bins, Words>& s) {
  for (auto& radix : s.radix)
    prepare(g, radix);
  if (g.lane() < group_queries) {
    g.store(&s.radix[g.lane()].in_bin, 0u);
    g.store(s.counts + g.lane(), 0u);
  }
  if (g.lane() == 0)
    g.store(&s.lost, 0u);
}

/// A lane's contenders, a wave's places apart. What they have for a position is a mark, 4 *
/// position + query.
struct SiftedList {
  const Contender* contenders = nullptr;
  std::int32_t count = 0;
};

/// Numbers of the four queries, 16 bits each.
HISA_FUNCTION constexpr std::uint64_t one_of(std::uint32_t q) {
  return std::uint64_t(1) << 16 * q;
}
HISA_FUNCTION constexpr std::uint32_t of_query(std::uint64_t numbers, std::uint32_t q) {
  return static_cast<std::uint32_t>(numbers >> 16 * q) & 0xffff;
}

/// What the group does.
template <Group G, class Storage>
class Sifted {
public:
  HISA_FUNCTION Sifted(const G& g, Storage& storage) : g_(g), s_(storage) {}

  /// Step 1.
  HISA_FUNCTION void count(const SiftedList& list) const {
    for (std::int32_t from = 0; from < list.count; from += batch) {
      Contender c[batch];
      load(list, from, c);
      HISA_UNROLL
      for (int j = 0; j < batch; ++j) {
        std::uint32_t const q = query_of(c[j]);
        SiftedQuery const query = g_.load(s_.queries + q);
        g_.count(s_.radix[q].histogram[0] + query.template bin<Storage::bins>(c[j].score),
                 sees(query, c[j]));
      }
    }
  }
  /// Step 3.
  HISA_FUNCTION void gather(const SiftedList& list) const {
    auto const longest = static_cast<std::int32_t>(g_.max(static_cast<std::uint32_t>(list.count)));
    for (std::int32_t from = 0; from < longest; from += batch) {
      Contender c[batch];
      load(list, from, c);
      std::uint64_t own = 0;
      std::uint32_t wins = 0;
      HISA_UNROLL
      for (int j = 0; j < batch; ++j) {
        std::uint32_t const q = query_of(c[j]);
        SiftedQuery const query = g_.load(s_.queries + q);
        std::int32_t const bin = 2 * query.template bin<Storage::bins>(c[j].score);
        std::int32_t const edge = g_.load(s_.edges + q);
        if (bin > edge && sees(query, c[j]))
          own += one_of(q), wins |= 1u << j;
        if (bin == edge && sees(query, c[j])) {
          std::uint32_t const i = g_.ticket(&s_.radix[q].listing);
          g_.store(&s_.radix[q].list[i], {candidate_key(c[j].score), position_of(c[j])});
        }
      }
      std::uint64_t places = take_places(own);
      HISA_UNROLL
      for (int j = 0; j < batch; ++j)
        if ((wins >> j & 1) != 0) {
          std::uint32_t const q = query_of(c[j]);
          g_.store(s_.winners(static_cast<int>(q)) + of_query(places, q), position_of(c[j]));
          places += one_of(q);
        }
    }
  }

  /// Calls visit(query, position, score) for each contender in the bin of its query's k-th, or
  /// above.
  template <class Visit>
  HISA_FUNCTION void for_each_likely(const SiftedList& list, const Visit& visit) const {
    for (std::int32_t i = 0; i < list.count; ++i) {
      Contender const c = list.contenders[G::wave * i];
      std::uint32_t const q = query_of(c);
      SiftedQuery const query = g_.load(s_.queries + q);
      if (2 * query.template bin<Storage::bins>(c.score) >= g_.load(s_.edges + q) && sees(query, c))
        visit(static_cast<int>(q), position_of(c), c.score);
    }
  }

private:
  static constexpr int batch = 8; ///< contenders of a lane, asked for together
  const G& g_;
  Storage& s_;

  /// Behind the end, contenders that nobody sees.
  HISA_FUNCTION static void load(const SiftedList& list, std::int32_t from, Contender (&c)[batch]) {
    HISA_UNROLL
    for (int j = 0; j < batch; ++j) {
      c[j] = {0, -1};
      if (from + j < list.count)
        c[j] = list.contenders[G::wave * (from + j)];
    }
  }
  HISA_FUNCTION static std::uint32_t query_of(const Contender& c) {
    return static_cast<std::uint32_t>(c.position) % group_queries;
  }
  HISA_FUNCTION static std::uint32_t position_of(const Contender& c) {
    return static_cast<std::uint32_t>(c.position) / group_queries;
  }
  HISA_FUNCTION static bool sees(const SiftedQuery& query, const Contender& c) {
    return position_of(c) < static_cast<std::uint32_t>(query.limit);
  }
  /// Places in the rows of winners for so many of the lane's.
  HISA_FUNCTION std::uint64_t take_places(std::uint64_t own) const {
    std::uint64_t const through = wave_scan(g_, own);
    std::uint64_t const all = g_.shuffle(through, G::wave - 1);
    auto const lane = static_cast<std::uint32_t>(g_.lane() % G::wave);
    std::uint32_t base = 0;
    if (lane < group_queries)
      base = g_.take(s_.counts + lane, of_query(all, lane));
    std::uint64_t places = through - own;
    HISA_UNROLL
    for (std::uint32_t q = 0; q < group_queries; ++q)
      places += std::uint64_t(g_.shuffle(base, static_cast<int>(q))) << 16 * q;
    return places;
  }
};

/// What the part of query q does.
template <Group P, class Storage>
class SiftedPart {
public:
  HISA_FUNCTION SiftedPart(const P& part, Storage& storage, int q) : g_(part), s_(storage), q_(q) {}

  /// Step 2.
  HISA_FUNCTION void choose() const {
    auto& radix = s_.radix[q_];
    std::int32_t const k = s_.queries[q_].k;
    std::int32_t edge = 2 * Storage::bins, need = 0;
    bool told = true;
    if (k > 0) {
      Bin const bin = Radix(g_, radix).choose(k, [](const auto&) {});
      told = bin.count > 0;
      edge = 2 * static_cast<std::int32_t>(bin.index), need = bin.need;
      if (static_cast<std::uint32_t>(need) == bin.count)
        --edge, need = 0; // all of it win
      else
        told = told && bin.count <= static_cast<std::uint32_t>(radix.listed);
    }
    if (g_.lane() == 0) {
      g_.store(s_.edges + q_, edge);
      g_.store(s_.needs + q_, need);
      if (!told)
        g_.merge(&s_.lost, 1u);
    }
  }
  /// Step 4: emit(rank, position) for each winner.
  template <class Emit>
  HISA_FUNCTION void emit(const Emit& emit) const {
    SiftedQuery const query = s_.queries[q_];
    std::uint32_t* const winners = s_.winners(q_);
    std::uint32_t* const marks = s_.marks[q_];
    add_best(winners);
    int half = 0;
    std::uint32_t ranked = 0; // winners in the windows before
    for (std::uint32_t low = 0; low < static_cast<std::uint32_t>(query.limit);
         low += Storage::window) {
      for (int i = g_.lane(); i < Storage::words / 4; i += g_.size())
        g_.store(words(marks, i), Words{});
      g_.barrier();
      for (std::int32_t i = g_.lane(); i < query.k; i += g_.size()) {
        std::uint32_t const at = g_.load(winners + i) - low;
        if (at < Storage::window)
          g_.merge(marks + at / 32, 1u << at % 32);
      }
      g_.barrier();
      ranked = count_before(marks, ranked, half);
      half ^= 1;
      g_.barrier();
      for (std::int32_t i = g_.lane(); i < query.k; i += g_.size()) {
        std::uint32_t const position = g_.load(winners + i), at = position - low;
        if (at >= Storage::window)
          continue;
        emit(static_cast<std::int32_t>(g_.load(&s_.before[q_][at / (32 * run)]) +
                                       bits_below(marks, at)),
             position);
      }
      if (static_cast<std::uint32_t>(query.limit) - low > Storage::window)
        g_.barrier();
    }
  }

private:
  static constexpr int run = Storage::run, runs = Storage::words / run;
  const P& g_;
  Storage& s_;
  int q_;

  /// Adds the best of the bin of the k-th to the winners.
  HISA_FUNCTION void add_best(std::uint32_t* winners) const {
    auto const& radix = s_.radix[q_];
    std::int32_t const need = g_.load(s_.needs + q_);
    if (need == 0)
      return;
    auto const listed = static_cast<std::int32_t>(g_.load(&radix.listing));
    for (std::int32_t i = g_.lane(); i < listed; i += g_.size()) {
      Listed const own = g_.load(&radix.list[i]);
      std::int32_t rank = 0;
      for (std::int32_t j = 0; j < listed; ++j)
        rank += g_.load(&radix.list[j]).precedes(own);
      if (rank < need)
        g_.store(winners + s_.queries[q_].k - need + rank, own.position);
    }
  }
  /// How many bits of its run are set before a position.
  HISA_FUNCTION std::uint32_t bits_below(std::uint32_t* marks, std::uint32_t at) const {
    std::uint32_t bits = 0;
    std::uint32_t const own = at / 32 % run;
    HISA_UNROLL
    for (std::uint32_t four = 0; four < run / 4; ++four) {
      Words const w =
          g_.load(words(marks, static_cast<std::int32_t>(at / (32 * run) * (run / 4) + four)));
      HISA_UNROLL
      for (std::uint32_t i = 0; i < 4; ++i) {
        std::uint32_t const here = 4 * four + i;
        std::uint32_t const mask = here < own ? ~0u : (here == own ? (1u << at % 32) - 1 : 0u);
        bits += static_cast<std::uint32_t>(__builtin_popcount(w.v[i] & mask));
      }
    }
    return bits;
  }
  /// Of a window. Returns `ranked` and how many there are.
  HISA_FUNCTION std::uint32_t count_before(std::uint32_t* marks, std::uint32_t ranked,
                                           int half) const {
    int const own = ((runs + g_.size() - 1) / g_.size()) | 1; // odd, so that banks differ
    int const first = own * g_.lane(), end = first + own < runs ? first + own : runs;
    auto const count = [&](int i) {
      auto const last = static_cast<std::uint32_t>(32 * run * (i + 1) - 1);
      return bits_below(marks, last) + (g_.load(marks + last / 32) >> 31);
    };
    std::uint32_t sum = 0;
    for (int i = first; i < end; ++i)
      sum += count(i);
    auto const scanned = exclusive_scan(g_, sum, s_.radix[q_].scan, half);
    std::uint32_t before = ranked + scanned.before;
    for (int i = first; i < end; ++i) {
      g_.store(&s_.before[q_][i], before);
      before += count(i);
    }
    return ranked + scanned.total;
  }
};

} // namespace gpu
HISA_NAMESPACE_END
