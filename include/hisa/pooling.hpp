// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Pooling rules: how the keys of a block become pooled rows. A row rule makes `rows` ordinary rows
/// of a block, each from an equal part of its tokens; the block's score is the largest of its
/// rows'.
#pragma once

#include <hisa/config.hpp>
#include <hisa/element.hpp>

#include <concepts>

HISA_NAMESPACE_BEGIN

/// What a row rule provides. For each dimension of each row, the values `value * scale` of the
/// row's tokens are folded in ascending token order, from `identity`, in fp32 and without
/// contraction.
template <class Rule>
concept RowRule = requires(float a, float b, int tokens) {
  { Rule::name } -> std::convertible_to<const char*>;
  { Rule::rows } -> std::convertible_to<int>;
  { Rule::identity } -> std::convertible_to<float>;
  { Rule::fold(a, b) } -> std::same_as<float>;
  { Rule::finish(a, tokens) } -> std::same_as<float>;
};

/// The mean of the block's keys, as in the paper.
struct MeanPool {
  static constexpr const char* name = "mean";
  static constexpr int rows = 1;
  static constexpr float identity = 0.0f;
  HISA_FUNCTION static constexpr float fold(float sum, float value) { return sum + value; }
  HISA_FUNCTION static constexpr float finish(float sum, int tokens) {
    return sum / static_cast<float>(tokens);
  }
};

/// In the place of a pooling rule: the blocks come from the caller as BlockLists, nothing is
/// pooled.
struct CallerBlocks {
  static constexpr const char* name = "caller";
};

/// What may stand as a plan's source of candidates.
template <class Source>
concept CandidateSource = RowRule<Source> || std::same_as<Source, CallerBlocks>;

namespace detail {

/// value * scale rounded to fp32, and never contracted with what it is added to.
HISA_FUNCTION inline float rounded_product(float value, float scale) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(value, scale);
#elif defined(__clang__)
#pragma clang fp contract(off)
  float const product = value * scale;
  return product;
#elif defined(__GNUC__) && __GNUC__ >= 12 && !defined(__CUDACC__)
  return __builtin_assoc_barrier(value * scale);
#else
  float volatile const product = value * scale;
  return product;
#endif
}

/// True for neither infinities nor NaN, whatever the floating-point options.
HISA_FUNCTION constexpr bool is_finite(float x) {
  return Element<float>::is_finite(x);
}

} // namespace detail

/// The scale of a pooled row of a quantised element type whose largest magnitude is `amax`.
template <ElementType T>
HISA_FUNCTION constexpr float pooled_scale(float amax) {
  float const scale = amax / Element<T>::max_finite;
  return scale > 0.0f ? scale : 1.0f; // a zero block, or one that fp32 cannot scale
}

HISA_NAMESPACE_END
