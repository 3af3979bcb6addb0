// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The portable pooling kernel of head rules: complete blocks of keys become fp32 rows.
#pragma once

#include <hisa/pool.hpp>

#include <Kokkos_Core.hpp>

HISA_NAMESPACE_BEGIN
namespace detail {

/// Pools by a head rule the blocks that new_length completes beyond old_length: `splits` teams
/// share a sequence, a team's threads share a block.
template <HeadRule Rule, class Keys>
struct PoolHeadBlocks {
  using T = typename Keys::element_type;

  Keys keys;
  PooledKeys<float> pooled;
  Sequences sequences;
  int splits = 1;

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    BlockShare const share(sequences, team.league_rank() / splits, team.league_rank() % splits,
                           splits, keys.capacity(), pooled.block_size);
    for (std::int64_t b = share.first; b < share.end; b += share.step)
      pool_block(team, share.visible, b);
  }

  /// Writes the rows as they come, and NaN over all of them if anything was not finite.
  template <class Member>
  KOKKOS_FUNCTION void pool_block(const Member& team, const Visible& visible,
                                  std::int64_t b) const {
    int const pieces = (pooled.head_dim + pooled_dims - 1) / pooled_dims;
    std::int64_t const values = std::int64_t(Rule::rows) * pooled.head_dim;
    float* const rows =
        pooled.values + pooled_row(keys, pooled, visible, BlockIndex(b)).value * values;
    int bad = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, pieces),
        [&](int piece, int& count) { count += pool_dims(visible, b, piece * pooled_dims, rows); },
        bad);
    if (bad > 0)
      Kokkos::parallel_for(Kokkos::TeamThreadRange(team, values),
                           [&](std::int64_t i) { rows[i] = Element<float>::nan(); });
  }

  /// Pools the dimensions [first, first + pooled_dims) of block b; 1 if anything is not finite.
  KOKKOS_FUNCTION int pool_dims(const Visible& visible, std::int64_t b, int first,
                                float* rows) const {
    int const left = pooled.head_dim - first, n = left < pooled_dims ? left : pooled_dims;
    typename Rule::Fold folds[pooled_dims];
    bool finite = true;
    TokenIndex const token(visible.anchor + b * pooled.block_size);
    for (int i = 0; i < pooled.block_size; ++i) {
      KeyRow<T> const key = keys.row(visible, token + i);
      for (int d = 0; d < n; ++d) {
        float const value = rounded_product(Element<T>::to_float(key.values[first + d]), key.scale);
        finite = finite & is_finite(value);
        folds[d].add(value);
      }
    }
    for (int r = 0; r < Rule::rows; ++r)
      for (int d = 0; d < n; ++d) {
        float const value = folds[d].row(r);
        finite = finite & is_finite(value);
        rows[std::int64_t(r) * pooled.head_dim + first + d] = value;
      }
    return finite ? 0 : 1;
  }
};

/// The kernel that pools by a rule.
template <PoolingRule Rule, class Keys>
struct PoolerOf {
  using type = PoolBlocks<Rule, Keys>;
};
template <HeadRule Rule, class Keys>
struct PoolerOf<Rule, Keys> {
  using type = PoolHeadBlocks<Rule, Keys>;
};
template <PoolingRule Rule, class Keys>
using Pooler = typename PoolerOf<Rule, Keys>::type;

} // namespace detail
HISA_NAMESPACE_END
