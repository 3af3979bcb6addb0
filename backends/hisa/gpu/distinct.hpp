// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The distinct values of a list that may hold anything, in ascending order, by a group of lanes:
///   1. the range of values that count is walked in windows of one value for each bit of a bitmap
///      in shared memory;
///   2. every entry in the window sets its value's bit;
///   3. a scan over the words gives the rank of each value that is set.
/// O(entries + values / 32) a window.
#pragma once

#include <hisa/gpu/group.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Shared memory for windows of 32 * Words values.
template <int Words>
struct DistinctStorage {
  static constexpr int words = Words;
  static constexpr std::int32_t window = 32 * Words;
  std::uint32_t bits[Words];
  ScanStorage scan;
};

HISA_FUNCTION constexpr std::uint32_t bit_count(std::uint32_t x) {
  x -= x >> 1 & 0x55555555u;
  x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
  return ((x + (x >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

/// Of one list; `find` is called once.
template <Group G, class Storage>
class Distinct {
public:
  HISA_FUNCTION Distinct(const G& g, Storage& storage) : g_(g), s_(storage) {}

  /// Calls emit(rank, value) once for each distinct value entry(i), 0 <= i < entries, that is in
  /// [first, end), by some lane, and returns how many there are.
  template <class Entry, class Emit>
  HISA_FUNCTION std::int32_t find(std::int64_t entries, std::int32_t first, std::int32_t end,
                                  const Entry& entry, const Emit& emit) {
    for (int w = g_.lane(); w < Storage::words && w <= (end - first) / 32; w += g_.size())
      g_.store(&s_.bits[w], 0u);
    g_.barrier();
    for (std::int32_t last = first; first < end; first = last) {
      last = end - first < Storage::window ? end : first + Storage::window;
      mark(entries, first, last, entry);
      g_.barrier();
      rank(first, last, emit);
    }
    return found_;
  }

private:
  G g_;
  Storage& s_;
  std::int32_t found_ = 0;
  int half_ = 0;

  /// Step 2, for the values [first, last).
  template <class Entry>
  HISA_FUNCTION void mark(std::int64_t entries, std::int32_t first, std::int32_t last,
                          const Entry& entry) const {
    for (std::int64_t i = g_.lane(); i < entries; i += g_.size()) {
      std::int32_t const value = entry(i);
      if (value >= first && value < last)
        g_.merge(&s_.bits[(value - first) / 32], 1u << (value - first) % 32);
    }
  }

  /// Step 3. Leaves the words clear: the barrier of each scan tells the other lanes so.
  template <class Emit>
  HISA_FUNCTION void rank(std::int32_t first, std::int32_t last, const Emit& emit) {
    int const words = (last - first + 31) / 32;
    for (int base = 0; base < words; base += g_.size(), half_ ^= 1) {
      int const w = base + g_.lane();
      std::uint32_t bits = 0;
      if (w < words) {
        bits = g_.load(&s_.bits[w]);
        g_.store(&s_.bits[w], 0u);
      }
      auto const sum = exclusive_scan(g_, bit_count(bits), s_.scan, half_);
      std::int32_t at = found_ + static_cast<std::int32_t>(sum.before);
      for (; bits != 0; bits &= bits - 1) {
        auto const lowest = static_cast<std::int32_t>(bit_count((bits & (0u - bits)) - 1));
        emit(at++, first + 32 * w + lowest);
      }
      found_ += static_cast<std::int32_t>(sum.total);
    }
  }
};

} // namespace gpu
HISA_NAMESPACE_END
