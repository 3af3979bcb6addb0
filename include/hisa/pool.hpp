// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The portable pooling kernel: complete blocks of keys become pooled rows, each written once.
#pragma once

#include <hisa/pooling.hpp>
#include <hisa/tensors.hpp>
#include <hisa/tuning.hpp>

#include <Kokkos_Core.hpp>

#include <limits>

HISA_NAMESPACE_BEGIN

/// Which sequences to pool and how far. All arrays are device memory, read on the device only.
struct Sequences {
  std::int64_t count = 0;
  const std::int32_t* old_length = nullptr; ///< [count] keys pooled already; null: none, rebuild
  const std::int32_t* new_length = nullptr; ///< [count] keys present now
  /// [count] first key of each sequence in a contiguous buffer; null: all at 0. Not used with
  /// pages.
  const std::int32_t* begin = nullptr;

  /// The keys of sequence s as a visible range, in a buffer or sequence that can hold `keys` keys.
  HISA_FUNCTION constexpr Visible visible(std::int64_t s, std::int64_t keys) const {
    Visible v;
    v.query = s;
    v.sequence = s;
    v.begin = begin == nullptr ? 0 : detail::clamp(begin[s], 0, keys);
    v.anchor = v.begin;
    v.end = v.begin + detail::clamp(new_length[s], 0, keys - v.begin);
    return v;
  }
  /// Complete blocks among the first `length` keys.
  HISA_FUNCTION static constexpr std::int64_t blocks(std::int64_t length, std::int64_t block_size) {
    return length > 0 ? length / block_size : 0;
  }
};

namespace detail {

/// The blocks of a sequence that a call completes, one share of them for each of its teams.
struct BlockShare {
  Visible visible;
  std::int64_t first, end, step;

  HISA_FUNCTION BlockShare(const Sequences& sequences, std::int64_t s, std::int64_t split,
                           std::int64_t splits, std::int64_t keys, std::int64_t size)
      : visible(sequences.visible(s, keys)), step(splits) {
    std::int64_t const done =
        sequences.old_length == nullptr ? 0 : Sequences::blocks(sequences.old_length[s], size);
    first = done + split;
    end = Sequences::blocks(visible.count(), size);
  }
};

/// Dimensions of a block that a thread pools at a time, so that a row of keys is read along.
inline constexpr int pooled_dims = 16;

/// Pools by a row rule the blocks that new_length completes beyond old_length: `splits` teams share
/// a sequence, a team's threads share a row of a block.
template <RowRule Rule, class Keys>
struct PoolBlocks {
  using T = typename Keys::element_type;
  static constexpr int dims = pooled_dims;
  static constexpr float infinity = std::numeric_limits<float>::infinity();

  Keys keys;
  PooledKeys<T> pooled;
  Sequences sequences;
  int splits = 1;

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    BlockShare const share(sequences, team.league_rank() / splits, team.league_rank() % splits,
                           splits, keys.capacity(), pooled.block_size);
    for (std::int64_t b = share.first; b < share.end; b += share.step)
      for (int r = 0; r < Rule::rows; ++r)
        pool_row(team, share.visible, b, r);
  }

  /// Folds the dimensions [first, first + n) of row r of block b.
  KOKKOS_FUNCTION void fold(const Visible& visible, std::int64_t b, int r, int first, int n,
                            float (&values)[dims], bool& finite) const {
    int const part = pooled.block_size / Rule::rows;
    for (int d = 0; d < n; ++d)
      values[d] = Rule::identity;
    TokenIndex const token(visible.anchor + b * pooled.block_size + r * part);
    for (int i = 0; i < part; ++i) {
      KeyRow<T> const key = keys.row(visible, token + i);
      for (int d = 0; d < n; ++d) {
        float const value = rounded_product(Element<T>::to_float(key.values[first + d]), key.scale);
        finite = finite & is_finite(value);
        values[d] = Rule::fold(values[d], value);
      }
    }
    for (int d = 0; d < n; ++d)
      values[d] = Rule::finish(values[d], part);
  }

  /// The row is folded twice, for its scale and for its codes, so that no scratch is needed.
  template <class Member>
  KOKKOS_FUNCTION void pool_row(const Member& team, const Visible& visible, std::int64_t b,
                                int r) const {
    int const pieces = (pooled.head_dim + dims - 1) / dims;
    float amax = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, pieces),
        [&](int piece, float& largest) {
          float values[dims];
          bool finite = true;
          int const n = piece_size(piece);
          fold(visible, b, r, piece * dims, n, values, finite);
          for (int d = 0; d < n; ++d) {
            float const magnitude = values[d] < 0 ? -values[d] : values[d];
            float const joined = finite && fits_row<T>(magnitude) ? magnitude : infinity;
            largest = joined > largest ? joined : largest;
          }
        },
        Kokkos::Max<float>(amax));
    bool const finite = amax < infinity; // an infinite maximum marks a row that is not finite
    float const scale = Element<T>::quantised && finite ? pooled_scale<T>(amax) : 1.0f;
    std::int64_t const row =
        pooled_row(keys, pooled, visible, BlockIndex(b)).value * Rule::rows + r;
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, pieces), [&](int piece) {
      float values[dims];
      bool ignored = true;
      int const n = piece_size(piece);
      fold(visible, b, r, piece * dims, n, values, ignored);
      for (int d = 0; d < n; ++d)
        pooled.values[row * pooled.head_dim + piece * dims + d] =
            finite ? Element<T>::from_float(values[d] / scale) : Element<T>::nan();
    });
    if (pooled.scales != nullptr)
      Kokkos::single(Kokkos::PerTeam(team), [&] { pooled.scales[row] = scale; });
  }

private:
  KOKKOS_FUNCTION int piece_size(int piece) const {
    return pooled.head_dim - piece * dims < dims ? pooled.head_dim - piece * dims : dims;
  }
};

} // namespace detail
HISA_NAMESPACE_END
