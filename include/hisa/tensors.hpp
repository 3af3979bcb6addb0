// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The tensors of a call as small non-owning structs: pointers to device memory with extents.
#pragma once

#include <hisa/element.hpp>
#include <hisa/scale.hpp>
#include <hisa/units.hpp>
#include <hisa/visibility.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

HISA_NAMESPACE_BEGIN

/// Queries and their head weights.
template <ElementType T>
struct Queries {
  using element_type = T;
  const T* values = nullptr;      ///< [count, heads, head_dim]
  const float* weights = nullptr; ///< [count, heads]; query scale, softmax scale, H^-0.5 folded in
  std::int64_t count = 0;         ///< M
  int heads = 0;                  ///< H
  int head_dim = 0;               ///< D
};

/// The queries of a call that are worked on, all by default: a tensor-parallel rank passes the
/// whole call's tensors and its part. The rows of other queries are not read, nor is their output
/// written.
struct QueryRows {
  std::int64_t first = 0; ///< first row
  std::int64_t end = -1;  ///< one past the last row; -1: M

  /// The part of `rank`, of `ranks`, in a call of `queries`: sizes differ by one at most.
  HISA_FUNCTION static constexpr QueryRows of_rank(int rank, int ranks, std::int64_t queries) {
    return {queries * rank / ranks, queries * (rank + 1) / ranks};
  }
};

/// One key: its values and the scale that multiplies its score.
template <ElementType T>
struct KeyRow {
  const T* values = nullptr; ///< [head_dim]
  float scale = 1.0f;
};

/// Keys in one buffer, one row per token.
/// @tparam S  type of the scales
template <ElementType T, ScaleType S = float>
struct ContiguousKeys {
  using element_type = T;
  using scale_type = S;
  template <class Visibility>
  static constexpr bool takes = std::same_as<Visibility, Ranges>;
  static constexpr const char* storage = "contiguous";

  const T* values = nullptr;   ///< [count, head_dim], rows `row_stride` elements apart
  const S* scales = nullptr;   ///< [count]; null where the keys carry no scale
  std::int64_t count = 0;      ///< N
  int head_dim = 0;            ///< D
  std::int64_t row_stride = 0; ///< elements; 0: head_dim

  /// Tokens that a query may see at most.
  HISA_FUNCTION constexpr std::int64_t capacity() const { return count; }

  /// The key of a token of the buffer. O(1), like all addressing here.
  HISA_FUNCTION constexpr KeyRow<T> row(const Visible&, TokenIndex token) const {
    std::int64_t const stride = row_stride == 0 ? head_dim : row_stride;
    return {values + token.value * stride,
            scales == nullptr ? 1.0f : Scale<S>::to_float(scales[token.value])};
  }
};

/// Keys in the pages of a cache. A page holds `page_size` rows of values, token-major, then, for a
/// quantised element type, `page_size` scales (with fp32 scales 8448 bytes for 64 tokens of 128
/// e4m3 values). Entries of the page table past a sequence's length are never read.
/// @tparam S  type of the scales
template <ElementType T, ScaleType S = float>
struct PagedKeys {
  using element_type = T;
  using scale_type = S;
  template <class Visibility>
  static constexpr bool takes =
      std::same_as<Visibility, Lengths> || std::same_as<Visibility, Ragged>;
  static constexpr const char* storage = "paged";

  const std::byte* pages = nullptr;         ///< [page_count] pages, `page_stride` bytes apart
  std::int64_t page_count = 0;              ///< pages in the cache
  std::int64_t page_stride = 0;             ///< bytes; 0: packed
  int page_size = 0;                        ///< P, tokens
  const std::int32_t* page_table = nullptr; ///< [batch, max_pages] physical pages
  std::int64_t batch = 0;                   ///< sequences: rows of the page table
  std::int64_t max_pages = 0;               ///< pages that a sequence may have
  int head_dim = 0;                         ///< D

  /// Bytes of one packed page.
  HISA_FUNCTION static constexpr std::int64_t page_bytes(std::int64_t page_size, int head_dim) {
    std::int64_t const values = page_size * head_dim * std::int64_t(sizeof(T));
    return Element<T>::quantised ? values + page_size * std::int64_t(sizeof(S)) : values;
  }

  /// Tokens that a query may see at most.
  HISA_FUNCTION constexpr std::int64_t capacity() const { return max_pages * page_size; }

  /// Where the cache holds a page of the query's sequence.
  HISA_FUNCTION constexpr PhysicalPage page(const Visible& v, PageIndex page) const {
    return PhysicalPage(page_table[v.sequence * max_pages + page.value]);
  }

  /// Where the cache holds a token of the query's sequence.
  HISA_FUNCTION constexpr CacheSlot slot(const Visible& v, TokenIndex token) const {
    return slot_in(page(v, page_of(token, page_size)), token, page_size);
  }

  /// The key of a token of the query's sequence.
  HISA_FUNCTION KeyRow<T> row(const Visible& v, TokenIndex token) const {
    std::int64_t const stride = page_stride == 0 ? page_bytes(page_size, head_dim) : page_stride;
    std::byte const* const base = pages + page(v, page_of(token, page_size)).value * stride;
    std::int64_t const offset = token.value % page_size;
    KeyRow<T> row;
    row.values = reinterpret_cast<const T*>(base) + offset * head_dim;
    if constexpr (Element<T>::quantised) {
      std::int64_t const values = std::int64_t(page_size) * head_dim * std::int64_t(sizeof(T));
      row.scale = Scale<S>::to_float(reinterpret_cast<const S*>(base + values)[offset]);
    }
    return row;
  }
};

/// What can say which keys of a source a query sees.
template <class Visibility, class Keys>
concept VisibilityOf = Keys::template takes<Visibility>;

/// The pooled rows of one level: `R` rows of `head_dim` values for each complete block of
/// `block_size` tokens, R being the pooling rule's `rows`. `T` may be const.
///
/// Contiguous keys: the rows of a sequence follow one another; block b of query t (in pool calls:
/// of sequence t) is block begin[t] + b of the buffer. Paged keys: the buffer shares the page
/// table, each page owns max(1, P / B) blocks, and a block belongs to its *last* page, so that
/// sequences that share pages share rows and forks do not collide. Whoever copies a page copies its
/// rows too. `begin` is not used.
///
/// Scales of pooled rows are fp32 whatever those of the keys are.
///
/// `begin` is trusted, as pointers are. It is indexed by the query in a plan's call and by the
/// sequence in pool calls, so packed sequences use two arrays.
template <class T>
struct PooledKeys {
  using element_type = std::remove_const_t<T>;
  using scale_type = std::conditional_t<std::is_const_v<T>, const float, float>;

  T* values = nullptr;          ///< [blocks, R, head_dim]
  scale_type* scales = nullptr; ///< [blocks, R]; null for element types that are not quantised
  std::int64_t blocks = 0;      ///< blocks that the buffer can hold
  int block_size = 0;           ///< B
  int head_dim = 0;             ///< D
  /// First block of each query's (plan) or sequence's (pooling) rows; null: one sequence, at 0.
  const std::int32_t* begin = nullptr;

  /// Writable rows serve where rows are only read.
  template <class U>
  requires(std::is_same_v<U, const T> && !std::is_const_v<T>) HISA_FUNCTION constexpr
  operator PooledKeys<U>() const {
    return {values, scales, blocks, block_size, head_dim, begin};
  }
};

namespace detail {

/// Blocks of a paged pooled buffer that belong to one page.
HISA_FUNCTION constexpr std::int64_t blocks_per_page(std::int64_t page_size, std::int64_t block) {
  return page_size > block ? page_size / block : 1;
}

} // namespace detail

/// Where block b, counted from the anchor, stands in a pooled buffer beside contiguous keys.
template <class T, class S, class U>
HISA_FUNCTION constexpr PooledRow pooled_row(const ContiguousKeys<T, S>&,
                                             const PooledKeys<U>& pooled, const Visible& v,
                                             BlockIndex b) {
  return PooledRow((pooled.begin == nullptr ? 0 : pooled.begin[v.query]) + b.value);
}

/// Where block b of a sequence stands in a pooled buffer beside paged keys.
template <class T, class S, class U>
HISA_FUNCTION constexpr PooledRow pooled_row(const PagedKeys<T, S>& keys,
                                             const PooledKeys<U>& pooled, const Visible& v,
                                             BlockIndex b) {
  std::int64_t const per_page = detail::blocks_per_page(keys.page_size, pooled.block_size);
  TokenIndex const last((b.value + 1) * pooled.block_size - 1);
  PhysicalPage const page = keys.page(v, page_of(last, keys.page_size));
  return PooledRow(page.value * per_page + b.value % per_page);
}

/// Blocks to keep given by the caller, in place of pooled levels: another layer's, a draft step's,
/// a published list. Any order; -1 is skipped; duplicates and invisible blocks are ignored; nothing
/// is forced.
struct BlockLists {
  const std::int32_t* blocks = nullptr; ///< [M, capacity], counted from the query's anchor
  std::int64_t capacity = 0;            ///< entries of a row
};

/// Where the selected tokens go.
struct Selection {
  std::int32_t* indices = nullptr; ///< [M, topk] ascending, -1 beyond the count
  float* scores = nullptr;         ///< optional [M, topk], -inf beyond the count
  std::int32_t* counts = nullptr;  ///< optional [M]
};

/// Scratch memory of the caller: at least the plan's workspace_bytes(), 16-byte aligned. Its
/// contents are undefined at entry and after the call.
struct WorkspaceSpan {
  void* data = nullptr;  ///< device memory, 16-byte aligned
  std::size_t bytes = 0; ///< of `data`
};

HISA_NAMESPACE_END
