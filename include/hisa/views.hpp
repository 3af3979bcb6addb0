// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The library's tensors from Kokkos Views or mdspans: anything with extents, strides and a
/// pointer.
#pragma once

#include <hisa/error.hpp>
#include <hisa/row_rules.hpp>
#include <hisa/tensors.hpp>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

HISA_NAMESPACE_BEGIN
namespace detail {

/// The pointer of a View (`data`) or of an mdspan (`data_handle`).
template <class Tensor>
auto data_of(const Tensor& tensor) {
  if constexpr (requires { tensor.data(); })
    return tensor.data();
  else
    return tensor.data_handle();
}

template <class Tensor>
using element_of =
    std::remove_cv_t<std::remove_pointer_t<decltype(data_of(std::declval<const Tensor&>()))>>;

template <class Tensor>
constexpr int rank_of() {
  return static_cast<int>(Tensor::rank());
}

template <class Tensor>
std::int64_t extent_of(const Tensor& tensor, int r) {
  return static_cast<std::int64_t>(tensor.extent(static_cast<std::size_t>(r)));
}

template <class Tensor>
std::int64_t stride_of(const Tensor& tensor, int r) {
  return static_cast<std::int64_t>(tensor.stride(static_cast<std::size_t>(r)));
}

/// Checks that dimensions `first` .. are row-major and packed.
template <class Tensor>
void require_packed(const char* function, const char* argument, const Tensor& tensor,
                    int first = 0) {
  std::int64_t expected = 1;
  for (int r = rank_of<Tensor>() - 1; r >= first; --r) {
    require(extent_of(tensor, r) <= 1 || stride_of(tensor, r) == expected, function, argument,
            "strided by " + std::to_string(stride_of(tensor, r)) + " in dimension " +
                std::to_string(r),
            "row-major and packed (stride " + std::to_string(expected) + ")");
    expected *= extent_of(tensor, r);
  }
}

template <class Tensor>
void require_extent(const char* function, const char* argument, const Tensor& tensor, int r,
                    std::int64_t expected) {
  require(extent_of(tensor, r) == expected, function, argument, extent_of(tensor, r),
          std::to_string(expected));
}

} // namespace detail

/// Queries from a rank-3 tensor [M, H, D] and weights [M, H].
/// @throws precondition_error unless both are row-major, packed and agree
template <class Values, class Weights>
auto make_queries(const Values& values, const Weights& weights) {
  static_assert(detail::rank_of<Values>() == 3 && detail::rank_of<Weights>() == 2,
                "hisa::make_queries: values are [M, H, D], weights are [M, H]");
  constexpr const char* function = "make_queries";
  detail::require_packed(function, "values", values);
  detail::require_packed(function, "weights", weights);
  detail::require_extent(function, "weights.extent(0)", weights, 0, detail::extent_of(values, 0));
  detail::require_extent(function, "weights.extent(1)", weights, 1, detail::extent_of(values, 1));
  return Queries<detail::element_of<Values>>{detail::data_of(values), detail::data_of(weights),
                                             detail::extent_of(values, 0),
                                             static_cast<int>(detail::extent_of(values, 1)),
                                             static_cast<int>(detail::extent_of(values, 2))};
}

/// Contiguous keys from a rank-2 tensor [N, D], rows any distance apart, without scales.
/// @tparam S  type of the scales that the keys might carry
/// @throws precondition_error unless each row is packed
template <ScaleType S = float, class Values>
auto make_contiguous_keys(const Values& values) {
  static_assert(detail::rank_of<Values>() == 2, "hisa::make_contiguous_keys: values are [N, D]");
  detail::require_packed("make_contiguous_keys", "values", values, 1);
  ContiguousKeys<detail::element_of<Values>, S> keys;
  keys.values = detail::data_of(values);
  keys.count = detail::extent_of(values, 0);
  keys.head_dim = static_cast<int>(detail::extent_of(values, 1));
  keys.row_stride = keys.count > 1 ? detail::stride_of(values, 0) : 0;
  return keys;
}

/// The same with scales [N] of fp32 or ue8m0.
template <class Values, class Scales>
auto make_contiguous_keys(const Values& values, const Scales& scales) {
  constexpr const char* function = "make_contiguous_keys";
  auto keys = make_contiguous_keys<detail::element_of<Scales>>(values);
  detail::require_packed(function, "scales", scales);
  detail::require_extent(function, "scales.extent(0)", scales, 0, keys.count);
  keys.scales = detail::data_of(scales);
  return keys;
}

/// Pooled keys from values [blocks, R, D] of blocks of `block_size` tokens, without scales.
/// R is the rule's.
/// @throws precondition_error unless the values are row-major and packed
template <PoolingRule Rule = MeanPool, class Values>
auto make_pooled_keys(const Values& values, int block_size) {
  static_assert(detail::rank_of<Values>() == 3,
                "hisa::make_pooled_keys: values are [blocks, R, D]");
  detail::require_packed("make_pooled_keys", "values", values);
  detail::require_extent("make_pooled_keys", "values.extent(1)", values, 1, Rule::rows);
  using T = std::remove_pointer_t<decltype(detail::data_of(values))>;
  PooledKeys<T> pooled;
  pooled.values = detail::data_of(values);
  pooled.blocks = detail::extent_of(values, 0);
  pooled.block_size = block_size;
  pooled.head_dim = static_cast<int>(detail::extent_of(values, 2));
  return pooled;
}

/// The same with scales [blocks, R].
template <PoolingRule Rule = MeanPool, class Values, class Scales>
auto make_pooled_keys(const Values& values, const Scales& scales, int block_size) {
  static_assert(detail::rank_of<Scales>() == 2, "hisa::make_pooled_keys: scales are [blocks, R]");
  constexpr const char* function = "make_pooled_keys";
  auto pooled = make_pooled_keys<Rule>(values, block_size);
  detail::require_packed(function, "scales", scales);
  detail::require_extent(function, "scales.extent(0)", scales, 0, detail::extent_of(values, 0));
  detail::require_extent(function, "scales.extent(1)", scales, 1, detail::extent_of(values, 1));
  pooled.scales = detail::data_of(scales);
  return pooled;
}

namespace detail {

/// A rank-1 tensor of 32-bit integers, packed, as what a call reads.
template <class Tensor>
const std::int32_t* integers_of(const char* function, const char* argument, const Tensor& tensor) {
  static_assert(rank_of<Tensor>() == 1 && std::is_same_v<element_of<Tensor>, std::int32_t>,
                "hisa: rows of a call are described by rank-1 tensors of std::int32_t");
  require_packed(function, argument, tensor);
  return data_of(tensor);
}

} // namespace detail

/// Ranges from tensors [M].
/// @throws precondition_error unless both are packed and agree
template <class Begin, class End>
Ranges make_ranges(const Begin& ks, const End& ke) {
  detail::require_extent("make_ranges", "ke.extent(0)", ke, 0, detail::extent_of(ks, 0));
  return {detail::integers_of("make_ranges", "ks", ks),
          detail::integers_of("make_ranges", "ke", ke)};
}

/// The same with the starts of the block grids [M].
template <class Begin, class End, class Anchor>
Ranges make_ranges(const Begin& ks, const End& ke, const Anchor& anchor) {
  Ranges ranges = make_ranges(ks, ke);
  detail::require_extent("make_ranges", "anchor.extent(0)", anchor, 0, detail::extent_of(ks, 0));
  ranges.anchor = detail::integers_of("make_ranges", "anchor", anchor);
  return ranges;
}

/// Ragged from tensors [M] and the rows of the page table.
/// @throws precondition_error unless both are packed and agree
template <class Sequence, class Count>
Ragged make_ragged(const Sequence& row_seq, const Count& row_visible, std::int64_t batch) {
  constexpr const char* function = "make_ragged";
  detail::require_extent(function, "row_visible.extent(0)", row_visible, 0,
                         detail::extent_of(row_seq, 0));
  return {detail::integers_of(function, "row_seq", row_seq),
          detail::integers_of(function, "row_visible", row_visible), batch};
}

HISA_NAMESPACE_END
