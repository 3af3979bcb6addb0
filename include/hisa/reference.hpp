// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The specification: every operation of the library in obvious scalar host code. Slow on purpose.
/// Every fast path is tested against it. All pointers are host memory here.
#pragma once

#include <hisa/error.hpp>
#include <hisa/order_key.hpp>
#include <hisa/row_rules.hpp>
#include <hisa/shape.hpp>
#include <hisa/tensors.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <span>
#include <vector>

HISA_NAMESPACE_BEGIN

namespace reference {

/// The result of an indexer: row t holds counts[t] token indices, then -1.
struct Result {
  std::int64_t topk = 0;
  std::vector<std::int32_t> indices; ///< [M, topk]
  std::vector<float> scores;         ///< [M, topk], -inf beyond the count
  std::vector<std::int32_t> counts;  ///< [M]
};

/// One pooled level: its rows and how many blocks a query keeps.
template <ElementType T>
struct Level {
  PooledKeys<const T> pooled;
  int keep = 0;
};

/// What an indexer keeps and how it reports it.
struct Choice {
  int topk = 0;
  Boundary boundary = Boundary::counted;
  IndexBase index_base = IndexBase::relative;
};

/// The sum of the 16 chains of heads: pairwise, chain i to chain i + 8, then + 4, + 2, + 1.
template <class Real>
Real sum_chains(Real (&chains)[16]) {
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i)
      chains[i] += chains[i + width];
  return chains[0];
}

/// The score of one key: k_scale * sum_j w_j relu(q_j . k). The dot product is a chain of FMAs over
/// ascending d. Heads are summed in 16 chains of FMAs (head j in chain j mod 16, ascending j),
/// which sum_chains adds.
/// @tparam Real  float: the specified arithmetic; double: the value that error bounds are taken
/// from
template <class Real = float, ElementType T>
Real score(const Queries<T>& queries, std::int64_t t, const KeyRow<T>& key) {
  Real chains[16] = {};
  for (int j = 0; j < queries.heads; ++j) {
    const T* const q = queries.values + (t * queries.heads + j) * queries.head_dim;
    Real dot = 0;
    for (int d = 0; d < queries.head_dim; ++d)
      dot = std::fma(static_cast<Real>(Element<T>::to_float(q[d])),
                     static_cast<Real>(Element<T>::to_float(key.values[d])), dot);
    Real const w = static_cast<Real>(queries.weights[t * queries.heads + j]);
    Real const relu = dot > 0 ? dot : Real(0); // a NaN dot counts 0
    chains[j % 16] = std::fma(w, relu, chains[j % 16]);
  }
  return static_cast<Real>(key.scale) * sum_chains(chains);
}

/// The sum that the error bound of a score is a multiple of: k_scale sum_j |w_j| sum_d |q_jd k_d|.
template <ElementType T>
double magnitude(const Queries<T>& queries, std::int64_t t, const KeyRow<T>& key) {
  double sum = 0;
  for (int j = 0; j < queries.heads; ++j) {
    double dot = 0;
    for (int d = 0; d < queries.head_dim; ++d) {
      const T q = queries.values[(t * queries.heads + j) * queries.head_dim + d];
      dot +=
          std::abs(double(Element<T>::to_float(q)) * double(Element<T>::to_float(key.values[d])));
    }
    sum += std::abs(double(queries.weights[t * queries.heads + j])) * dot;
  }
  return std::abs(double(key.scale)) * sum;
}

/// How many times its `magnitude` a score may be off.
inline double tolerance(Arithmetic arithmetic, int heads, int head_dim) {
  return arithmetic == Arithmetic::native ? 0x1p-9 : (head_dim + heads + 4) * 0x1p-24;
}

/// The `count` best of `scores` as positions in ascending order: descending score, then ascending
/// position; NaN last.
inline std::vector<std::int64_t> select(std::span<const float> scores, std::int64_t count) {
  std::vector<std::int64_t> positions(scores.size());
  for (std::size_t i = 0; i < positions.size(); ++i)
    positions[i] = static_cast<std::int64_t>(i);
  auto const before = [&](std::int64_t a, std::int64_t b) {
    return precedes(scores[static_cast<std::size_t>(a)], a, scores[static_cast<std::size_t>(b)], b);
  };
  std::sort(positions.begin(), positions.end(), before);
  if (count < std::int64_t(positions.size()))
    positions.resize(static_cast<std::size_t>(count));
  std::sort(positions.begin(), positions.end());
  return positions;
}

/// The score of a block: the largest of its rows' scores.
template <RowRule Rule = MeanPool, class Keys, ElementType T = typename Keys::element_type>
float block_score(const Queries<T>& queries, const Keys& keys, const PooledKeys<const T>& pooled,
                  const Visible& visible, std::int64_t block) {
  PooledRow const row = pooled_row(keys, pooled, visible, BlockIndex(block));
  float best = 0;
  for (int r = 0; r < Rule::rows; ++r) {
    std::int64_t const i = row.value * Rule::rows + r;
    KeyRow<T> const key{pooled.values + i * pooled.head_dim,
                        pooled.scales == nullptr ? 1.0f : pooled.scales[i]};
    float const s = score(queries, visible.query, key);
    if (r == 0 || precedes(s, 0, best, 0))
      best = s;
  }
  return best;
}

/// The score of a block by a head rule: sum_j w_j relu(value_j), heads summed as in `score`.
template <HeadRule Rule, class Keys, ElementType T = typename Keys::element_type>
float block_score(const Queries<T>& queries, const Keys& keys,
                  const PooledKeys<const float>& pooled, const Visible& visible,
                  std::int64_t block) {
  const float* const rows =
      pooled.values +
      pooled_row(keys, pooled, visible, BlockIndex(block)).value * Rule::rows * pooled.head_dim;
  float chains[16] = {};
  for (int j = 0; j < queries.heads; ++j) {
    std::int64_t const head = visible.query * queries.heads + j;
    float sums[Rule::sums] = {};
    for (int d = 0; d < queries.head_dim; ++d) {
      float row[Rule::rows];
      for (int r = 0; r < Rule::rows; ++r)
        row[r] = rows[r * pooled.head_dim + d];
      Rule::accumulate(Element<T>::to_float(queries.values[head * queries.head_dim + d]), row,
                       sums);
    }
    float const w = queries.weights[head];
    float const value = Rule::value(sums, w);
    chains[j % 16] = std::fma(w, value > 0 ? value : 0.0f, chains[j % 16]);
  }
  return sum_chains(chains);
}

/// A pooled level as far as a choice among given scores needs it.
struct LevelSize {
  std::int64_t block_size = 0;
  std::int64_t keep = 0;
};

/// The blocks that a query keeps on one level, out of `candidates` (visible, ascending).
/// @param score  score(block), asked only where there is a choice and the block is wholly visible
template <class BlockScore>
std::vector<std::int64_t> keep_blocks(const Visible& visible, const LevelSize& level,
                                      std::vector<std::int64_t> candidates, Boundary boundary,
                                      const BlockScore& score) {
  std::int64_t const size = level.block_size;
  std::set<std::int64_t> kept; // the boundary blocks
  if (boundary != Boundary::none && !candidates.empty()) {
    std::int64_t const last = visible.end_row(size) - 1, first = visible.first_row(size);
    if (candidates.back() == last)
      kept.insert(last);
    if (candidates.front() == first &&
        !(boundary == Boundary::counted && level.keep == 1 && kept.size() == 1))
      kept.insert(first);
  }
  std::int64_t const budget =
      level.keep - (boundary == Boundary::counted ? std::int64_t(kept.size()) : 0);
  std::erase_if(candidates, [&](std::int64_t b) { return kept.contains(b); });
  if (std::int64_t(candidates.size()) <= budget) {
    kept.insert(candidates.begin(), candidates.end()); // not scored at all
  } else {
    std::vector<float> scores;
    for (std::int64_t b : candidates)
      scores.push_back(visible.covers(b, size) ? score(b) : minus_infinity);
    for (std::int64_t position : select(scores, budget))
      kept.insert(candidates[static_cast<std::size_t>(position)]);
  }
  return {kept.begin(), kept.end()};
}

/// The visible rows of a level of block size `size` that lie in the parents, or all of them.
inline std::vector<std::int64_t> children(const Visible& visible, std::int64_t size,
                                          const std::vector<std::int64_t>* parents,
                                          std::int64_t parent_size) {
  std::vector<std::int64_t> rows;
  for (std::int64_t row = visible.first_row(size); row < visible.end_row(size); ++row)
    if (parents == nullptr ||
        std::binary_search(parents->begin(), parents->end(), row * size / parent_size))
      rows.push_back(row);
  return rows;
}

/// Appends a query's row: the best `topk` of `tokens` (counted from the anchor, ascending).
/// @param score  score(token)
template <class Keys, class TokenScore>
void keep_tokens(const Keys& keys, const Visible& visible, const std::vector<std::int64_t>& tokens,
                 const Choice& choice, const TokenScore& score, Result& result) {
  std::vector<float> scores;
  for (std::int64_t i : tokens)
    scores.push_back(score(i));
  std::vector<std::int64_t> const best = select(scores, choice.topk);
  for (std::int64_t i = 0; i < choice.topk; ++i) {
    bool const present = i < std::int64_t(best.size());
    std::size_t const position = present ? static_cast<std::size_t>(best[std::size_t(i)]) : 0;
    std::int64_t index = -1;
    if (present) {
      TokenIndex const token(visible.anchor + tokens[position]);
      index = token.value;
      if (choice.index_base == IndexBase::relative)
        index -= visible.begin;
      if constexpr (requires { keys.slot(visible, token); })
        if (choice.index_base == IndexBase::physical)
          index = keys.slot(visible, token).value;
    }
    result.indices.push_back(static_cast<std::int32_t>(index));
    result.scores.push_back(present ? scores[position] : minus_infinity);
  }
  result.counts.push_back(static_cast<std::int32_t>(best.size()));
}

/// Appends a query's row: on every level, coarse to fine, the best blocks inside those kept above;
/// then the best `topk` tokens of the last level's blocks. A query that sees no more than `topk`
/// keys takes them all. What scores a row is the caller's, so that a selection can be checked
/// against the bits of whatever computed the scores.
/// @param block_score  block_score(level, block)
/// @param token_score  token_score(token), counted from the anchor
template <class Keys, class BlockScore, class TokenScore>
void keep_row(const Keys& keys, const Visible& visible, const std::vector<LevelSize>& levels,
              const Choice& choice, const BlockScore& block_score, const TokenScore& token_score,
              Result& result) {
  std::vector<std::int64_t> kept;
  const std::vector<std::int64_t>* parents = nullptr;
  std::int64_t parent_size = 1;
  for (std::size_t l = 0; l < levels.size() && visible.count() > choice.topk; ++l) {
    std::int64_t const size = levels[l].block_size;
    kept = keep_blocks(visible, levels[l], children(visible, size, parents, parent_size),
                       choice.boundary, [&](std::int64_t b) { return block_score(l, b); });
    parents = &kept;
    parent_size = size;
  }
  keep_tokens(keys, visible, children(visible, 1, parents, parent_size), choice, token_score,
              result);
}

/// Hierarchical: keep_row for every query, by the formula's own scores. No levels: the flat
/// indexer.
template <PoolingRule Rule = MeanPool, class Keys, ElementType T = typename Keys::element_type,
          VisibilityOf<Keys> Visibility>
Result hierarchical(const Queries<T>& queries, const Keys& keys,
                    const std::vector<Level<pooled_element<Rule, T>>>& levels,
                    const Visibility& visibility, const Choice& choice) {
  Result result;
  result.topk = choice.topk;
  std::vector<LevelSize> sizes;
  for (const auto& level : levels)
    sizes.push_back({level.pooled.block_size, level.keep});
  for (std::int64_t t = 0; t < queries.count; ++t) {
    Visible const visible = visibility.visible(t, keys.capacity());
    auto const of_block = [&](std::size_t l, std::int64_t b) {
      return block_score<Rule>(queries, keys, levels[l].pooled, visible, b);
    };
    auto const of_token = [&](std::int64_t i) {
      return score(queries, t, keys.row(visible, TokenIndex(visible.anchor + i)));
    };
    keep_row(keys, visible, sizes, choice, of_block, of_token, result);
  }
  return result;
}

/// Flat: score every visible key, keep the top k.
template <class Keys, ElementType T = typename Keys::element_type, VisibilityOf<Keys> Visibility>
Result flat(const Queries<T>& queries, const Keys& keys, const Visibility& visibility,
            const Choice& choice) {
  return hierarchical(queries, keys, std::vector<Level<T>>{}, visibility, choice);
}

/// Block-sparse: all visible tokens of the best topk / B blocks. Needs B | topk, refuses `extra`.
template <PoolingRule Rule = MeanPool, class Keys, ElementType T = typename Keys::element_type,
          VisibilityOf<Keys> Visibility>
Result block_sparse(const Queries<T>& queries, const Keys& keys,
                    const PooledKeys<const pooled_element<Rule, T>>& pooled,
                    const Visibility& visibility, const Choice& choice) {
  constexpr const char* function = "reference::block_sparse";
  detail::require(choice.topk % pooled.block_size == 0, function, "topk", choice.topk,
                  "a multiple of the block size");
  detail::require(choice.boundary != Boundary::extra, function, "boundary", "extra",
                  "counted or none");
  std::vector<Level<pooled_element<Rule, T>>> const levels{
      {pooled, choice.topk / pooled.block_size}};
  return hierarchical<Rule>(queries, keys, levels, visibility, choice);
}

/// Refine: keep the best tokens of the caller's blocks of `block_size` tokens.
template <class Keys, ElementType T = typename Keys::element_type, VisibilityOf<Keys> Visibility>
Result refine(const Queries<T>& queries, const Keys& keys, const BlockLists& lists, int block_size,
              const Visibility& visibility, const Choice& choice) {
  Result result;
  result.topk = choice.topk;
  for (std::int64_t t = 0; t < queries.count; ++t) {
    Visible const visible = visibility.visible(t, keys.capacity());
    std::set<std::int64_t> unique;
    for (std::int64_t i = 0; i < lists.capacity; ++i)
      unique.insert(lists.blocks[t * lists.capacity + i]);
    std::vector<std::int64_t> const blocks(unique.begin(), unique.end());
    auto const of_token = [&](std::int64_t i) {
      return score(queries, t, keys.row(visible, TokenIndex(visible.anchor + i)));
    };
    keep_tokens(keys, visible, children(visible, 1, &blocks, block_size), choice, of_token, result);
  }
  return result;
}

/// Pools the complete blocks of one sequence of `length` keys (its first key at visible.anchor)
/// from scratch. A row of a quantised type is re-quantised with its own scale; a row that is made
/// of, or sums to, anything not finite is a row of NaN with scale 1.
template <RowRule Rule = MeanPool, class Keys, ElementType T = typename Keys::element_type>
void pool(const Keys& keys, const PooledKeys<T>& pooled, const Visible& visible,
          std::int64_t length) {
  int const part = pooled.block_size / Rule::rows;
  for (std::int64_t b = 0; b < length / pooled.block_size; ++b)
    for (int r = 0; r < Rule::rows; ++r) {
      std::vector<float> values;
      bool finite = true;
      for (int d = 0; d < pooled.head_dim; ++d) {
        float folded = Rule::identity;
        for (int i = 0; i < part; ++i) {
          TokenIndex const token(visible.anchor + b * pooled.block_size + r * part + i);
          KeyRow<T> const key = keys.row(visible, token);
          float const value =
              detail::rounded_product(Element<T>::to_float(key.values[d]), key.scale);
          finite = finite && detail::is_finite(value);
          folded = Rule::fold(folded, value);
        }
        values.push_back(Rule::finish(folded, part));
        finite = finite && fits_row<T>(values.back());
      }
      float amax = 0;
      for (float v : values)
        amax = std::max(amax, std::abs(v));
      float const scale = Element<T>::quantised && finite ? pooled_scale<T>(amax) : 1.0f;
      std::int64_t const row =
          pooled_row(keys, pooled, visible, BlockIndex(b)).value * Rule::rows + r;
      for (int d = 0; d < pooled.head_dim; ++d)
        pooled.values[row * pooled.head_dim + d] =
            finite ? Element<T>::from_float(values[std::size_t(d)] / scale) : Element<T>::nan();
      if (pooled.scales != nullptr)
        pooled.scales[row] = scale;
    }
}

/// The same by a head rule: fp32 rows of the whole block, all of NaN if anything is not finite.
template <HeadRule Rule, class Keys>
void pool(const Keys& keys, const PooledKeys<float>& pooled, const Visible& visible,
          std::int64_t length) {
  using T = typename Keys::element_type;
  for (std::int64_t b = 0; b < length / pooled.block_size; ++b) {
    float* const rows = pooled.values + pooled_row(keys, pooled, visible, BlockIndex(b)).value *
                                            Rule::rows * pooled.head_dim;
    bool finite = true;
    for (int d = 0; d < pooled.head_dim; ++d) {
      typename Rule::Fold fold;
      for (int i = 0; i < pooled.block_size; ++i) {
        TokenIndex const token(visible.anchor + b * pooled.block_size + i);
        KeyRow<T> const key = keys.row(visible, token);
        float const value = detail::rounded_product(Element<T>::to_float(key.values[d]), key.scale);
        finite = finite && detail::is_finite(value);
        fold.add(value);
      }
      for (int r = 0; r < Rule::rows; ++r) {
        rows[r * pooled.head_dim + d] = fold.row(r);
        finite = finite && detail::is_finite(fold.row(r));
      }
    }
    if (!finite)
      std::fill_n(rows, Rule::rows * pooled.head_dim, Element<float>::nan());
  }
}

} // namespace reference

HISA_NAMESPACE_END
