// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The union of the kept lists of a few neighbouring queries, so that a key that several of them
/// kept is fetched once. Entries with the same *holders*, the lists that have them, come together:
/// then the keys of a tile are wanted by the same queries. Built by a group of lanes:
///   1. the lists, ascending each, go to shared memory one behind the other;
///   2. an entry that no list before its own has is the union's, and draws its rank among those of
///      its set of holders;
///   3. the sets come one after the other, each behind those that come before.
/// The order of entries with the same holders is not the same in every run.
#pragma once

#include <hisa/gpu/group.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Shared memory of a union of `Lists` lists that hold `Capacity` entries together.
template <int Lists, int Capacity>
struct UnionStorage {
  static_assert(Capacity < 1 << 15);
  std::int32_t values[Capacity];
  /// For an entry, where its value is in the other lists, and in the place of its own list's what
  /// it has drawn, -1: it is not the union's.
  struct alignas(2 * Lists) Found {
    std::int16_t of[Lists];
  } found[Capacity];
  std::uint32_t entries[1 << Lists]; ///< of each set of holders
  std::uint32_t first[1 << Lists];   ///< rank of a set's first entry
};

/// An entry of a union: which entry of each list it is, -1 where the list lacks it.
template <int Lists>
struct UnionEntry {
  std::int32_t value = 0;
  std::int32_t index[Lists] = {};

  HISA_FUNCTION std::uint32_t holders() const {
    std::uint32_t set = 0;
    for (int l = 0; l < Lists; ++l)
      set |= std::uint32_t(index[l] >= 0) << l;
    return set;
  }
};

/// @tparam Lists     lists that are joined
/// @tparam Capacity  entries that they hold together at most
template <Group G, int Lists, int Capacity>
class ListUnion {
public:
  using Storage = UnionStorage<Lists, Capacity>;
  using Entry = UnionEntry<Lists>;

  HISA_FUNCTION ListUnion(const G& g, Storage& storage) : g_(g), s_(storage) {}

  /// Calls emit(rank, entry) once for each distinct value, by some lane, and returns how many there
  /// are. List l has counts[l] entries value(l, 0) < value(l, 1) < ..
  template <class Value, class Emit>
  HISA_FUNCTION std::int32_t build(const std::int32_t (&counts)[Lists], const Value& value,
                                   const Emit& emit) {
    for (int l = 0; l < Lists; ++l)
      begin_[l + 1] = begin_[l] + counts[l];
    HISA_ROLLED
    for (std::int32_t e = g_.lane(); e < begin_[Lists]; e += g_.size())
      g_.store(&s_.values[e], std::int32_t(value(list_of(e), e - begin_[list_of(e)])));
    HISA_ROLLED
    for (int set = g_.lane(); set < sets; set += g_.size())
      g_.store(&s_.entries[set], 0u);
    g_.barrier();
    HISA_ROLLED
    for (std::int32_t e = g_.lane(); e < begin_[Lists]; e += g_.size())
      draw(e);
    g_.barrier();
    order_sets();
    g_.barrier();
    HISA_ROLLED
    for (std::int32_t e = g_.lane(); e < begin_[Lists]; e += g_.size()) {
      std::int32_t drawn = -1;
      Entry const entry = take(e, drawn);
      if (drawn >= 0)
        emit(static_cast<std::int32_t>(g_.load(&s_.first[entry.holders()])) + drawn, entry);
    }
    return static_cast<std::int32_t>(g_.load(&s_.first[0]));
  }

private:
  static constexpr int sets = 1 << Lists;
  G g_;
  Storage& s_;
  std::int32_t begin_[Lists + 1] = {};

  HISA_FUNCTION int list_of(std::int32_t entry) const {
    int list = 0;
    for (int l = 1; l < Lists; ++l)
      list += entry >= begin_[l];
    return list;
  }
  /// Step 2 for entry number e.
  HISA_FUNCTION void draw(std::int32_t e) const {
    Entry const entry = find(g_.load(&s_.values[e]));
    int const own = list_of(e);
    std::int32_t drawn = -1;
    if ((entry.holders() & ((1u << own) - 1)) == 0)
      drawn = static_cast<std::int32_t>(g_.ticket(&s_.entries[entry.holders()]));
    typename Storage::Found found;
    HISA_UNROLL
    for (int l = 0; l < Lists; ++l)
      found.of[l] = static_cast<std::int16_t>(l == own ? drawn : entry.index[l]);
    g_.store(&s_.found[e], found);
  }
  /// What step 2 has found of an entry.
  HISA_FUNCTION Entry take(std::int32_t e, std::int32_t& drawn) const {
    auto const found = g_.load(&s_.found[e]);
    int const own = list_of(e);
    Entry entry;
    entry.value = g_.load(&s_.values[e]);
    HISA_UNROLL
    for (int l = 0; l < Lists; ++l) {
      entry.index[l] = l == own ? e - begin_[l] : found.of[l];
      drawn = l == own ? found.of[l] : drawn;
    }
    return entry;
  }
  /// A value's entry. The lists are searched side by side, so that their loads overlap.
  HISA_FUNCTION Entry find(std::int32_t value) const {
    std::int32_t longest = 1, less[Lists] = {}; // entries that are less than the value
    for (int l = 0; l < Lists; ++l)
      longest = length(l) > longest ? length(l) : longest;
    std::int32_t step = 1;
    HISA_ROLLED
    while (2 * step <= longest)
      step *= 2;
    HISA_ROLLED
    for (; step > 0; step /= 2) {
      HISA_UNROLL
      for (int l = 0; l < Lists; ++l) {
        std::int32_t const more = less[l] + step;
        if (more <= length(l) && g_.load(&s_.values[begin_[l] + more - 1]) < value)
          less[l] = more;
      }
    }
    Entry entry;
    entry.value = value;
    HISA_UNROLL
    for (int l = 0; l < Lists; ++l)
      entry.index[l] =
          less[l] < length(l) && g_.load(&s_.values[begin_[l] + less[l]]) == value ? less[l] : -1;
    return entry;
  }
  HISA_FUNCTION std::int32_t length(int list) const { return begin_[list + 1] - begin_[list]; }

  /// Step 3. Neighbouring sets differ by one list (a Gray code that ends at the set of
  /// none), for the tiles in which two sets meet.
  HISA_FUNCTION void order_sets() const {
    static_assert(sets <= G::wave);
    bool const mine = g_.lane() < sets;
    auto const i = static_cast<std::uint32_t>(mine ? sets - 1 - g_.lane() : 0);
    std::uint32_t const entries = mine ? g_.load(&s_.entries[i ^ i >> 1]) : 0;
    std::uint32_t const through = wave_scan(g_, entries);
    if (mine)
      g_.store(&s_.first[i ^ i >> 1], through - entries);
  }
};

} // namespace gpu
HISA_NAMESPACE_END
