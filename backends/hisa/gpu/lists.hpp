// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The union of the kept lists of a few neighbouring queries, so that a key that several of them
/// kept is fetched once. Built by a group of lanes:
///   1. the lists, ascending each, go to shared memory one behind the other;
///   2. an entry is a *head* if no list before its own holds the same value, and a scan counts the
///      heads before every entry;
///   3. the heads below a value, summed over the lists, are its rank in the union.
#pragma once

#include <hisa/gpu/group.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Shared memory of a union of `Lists` lists that hold `Capacity` entries together.
template <int Lists, int Capacity>
struct UnionStorage {
  std::int32_t values[Capacity];
  std::int32_t heads[Capacity + 1]; ///< heads before an entry, over all lists
  ScanStorage scan;
};

/// An entry of a union: which entry of each list it is, -1 where the list lacks it.
template <int Lists>
struct UnionEntry {
  std::int32_t value = 0;
  std::int32_t index[Lists] = {};
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
    std::int32_t const entries = begin_[Lists];
    for (std::int32_t e = g_.lane(); e < entries; e += g_.size())
      g_.store(&s_.values[e], std::int32_t(value(list_of(e), e - begin_[list_of(e)])));
    g_.barrier();
    std::int32_t const distinct = count_heads(entries);
    for (std::int32_t e = g_.lane(); e < entries; e += g_.size())
      if (g_.load(&s_.heads[e]) != g_.load(&s_.heads[e + 1]))
        emit_head(g_.load(&s_.values[e]), emit);
    return distinct;
  }

private:
  G g_;
  Storage& s_;
  std::int32_t begin_[Lists + 1] = {};

  HISA_FUNCTION int list_of(std::int32_t entry) const {
    int list = 0;
    for (int l = 1; l < Lists; ++l)
      list += entry >= begin_[l];
    return list;
  }
  /// The first entry of a list that is not below `value`.
  HISA_FUNCTION std::int32_t lower_bound(int list, std::int32_t value) const {
    std::int32_t low = begin_[list], high = begin_[list + 1];
    while (low < high) {
      std::int32_t const middle = low + (high - low) / 2;
      if (g_.load(&s_.values[middle]) < value)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  HISA_FUNCTION bool holds(int list, std::int32_t at, std::int32_t value) const {
    return at < begin_[list + 1] && g_.load(&s_.values[at]) == value;
  }
  /// Step 2.
  HISA_FUNCTION std::int32_t count_heads(std::int32_t entries) {
    std::int32_t before = 0;
    int half = 0;
    for (std::int32_t base = 0; base < entries; base += g_.size(), half ^= 1) {
      std::int32_t const e = base + g_.lane();
      bool head = e < entries;
      if (head) {
        std::int32_t const value = g_.load(&s_.values[e]);
        for (int l = 0; l < list_of(e); ++l)
          head = head && !holds(l, lower_bound(l, value), value);
      }
      auto const sum = exclusive_scan(g_, std::uint32_t(head), s_.scan, half);
      if (e < entries)
        g_.store(&s_.heads[e], before + static_cast<std::int32_t>(sum.before));
      before += static_cast<std::int32_t>(sum.total);
    }
    if (g_.lane() == 0)
      g_.store(&s_.heads[entries], before);
    g_.barrier();
    return before;
  }
  /// Step 3.
  template <class Emit>
  HISA_FUNCTION void emit_head(std::int32_t value, const Emit& emit) const {
    Entry entry;
    entry.value = value;
    std::int32_t rank = 0;
    for (int l = 0; l < Lists; ++l) {
      std::int32_t const at = lower_bound(l, value);
      rank += g_.load(&s_.heads[at]) - g_.load(&s_.heads[begin_[l]]);
      entry.index[l] = holds(l, at, value) ? at - begin_[l] : -1;
    }
    emit(rank, entry);
  }
};

} // namespace gpu
HISA_NAMESPACE_END
