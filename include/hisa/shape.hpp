// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What is known when a plan is made: extents, levels, budgets and options.
#pragma once

#include <hisa/config.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

HISA_NAMESPACE_BEGIN

/// An extent or a block size that is given at run time.
inline constexpr int dynamic = -1;

/// The most pooled levels that a hierarchy may have.
inline constexpr int max_levels = 6;

/// Extents of the calls that a plan serves. A static extent selects specialised code where there is
/// some; `dynamic`, the default, works everywhere.
///
/// @tparam Heads    H, or dynamic
/// @tparam HeadDim  D, or dynamic
template <int Heads = dynamic, int HeadDim = dynamic>
struct Shape {
  static_assert(Heads == dynamic || Heads > 0, "hisa::Shape: Heads must be positive or dynamic");
  static_assert(HeadDim == dynamic || HeadDim > 0,
                "hisa::Shape: HeadDim must be positive or dynamic");

  std::int64_t max_queries = 0;                    ///< M of the largest call
  std::int64_t max_keys = 0;                       ///< keys of the largest buffer or sequence
  int heads = Heads == dynamic ? 0 : Heads;        ///< H
  int head_dim = HeadDim == dynamic ? 0 : HeadDim; ///< D
};

/// One integer per level, coarse to fine. A value type that device code may copy.
struct LevelValues {
  int values[max_levels] = {};
  int count = 0; ///< may exceed max_levels when built from too long a list: plans refuse that

  constexpr LevelValues() = default;
  constexpr LevelValues(std::initializer_list<int> list) {
    for (int v : list)
      push_back(v);
  }
  HISA_FUNCTION constexpr void push_back(int v) {
    if (count < max_levels)
      values[count] = v;
    ++count;
  }
  HISA_FUNCTION constexpr int operator[](int level) const { return values[level]; }
};

namespace detail {
constexpr bool levels_nest(std::initializer_list<int> sizes) {
  int coarser = dynamic;
  for (int size : sizes) {
    if (size == dynamic)
      continue;
    if (size < 1 || (coarser != dynamic && (size >= coarser || coarser % size != 0)))
      return false;
    coarser = size;
  }
  return true;
}
} // namespace detail

/// The pooled levels above the tokens, as block sizes from coarse to fine. `Levels<>` is the flat
/// indexer, `Levels<128>` HISA, `Levels<128, 16>` three stages. `dynamic` fixes the number of
/// levels and takes the size from Budgets::block_size.
template <int... BlockSizes>
struct Levels {
  static_assert(sizeof...(BlockSizes) <= max_levels, "hisa::Levels: too many levels");
  static_assert(detail::levels_nest({BlockSizes...}),
                "hisa::Levels: block sizes go from coarse to fine, each a multiple of the next");
  static constexpr int count = sizeof...(BlockSizes);

  static constexpr LevelValues block_sizes() { return LevelValues{BlockSizes...}; }
};

/// How much each stage keeps. All values are per query.
struct Budgets {
  LevelValues keep = {};       ///< m: blocks kept on each pooled level, coarse to fine
  int topk = 0;                ///< k: tokens kept
  LevelValues block_size = {}; ///< B of each level that is `dynamic` in Levels; else empty
};

/// What happens to the first and the last visible block on every pooled level.
enum class Boundary {
  counted, ///< kept, and they count towards m (the authors' code)
  extra,   ///< kept on top of m (the paper's pseudo-code)
  none,    ///< not forced; a block that is only partly visible scores -inf
};

/// What the returned integers count from.
enum class IndexBase {
  relative, ///< from the query's first visible key, ks
  absolute, ///< from the start of the buffer (contiguous) or of the sequence (paged)
  physical, ///< cache slot: page_table[seq][i / P] * P + i % P; paged keys only
};

/// How dot products and head sums are computed. Either way by one function of query and key, the
/// same for blocks and tokens, with |error| <= eps * k_scale * sum_j |w_j| * sum_d |q_jd * k_d|.
enum class Arithmetic {
  native, ///< the fp8 tensor core's own accumulation where a path has it, eps = 2^-9; else precise
  precise ///< exact products, fp32 accumulation: eps = (D + H + 4) * 2^-24
};

/// Run-time choices of a plan.
struct Options {
  Boundary boundary = Boundary::counted;
  IndexBase index_base = IndexBase::relative;
  Arithmetic arithmetic = Arithmetic::native;
  /// Queries are worked on in as many groups as keep the workspace below this many bytes (but at
  /// least one query at a time). 512 MiB of scores and 1 MiB for the rest.
  std::size_t workspace_limit = std::size_t(513) << 20;
  /// Each call first prints, from the device, which lengths of its arguments are out of range and
  /// are clamped (hisa/report.hpp; plans on Kokkos only). For debugging.
  bool report_clamped = false;
};

HISA_NAMESPACE_END
