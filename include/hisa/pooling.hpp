// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What a pooling rule is: how the keys of a block become pooled rows, and how the block's score
/// follows from them. The rules themselves are in hisa/row_rules.hpp and hisa/head_rules.hpp.
#pragma once

#include <hisa/arithmetic.hpp>
#include <hisa/config.hpp>
#include <hisa/element.hpp>

#include <concepts>
#include <type_traits>

HISA_NAMESPACE_BEGIN

/// A row rule makes `rows` ordinary rows of a block, each from an equal part of its tokens, in the
/// element type of the keys; the block's score is the largest of its rows'. For each dimension of
/// each row, the values `value * scale` of the row's tokens are folded in ascending token order,
/// from `identity`, in fp32 and without contraction.
template <class Rule>
concept RowRule = requires(float a, float b, int tokens) {
  { Rule::name } -> std::convertible_to<const char*>;
  { Rule::rows } -> std::convertible_to<int>;
  { Rule::identity } -> std::convertible_to<float>;
  { Rule::fold(a, b) } -> std::same_as<float>;
  { Rule::finish(a, tokens) } -> std::same_as<float>;
};

/// A head rule makes `rows` rows of fp32 of a whole block and has a formula of its own for each
/// head, before the weights: the block's score is sum_j w_j relu(value_j).
///
/// - `Fold` makes the rows of one dimension: default constructed, `add(value * scale)` for each of
///   the block's tokens in ascending order, then `row(r)`. A block with a key that is not finite,
///   or a row that is not, becomes rows of NaN and scores +0.
/// - `sums` accumulators a head start at 0. `accumulate(q, row, sums)` takes one dimension: the
///   query's value and `row[0 .. rows)`, in ascending order of the dimensions.
/// - `value(sums, w)` is the head's value_j; it may look at the weight's sign.
///
/// All of it is fp32; products are added with hisa::multiply_add, so that every compiler makes the
/// same bits.
template <class Rule>
concept HeadRule = std::default_initializable<typename Rule::Fold> &&
    requires(typename Rule::Fold& fold, const typename Rule::Fold& folded, float x,
             const float* row, float* sums) {
  { Rule::name } -> std::convertible_to<const char*>;
  { Rule::rows } -> std::convertible_to<int>;
  { Rule::sums } -> std::convertible_to<int>;
  fold.add(x);
  { folded.row(0) } -> std::same_as<float>;
  Rule::accumulate(x, row, sums);
  { Rule::value(sums, x) } -> std::same_as<float>;
};

/// What turns keys into pooled rows.
template <class Rule>
concept PoolingRule = RowRule<Rule> || HeadRule<Rule>;

/// In the place of a pooling rule: the blocks come from the caller as BlockLists, nothing is
/// pooled.
struct CallerBlocks {
  static constexpr const char* name = "caller";
};

/// What may stand as a plan's source of candidates.
template <class Source>
concept CandidateSource = PoolingRule<Source> || std::same_as<Source, CallerBlocks>;

/// The element type of a source's pooled rows beside keys of type T: fp32 for a head rule, else T.
template <CandidateSource Source, ElementType T>
using pooled_element = std::conditional_t<HeadRule<Source>, float, T>;

namespace detail {

/// Equal parts that a rule divides a block into.
template <PoolingRule Rule>
inline constexpr int parts_of = RowRule<Rule> ? Rule::rows : 1;

/// True for neither infinities nor NaN, whatever the floating-point options.
HISA_FUNCTION constexpr bool is_finite(float x) {
  return Element<float>::is_finite(x);
}

} // namespace detail

/// True when a folded value can stand in a row of type T: finite, and still so when rounded.
template <ElementType T>
HISA_FUNCTION constexpr bool fits_row(float value) {
  return detail::is_finite(value) &&
         (Element<T>::quantised || Element<T>::is_finite(Element<T>::from_float(value)));
}

/// The scale of a pooled row of a quantised element type whose largest magnitude is `amax`.
template <ElementType T>
HISA_FUNCTION constexpr float pooled_scale(float amax) {
  float const scale = amax / Element<T>::max_finite;
  return scale > 0.0f ? scale : 1.0f; // a zero block, or one that fp32 cannot scale
}

HISA_NAMESPACE_END
