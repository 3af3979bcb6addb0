// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The portable score kernel: the lightning indexer's formula over the candidates of a descent.
///
/// A team takes one query and a share of its candidates. prepare() has laid the query out as fp32
/// [D][heads], so that heads are the lanes: the dot products of `keys` keys with 16 * `groups`
/// heads are accumulated over ascending d, one broadcast key value against a row of heads at a
/// time. Each accumulator is one chain of FMAs over d, and each of the 16 chains of the head sum
/// one chain over ascending heads (reference::score), so neither the width of a vector nor the
/// split of the work changes a bit.
#pragma once

#include <hisa/descend.hpp>
#include <hisa/lanes.hpp>
#include <hisa/launch.hpp>
#include <hisa/order_key.hpp>

#include <Kokkos_Core.hpp>

HISA_NAMESPACE_BEGIN
namespace detail {
inline namespace HISA_HOST_ISA {

/// Heads are summed in this many chains (reference::score).
inline constexpr int head_chains = 16;

/// Queries of a group as fp32, transposed, heads padded to a multiple of the chains: values with
/// +0, weights with -0, whose product is the one zero that leaves every sum as it is.
struct PreparedQueries {
  float* values = nullptr;  ///< [count, head_dim, padded_heads]
  float* weights = nullptr; ///< [count, padded_heads]
  int head_dim = 0;
  int padded_heads = 0;

  static int pad(int heads) { return (heads + head_chains - 1) / head_chains * head_chains; }
  HISA_FUNCTION const float* query(std::int64_t i) const {
    return values + i * head_dim * padded_heads;
  }
  HISA_FUNCTION const float* weight(std::int64_t i) const { return weights + i * padded_heads; }
};

/// The sum of the chains, pairwise: chain i and chain i + 8, then + 4, + 2, + 1.
HISA_FUNCTION inline float sum_chains(float (&chains)[head_chains]) {
  for (int width = head_chains / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i)
      chains[i] += chains[i + width];
  return chains[0];
}

/// Keys of a thread's tile as the inner loop reads them: `E` is float, or the element type itself
/// where values are converted at each use.
template <ScorePolicy P, class E>
struct KeyTile {
  const E* values[P.keys];

  HISA_FUNCTION float at(int key, int d) const { return Element<E>::to_float(values[key][d]); }
};

/// Adds the products over `count` dimensions to the accumulators of Vectors * lanes heads.
template <ScorePolicy P, int Vectors, bool Exact, class E>
HISA_FUNCTION inline void accumulate(const KeyTile<P, E>& tile, const float* query, int pitch,
                                     int count, Lanes<P.lanes> (&dots)[P.keys][Vectors]) {
  for (int d = 0; d < count; ++d) {
    Lanes<P.lanes> q[Vectors];
    for (int v = 0; v < Vectors; ++v)
      q[v] = Lanes<P.lanes>::load(query + std::int64_t(d) * pitch + v * P.lanes);
    for (int i = 0; i < P.keys; ++i)
      for (int v = 0; v < Vectors; ++v)
        if constexpr (Exact)
          dots[i][v] = exact_multiply_add(tile.at(i, d), q[v], dots[i][v]);
        else
          dots[i][v] = fused_multiply_add(tile.at(i, d), q[v], dots[i][v]);
  }
}

/// Dimensions of a key that are converted and kept at a time.
inline constexpr int staged_dims = 256;

/// Scores `P.keys` keys of one query. An object lives for one tile.
template <ScorePolicy P, ElementType T>
class TileScorer {
  static constexpr bool staged = P.staged && !std::is_same_v<T, float>;
  static constexpr int chain_vectors = head_chains / P.lanes;
  using Row = std::conditional_t<staged, float, T>;
  using Vector = Lanes<P.lanes>;

  const PreparedQueries& queries_;
  const float* query_;
  const float* weight_;
  const KeyRow<T> (&keys_)[P.keys];
  Vector chains_[P.keys][chain_vectors];
  float stage_[staged ? P.keys : 1][staged ? staged_dims : 1];

public:
  HISA_FUNCTION TileScorer(const PreparedQueries& queries, std::int64_t i,
                           const KeyRow<T> (&keys)[P.keys])
      : queries_(queries), query_(queries.query(i)), weight_(queries.weight(i)), keys_(keys) {}

  /// Writes one score per key.
  HISA_FUNCTION void score(float (&scores)[P.keys]) {
    for (int i = 0; i < P.keys; ++i)
      for (int v = 0; v < chain_vectors; ++v)
        chains_[i][v] = Vector::zero();
    if (staged && queries_.head_dim <= staged_dims)
      stage(0, queries_.head_dim);
    passes<P.groups>(0);
    for (int i = 0; i < P.keys; ++i)
      scores[i] = keys_[i].scale * sum_of(i);
  }

private:
  HISA_FUNCTION void stage(int first, int count) {
    if constexpr (staged)
      for (int i = 0; i < P.keys; ++i)
        for (int d = 0; d < count; ++d)
          stage_[i][d] = Element<T>::to_float(keys_[i].values[first + d]);
  }

  HISA_FUNCTION KeyTile<P, Row> tile(int first) const {
    KeyTile<P, Row> tile;
    for (int i = 0; i < P.keys; ++i)
      if constexpr (staged)
        tile.values[i] = stage_[i];
      else
        tile.values[i] = keys_[i].values + first;
    return tile;
  }

  /// All heads from `head` on, `Groups` groups of 16 at a time, then fewer.
  template <int Groups>
  HISA_FUNCTION void passes(int head) {
    for (; head + Groups * head_chains <= queries_.padded_heads; head += Groups * head_chains)
      pass<Groups>(head);
    if constexpr (Groups > 1)
      passes<Groups / 2>(head);
  }

  /// The heads [head, head + 16 Groups): dot products, then their share of the chains.
  template <int Groups>
  HISA_FUNCTION void pass(int head) {
    constexpr int vectors = Groups * chain_vectors;
    constexpr bool exact = Element<T>::exact_products;
    int const pitch = queries_.padded_heads, dims = queries_.head_dim;
    Vector dots[P.keys][vectors];
    for (int i = 0; i < P.keys; ++i)
      for (int v = 0; v < vectors; ++v)
        dots[i][v] = Vector::zero();
    bool const whole = !staged || dims <= staged_dims;
    int const step = whole ? dims : staged_dims;
    for (int first = 0; first < dims; first += step) {
      int const count = dims - first < step ? dims - first : step;
      if (!whole)
        stage(first, count);
      accumulate<P, vectors, exact>(tile(first), query_ + std::int64_t(first) * pitch + head, pitch,
                                    count, dots);
    }
    for (int v = 0; v < vectors; ++v) {
      Vector const w = Vector::load(weight_ + head + v * P.lanes);
      for (int i = 0; i < P.keys; ++i)
        chains_[i][v % chain_vectors] =
            fused_multiply_add(w, relu(dots[i][v]), chains_[i][v % chain_vectors]);
    }
  }

  HISA_FUNCTION float sum_of(int key) const {
    float chains[head_chains];
    for (int v = 0; v < chain_vectors; ++v)
      chains_[key][v].store(chains + v * P.lanes);
    return sum_chains(chains);
  }
};

/// Lays a group of queries out for TileScorer: team i, query i.
template <ElementType T>
struct PrepareQueries {
  QueryGroup<T> group;
  PreparedQueries prepared;

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    std::int64_t const i = team.league_rank();
    int const heads = group.queries.heads, dims = group.queries.head_dim;
    int const pitch = prepared.padded_heads;
    const T* const in = group.queries.values + (group.first + i) * heads * dims;
    const float* const w = group.queries.weights + (group.first + i) * heads;
    float* const out = prepared.values + i * dims * pitch;
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, dims), [=](int d) {
      for (int h = 0; h < pitch; ++h)
        out[std::int64_t(d) * pitch + h] =
            h < heads ? Element<T>::to_float(in[std::int64_t(h) * dims + d]) : 0.0f;
    });
    float* const out_w = prepared.weights + i * pitch;
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, pitch),
                         [=](int h) { out_w[h] = h < heads ? w[h] : -0.0f; });
  }
};

template <class Exec, ElementType T>
void prepare_queries(const Exec& exec, const QueryGroup<T>& group, const PreparedQueries& out) {
  Kokkos::parallel_for("hisa::score::prepare", team_policy(exec, group.count),
                       PrepareQueries<T>{group, out});
}

/// A level's rows by the flat formula: the scores of a tile of rows, each the best of its key rows.
template <ScorePolicy P, class DescentType>
struct RowTile {
  using T = typename DescentType::element_type;

  HISA_FUNCTION static void score(const DescentType& descent, const PreparedQueries& prepared,
                                  const Visible& visible, std::int64_t i,
                                  const std::int64_t (&level_row)[P.keys], float (&best)[P.keys]) {
    std::int64_t const size = descent.rows.block_size();
    for (int r = 0; r < DescentType::rows_type::rows; ++r) {
      KeyRow<T> keys[P.keys];
      for (int j = 0; j < P.keys; ++j) // the query's first head where there is no row to be read
        keys[j] = visible.covers(level_row[j], size)
                      ? descent.rows.row(visible, level_row[j], r)
                      : KeyRow<T>{descent.group.queries.values, 0.0f};
      float scores[P.keys];
      TileScorer<P, T>(prepared, i, keys).score(scores);
      for (int j = 0; j < P.keys; ++j)
        if (r == 0 || precedes(scores[j], 0, best[j], 0))
          best[j] = scores[j];
    }
  }
};

/// Scores the contested candidates of a descent: `splits` teams share a query.
/// @tparam Tile  RowTile or HeadTile: what scores P.keys rows of the level
template <ScorePolicy P, class DescentType, class Tile>
struct ScoreCandidates {
  DescentType descent;
  PreparedQueries prepared;
  ScoreRowsOut out;
  int splits = 1;

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    std::int64_t const i = team.league_rank() / splits;
    std::int64_t const split = team.league_rank() % splits;
    Visible const visible = descent.visible(i);
    Candidates const candidates = descent.candidates(visible, i);
    Contest const contest = descent.contest(candidates, visible);
    if (!descent.must_score(contest, visible))
      return;
    std::int64_t const tiles = (contest.size() + P.keys - 1) / P.keys;
    std::int64_t const first = tiles * split / splits, end = tiles * (split + 1) / splits;
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, end - first), [&](std::int64_t tile) {
      std::int64_t const position = contest.first + (first + tile) * P.keys;
      score_tile(visible, candidates, i, position, contest.end,
                 out.values + i * out.pitch + position);
    });
  }

  /// Scores the positions [position, min(position + P.keys, end)) into to[0] .. A block that is not
  /// wholly visible is -inf: its pooled row may not have been written and is never read.
  KOKKOS_FUNCTION void score_tile(const Visible& visible, const Candidates& candidates,
                                  std::int64_t i, std::int64_t position, std::int64_t end,
                                  float* to) const {
    std::int64_t level_row[P.keys];
    for (int j = 0; j < P.keys; ++j) // a short tile repeats its last row
      level_row[j] = candidates.row(position + j < end ? position + j : end - 1);
    float scores[P.keys];
    Tile::score(descent, prepared, visible, i, level_row, scores);
    for (int j = 0; j < P.keys && position + j < end; ++j)
      to[j] = visible.covers(level_row[j], descent.rows.block_size()) ? scores[j] : minus_infinity;
  }
};

} // namespace HISA_HOST_ISA
} // namespace detail
HISA_NAMESPACE_END
