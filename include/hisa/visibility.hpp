// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Which keys a query sees. All arrays are device memory and are read on the device only; values
/// out of range are clamped there.
#pragma once

#include <hisa/config.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN

namespace detail {
HISA_FUNCTION constexpr std::int64_t clamp(std::int64_t v, std::int64_t lo, std::int64_t hi) {
  return v < lo ? lo : (v > hi ? hi : v);
}
/// a / b for a >= 0, b > 0. On CUDA devices, which divide 32 bits far faster, a and b are below
/// 2^32: a plan has fewer than 2^31 keys.
HISA_FUNCTION constexpr std::int64_t quotient(std::int64_t a, std::int64_t b) {
#if defined(__CUDA_ARCH__)
  return static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b);
#else
  return a / b;
#endif
}
} // namespace detail

/// The keys that one query sees: tokens [begin, end), with its block grid starting at `anchor`.
/// Tokens are counted from the start of the buffer (contiguous) or of the sequence (paged).
struct Visible {
  std::int64_t query = 0;    ///< t, the query's row in the call
  std::int64_t sequence = 0; ///< row of the page table; 0 for contiguous keys
  std::int64_t anchor = 0;   ///< token at which block 0 starts, <= begin
  std::int64_t begin = 0;    ///< first visible token
  std::int64_t end = 0;      ///< one past the last visible token, >= begin

  HISA_FUNCTION constexpr std::int64_t count() const { return end - begin; }
  /// First row of a level of block size `size` that holds a visible token.
  HISA_FUNCTION constexpr std::int64_t first_row(std::int64_t size) const {
    return detail::quotient(begin - anchor, size);
  }
  /// One past the last row of a level of block size `size` that holds a visible token.
  HISA_FUNCTION constexpr std::int64_t end_row(std::int64_t size) const {
    return begin == end ? first_row(size) : detail::quotient(end - anchor + size - 1, size);
  }
  /// True when every token of the level's row is visible.
  HISA_FUNCTION constexpr bool covers(std::int64_t row, std::int64_t size) const {
    return anchor + row * size >= begin && anchor + (row + 1) * size <= end;
  }
};

/// Contiguous keys: query t sees the keys [ks[t], ke[t]) of the buffer, so causality and packed
/// sequences are both expressed by the ranges.
struct Ranges {
  const std::int32_t* ks = nullptr; ///< [M] first visible key
  const std::int32_t* ke = nullptr; ///< [M] one past the last visible key
  /// [M] where the query's block grid starts, at most ks. Null: at ks, its sequence's first key.
  /// All zero: one grid over the whole buffer, whose end blocks may straddle two sequences.
  const std::int32_t* anchor = nullptr;

  /// The visible range of query t in a buffer of `keys` keys.
  HISA_FUNCTION constexpr Visible visible(std::int64_t t, std::int64_t keys) const {
    Visible v;
    v.query = t;
    v.begin = detail::clamp(ks[t], 0, keys);
    v.end = detail::clamp(ke[t], v.begin, keys);
    v.anchor = anchor == nullptr ? v.begin : detail::clamp(anchor[t], 0, v.begin);
    return v;
  }
};

/// What Lengths::lengths holds.
enum class LengthsForm {
  per_sequence, ///< [batch] lengths after this step: query i of n sees length - n + i + 1 keys
  per_query,    ///< [batch, next_n] keys that each query sees
};

/// Decode over paged keys: `next_n` queries for each of `batch` sequences, M = batch * next_n. The
/// block grid starts at the sequence's first key.
struct Lengths {
  const std::int32_t* lengths = nullptr; ///< see LengthsForm
  std::int64_t batch = 0;                ///< sequences
  int next_n = 1; ///< queries of each sequence: 1, or more with speculative tokens
  LengthsForm form = LengthsForm::per_sequence; ///< what `lengths` holds

  /// The visible range of query t in a sequence that can hold `keys` keys.
  HISA_FUNCTION constexpr Visible visible(std::int64_t t, std::int64_t keys) const {
    Visible v;
    v.query = t;
    v.sequence = t / next_n;
    std::int64_t const length =
        form == LengthsForm::per_query
            ? std::int64_t(lengths[t])
            : detail::clamp(lengths[v.sequence], 0, keys) - next_n + t % next_n + 1;
    v.end = detail::clamp(length, 0, keys);
    return v;
  }
};

/// Any mix of queries over paged keys, each with its own sequence and length: chunked prefill
/// beside decode. Queries of a sequence may come in any number and order. The block grid starts at
/// the sequence's first key.
struct Ragged {
  /// [M] each query's row of the page table. One that is out of range sees nothing: -1 pads a call.
  const std::int32_t* row_seq = nullptr;
  const std::int32_t* row_visible = nullptr; ///< [M] keys that each query sees
  std::int64_t batch = 0;                    ///< sequences: rows of the page table

  /// The visible range of query t in a sequence that can hold `keys` keys.
  HISA_FUNCTION constexpr Visible visible(std::int64_t t, std::int64_t keys) const {
    Visible v;
    v.query = t;
    if (row_seq[t] < 0 || row_seq[t] >= batch)
      return v;
    v.sequence = row_seq[t];
    v.end = detail::clamp(row_visible[t], 0, keys);
    return v;
  }
};

HISA_NAMESPACE_END
