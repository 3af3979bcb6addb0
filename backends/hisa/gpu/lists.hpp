// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The union of the kept lists of a few neighbouring queries, so that a key that several of them
/// kept is fetched once. Entries with the same *holders*, the lists that have them, come together:
/// then the keys of a tile are wanted by the same queries. Built by a group of lanes:
///   1. the lists, ascending each, go to shared memory one behind the other;
///   2. an entry that no list before its own has is the union's; those of each set of holders are
///      counted;
///   3. each draws its rank among those of its set, behind the sets that come before.
/// The order of entries with the same holders is not the same in every run.
#pragma once

#include <hisa/gpu/group.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Shared memory of a union of `Lists` lists that hold `Capacity` entries together.
template <int Lists, int Capacity>
struct UnionStorage {
  std::int32_t values[Capacity];
  std::uint32_t entries[1 << Lists]; ///< of each set of holders
  std::uint32_t drawn[1 << Lists];   ///< ranks
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
    for (std::int32_t e = g_.lane(); e < begin_[Lists]; e += g_.size())
      g_.store(&s_.values[e], std::int32_t(value(list_of(e), e - begin_[list_of(e)])));
    for (int set = g_.lane(); set < sets; set += g_.size()) {
      g_.store(&s_.entries[set], 0u);
      g_.store(&s_.drawn[set], 0u);
    }
    g_.barrier();
    for_each([&](const Entry& entry) { g_.count(&s_.entries[entry.holders()], true); });
    g_.barrier();
    for_each([&](const Entry& entry) {
      std::uint32_t const set = entry.holders();
      emit(before(set) + static_cast<std::int32_t>(g_.ticket(&s_.drawn[set])), entry);
    });
    return before(0);
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
  /// Calls f(entry) for this lane's entries of the union.
  template <class F>
  HISA_FUNCTION void for_each(const F& f) const {
    for (std::int32_t e = g_.lane(); e < begin_[Lists]; e += g_.size()) {
      Entry entry;
      entry.value = g_.load(&s_.values[e]);
      int const own = list_of(e);
      bool first = true;
      for (int l = 0; l < Lists; ++l) {
        entry.index[l] = l == own ? e - begin_[l] : find(l, entry.value);
        first = first && (l >= own || entry.index[l] < 0);
      }
      if (first)
        f(entry);
    }
  }
  /// Which entry of a list a value is, -1: none.
  HISA_FUNCTION std::int32_t find(int list, std::int32_t value) const {
    std::int32_t low = begin_[list], high = begin_[list + 1];
    while (low < high) {
      std::int32_t const middle = low + (high - low) / 2;
      if (g_.load(&s_.values[middle]) < value)
        low = middle + 1;
      else
        high = middle;
    }
    return low < begin_[list + 1] && g_.load(&s_.values[low]) == value ? low - begin_[list] : -1;
  }
  /// Entries of the sets that come before one. Neighbouring sets differ by one list (a Gray code
  /// that ends at the set of none), for the tiles in which two sets meet.
  HISA_FUNCTION std::int32_t before(std::uint32_t holders) const {
    std::uint32_t sum = 0;
    for (std::uint32_t i = sets - 1; i > 0 && (i ^ i >> 1) != holders; --i)
      sum += g_.load(&s_.entries[i ^ i >> 1]);
    return static_cast<std::int32_t>(sum);
  }
};

} // namespace gpu
HISA_NAMESPACE_END
