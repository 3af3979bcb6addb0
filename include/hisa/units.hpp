// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Indices with a unit. A token index, a block index, a page and a cache slot are all integers that
/// count different things; as distinct types they never mix silently.
#pragma once

#include <hisa/config.hpp>

#include <compare>
#include <cstdint>

HISA_NAMESPACE_BEGIN

/// An index counted in `Unit`s. Converts to and from integers only explicitly.
template <class Unit>
struct Index {
  std::int64_t value = 0;

  Index() = default;
  HISA_FUNCTION constexpr explicit Index(std::int64_t v) : value(v) {}

  HISA_FUNCTION friend constexpr Index operator+(Index i, std::int64_t n) {
    return Index(i.value + n);
  }
  HISA_FUNCTION friend constexpr std::int64_t operator-(Index a, Index b) {
    return a.value - b.value;
  }
  HISA_FUNCTION friend constexpr bool operator==(Index a, Index b) { return a.value == b.value; }
  HISA_FUNCTION friend constexpr bool operator<(Index a, Index b) { return a.value < b.value; }
  HISA_FUNCTION friend constexpr bool operator>(Index a, Index b) { return b < a; }
  HISA_FUNCTION friend constexpr bool operator<=(Index a, Index b) { return !(b < a); }
  HISA_FUNCTION friend constexpr bool operator>=(Index a, Index b) { return !(a < b); }
};

using TokenIndex = Index<struct TokenUnit>;    ///< a key of a buffer or of a sequence
using BlockIndex = Index<struct BlockUnit>;    ///< a block of B tokens, counted from the anchor
using PageIndex = Index<struct PageUnit>;      ///< the i-th page of a sequence (logical)
using PhysicalPage = Index<struct CacheUnit>;  ///< a page of the cache: an entry of a page table
using CacheSlot = Index<struct CacheSlotUnit>; ///< physical_page * page_size + offset in the page
using PooledRow = Index<struct PooledRowUnit>; ///< a row of a pooled buffer

/// The page of a sequence that holds a token.
HISA_FUNCTION constexpr PageIndex page_of(TokenIndex token, int page_size) {
  return PageIndex(token.value / page_size);
}

/// The slot of a token whose page of the sequence lies at `page`.
HISA_FUNCTION constexpr CacheSlot slot_in(PhysicalPage page, TokenIndex token, int page_size) {
  return CacheSlot(page.value * page_size + token.value % page_size);
}

HISA_NAMESPACE_END
