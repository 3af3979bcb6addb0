// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What can be known on the host about the arguments of a call, checked before any launch.
#pragma once

#include <hisa/error.hpp>
#include <hisa/pooling.hpp>
#include <hisa/shape.hpp>
#include <hisa/tensors.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

HISA_NAMESPACE_BEGIN
namespace detail {

inline std::string exactly(std::int64_t value) {
  return std::to_string(value);
}
inline std::string at_least(std::int64_t value) {
  return "at least " + std::to_string(value);
}
inline std::string at_most(std::int64_t value) {
  return "at most " + std::to_string(value);
}

/// The largest H and D: far beyond any model, and far from where sizes overflow.
inline constexpr int max_extent = 1 << 16;

inline void require_aligned(const void* pointer, std::size_t alignment, const char* function,
                            const char* argument) {
  require(reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0, function, argument,
          "misaligned", "an address that is a multiple of " + std::to_string(alignment));
}

/// An array that the call reads or writes.
template <class T>
void require_array(const T* array, const char* function, const char* argument) {
  require_pointer(array, function, argument);
  require_aligned(array, alignof(T), function, argument);
}

/// An array that may be absent, unless `needed`.
template <class T>
void require_optional_array(const T* array, const char* function, const char* argument,
                            bool needed = false) {
  if (array != nullptr || needed)
    require_array(array, function, argument);
}

/// What every plan needs of its shape; `largest` is what the backend can count to.
inline void check_sizes(const char* function, std::int64_t max_queries, std::int64_t max_keys,
                        int topk, std::int64_t largest) {
  std::string const range = "1 .. " + std::to_string(largest);
  require(max_queries >= 1 && max_queries <= largest, function, "shape.max_queries", max_queries,
          range);
  require(max_keys >= 1 && max_keys <= largest, function, "shape.max_keys", max_keys, range);
  require(topk >= 1, function, "budgets.topk", topk, at_least(1));
}

/// Contiguous keys have no physical slots.
inline void require_no_slots(const char* function, IndexBase base) {
  require(base != IndexBase::physical, function, "options.index_base", "physical",
          "relative or absolute: contiguous keys have no cache slots");
}

template <ElementType T>
void check_queries(const char* function, const Queries<T>& queries, std::int64_t max_queries,
                   int heads, int head_dim) {
  require(queries.count >= 0 && queries.count <= max_queries, function, "queries.count",
          queries.count, "0 .. " + std::to_string(max_queries));
  require(queries.heads == heads, function, "queries.heads", queries.heads, exactly(heads));
  require(queries.head_dim == head_dim, function, "queries.head_dim", queries.head_dim,
          exactly(head_dim));
  if (queries.count == 0)
    return;
  require_array(queries.values, function, "queries.values");
  require_array(queries.weights, function, "queries.weights");
}

template <ElementType T, ScaleType S>
void check_keys(const char* function, const ContiguousKeys<T, S>& keys, std::int64_t max_keys,
                int head_dim) {
  require(keys.count >= 0 && keys.count <= max_keys, function, "keys.count", keys.count,
          "0 .. " + std::to_string(max_keys));
  require(keys.head_dim == head_dim, function, "keys.head_dim", keys.head_dim, exactly(head_dim));
  require(keys.row_stride == 0 || keys.row_stride >= head_dim, function, "keys.row_stride",
          keys.row_stride, "0 or " + at_least(head_dim));
  if (keys.count == 0)
    return;
  require_array(keys.values, function, "keys.values");
  require_optional_array(keys.scales, function, "keys.scales", Element<T>::quantised);
}

template <ElementType T, ScaleType S>
void check_keys(const char* function, const PagedKeys<T, S>& keys, std::int64_t max_keys,
                int head_dim) {
  require(keys.head_dim == head_dim, function, "keys.head_dim", keys.head_dim, exactly(head_dim));
  require(keys.page_size >= 1, function, "keys.page_size", keys.page_size, at_least(1));
  constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
  require(keys.batch >= 0 && keys.batch <= largest, function, "keys.batch", keys.batch,
          "0 .. " + std::to_string(largest));
  require(keys.max_pages >= 0, function, "keys.max_pages", keys.max_pages, at_least(0));
  require(keys.page_count >= 0, function, "keys.page_count", keys.page_count, at_least(0));
  std::int64_t const most = max_keys / keys.page_size;
  require(keys.max_pages <= most, function, "keys.max_pages", keys.max_pages, at_most(most));
  std::int64_t const packed = PagedKeys<T, S>::page_bytes(keys.page_size, head_dim);
  require(keys.page_stride == 0 || keys.page_stride >= packed, function, "keys.page_stride",
          keys.page_stride, "0 or " + at_least(packed));
  std::int64_t const unit =
      std::max<std::int64_t>(alignof(T), Element<T>::quantised ? alignof(S) : 1);
  std::int64_t const stride = keys.page_stride == 0 ? packed : keys.page_stride;
  require(stride % unit == 0, function, "keys.page_stride", stride,
          "a multiple of " + std::to_string(unit));
  if (Element<T>::quantised)
    require(std::int64_t(keys.page_size) * head_dim % unit == 0, function,
            "keys.page_size * keys.head_dim", std::int64_t(keys.page_size) * head_dim,
            "a multiple of " + std::to_string(unit) + ", so that a page's scales are aligned");
  if (keys.batch == 0 || keys.max_pages == 0)
    return;
  require(keys.page_count >= 1, function, "keys.page_count", keys.page_count, at_least(1));
  require_pointer(keys.pages, function, "keys.pages");
  require_aligned(keys.pages, static_cast<std::size_t>(unit), function, "keys.pages");
  require_array(keys.page_table, function, "keys.page_table");
}

/// Blocks that a pooled buffer beside these keys must be able to hold, as far as the host can tell.
template <ElementType T, ScaleType S>
std::int64_t pooled_blocks_needed(const ContiguousKeys<T, S>& keys, const std::int32_t* begin,
                                  int block_size) {
  std::int64_t const blocks = keys.count / block_size;
  return begin == nullptr || blocks == 0 ? blocks : 1;
}
template <ElementType T, ScaleType S>
std::int64_t pooled_blocks_needed(const PagedKeys<T, S>& keys, const std::int32_t*,
                                  int block_size) {
  return keys.page_count * blocks_per_page(keys.page_size, block_size);
}

template <class Keys, class T>
void check_pooled(const char* function, const Keys& keys, const PooledKeys<T>& pooled,
                  int block_size, int parts) {
  require(pooled.block_size == block_size && block_size >= 1, function, "pooled.block_size",
          pooled.block_size, block_size >= 1 ? exactly(block_size) : at_least(1));
  require(block_size % parts == 0, function, "pooled.block_size", block_size,
          "a multiple of the rule's " + std::to_string(parts) + " rows");
  require(pooled.head_dim == keys.head_dim, function, "pooled.head_dim", pooled.head_dim,
          exactly(keys.head_dim));
  if constexpr (requires { keys.page_size; })
    require(keys.page_size % block_size == 0 || block_size % keys.page_size == 0, function,
            "pooled.block_size", block_size,
            "a multiple or a divisor of the page size " + std::to_string(keys.page_size));
  std::int64_t const needed = pooled_blocks_needed(keys, pooled.begin, block_size);
  require(pooled.blocks >= needed, function, "pooled.blocks", pooled.blocks, at_least(needed));
  if (pooled.blocks == 0)
    return;
  require_array(pooled.values, function, "pooled.values");
  require_optional_array(pooled.scales, function, "pooled.scales",
                         Element<typename PooledKeys<T>::element_type>::quantised);
  require_optional_array(pooled.begin, function, "pooled.begin");
}

template <class Keys>
void check_visibility(const char* function, const Keys&, const Ranges& ranges, std::int64_t) {
  require_array(ranges.ks, function, "ranges.ks");
  require_array(ranges.ke, function, "ranges.ke");
  require_optional_array(ranges.anchor, function, "ranges.anchor");
}

template <class Keys>
void check_visibility(const char* function, const Keys& keys, const Lengths& lengths,
                      std::int64_t queries) {
  require(lengths.next_n >= 1, function, "lengths.next_n", lengths.next_n, at_least(1));
  require(lengths.batch == keys.batch, function, "lengths.batch", lengths.batch,
          exactly(keys.batch) + ", the rows of the page table");
  require(lengths.batch * lengths.next_n == queries, function, "lengths.batch * lengths.next_n",
          lengths.batch * lengths.next_n, exactly(queries) + ", the number of queries");
  require_array(lengths.lengths, function, "lengths.lengths");
}

template <class Keys>
void check_visibility(const char* function, const Keys& keys, const Ragged& ragged, std::int64_t) {
  require(ragged.batch == keys.batch, function, "ragged.batch", ragged.batch,
          exactly(keys.batch) + ", the rows of the page table");
  require_array(ragged.row_seq, function, "ragged.row_seq");
  require_array(ragged.row_visible, function, "ragged.row_visible");
}

/// The rows with their end in place of -1.
inline QueryRows checked_rows(const char* function, QueryRows rows, std::int64_t queries) {
  if (rows.end == -1)
    rows.end = queries;
  require(rows.first >= 0 && rows.first <= queries, function, "rows.first", rows.first,
          "0 .. " + std::to_string(queries));
  require(rows.end >= rows.first && rows.end <= queries, function, "rows.end", rows.end,
          std::to_string(rows.first) + " .. " + std::to_string(queries));
  return rows;
}

inline void check_selection(const char* function, const Selection& out) {
  require_array(out.indices, function, "out.indices");
  require_optional_array(out.scores, function, "out.scores");
  require_optional_array(out.counts, function, "out.counts");
}

inline void check_workspace(const char* function, const WorkspaceSpan& workspace,
                            std::size_t needed) {
  require(workspace.bytes >= needed, function, "workspace.bytes", workspace.bytes,
          "at least " + std::to_string(needed));
  require_pointer(workspace.data, function, "workspace.data");
  require_aligned(workspace.data, 16, function, "workspace.data");
}

} // namespace detail
HISA_NAMESPACE_END
