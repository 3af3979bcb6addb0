// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The specification itself: small cases computed by hand, and a second formulation of each
// operation that shares no code with reference.hpp. No Kokkos.
#include <hisa/reference.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <vector>

using namespace hisa;

namespace {

constexpr float NaN = std::numeric_limits<float>::quiet_NaN();
constexpr float inf = std::numeric_limits<float>::infinity();
using Ints = std::vector<std::int32_t>;
using Longs = std::vector<std::int64_t>;

/// One query of fp32 numbers against one key.
template <class Real = float>
Real score_of(const std::vector<float>& q, const std::vector<float>& w, const std::vector<float>& k,
              float scale = 1.0f) {
  Queries<float> const queries{q.data(), w.data(), 1, int(w.size()), int(k.size())};
  return reference::score<Real>(queries, 0, KeyRow<float>{k.data(), scale});
}

/// A query of one head in one dimension, so that the score of a key is its positive part.
struct Scalars {
  std::vector<float> keys, scales, pooled;
  std::vector<std::int32_t> ks, ke, anchor;
  int block_size = 2;

  std::vector<float> q = std::vector<float>(64, 1.0f), w = q;

  Queries<float> queries() const { return {q.data(), w.data(), std::int64_t(ks.size()), 1, 1}; }
  ContiguousKeys<float> contiguous() const {
    return {keys.data(), scales.empty() ? nullptr : scales.data(), std::int64_t(keys.size()), 1, 0};
  }
  Ranges ranges() const { return {ks.data(), ke.data(), anchor.empty() ? nullptr : anchor.data()}; }
  PooledKeys<const float> level() const {
    return {pooled.data(), nullptr, std::int64_t(pooled.size()), block_size, 1};
  }

  reference::Result flat(int topk) const {
    return reference::flat(queries(), contiguous(), ranges(), {topk});
  }
  reference::Result hierarchical(int keep, const reference::Choice& choice) const {
    return reference::hierarchical(queries(), contiguous(),
                                   std::vector<reference::Level<float>>{{level(), keep}}, ranges(),
                                   choice);
  }
};

/// True when candidate a comes before b, from the sentence of the contract.
bool better(float a, std::int64_t i, float b, std::int64_t j) {
  if (std::isnan(a) != std::isnan(b))
    return std::isnan(b);
  if (!std::isnan(a) && a != b) // -0 == +0
    return a > b;
  return i < j;
}

/// The `count` best by taking the best one again and again.
Longs best_of(const std::vector<float>& scores, std::int64_t count) {
  std::vector<bool> taken(scores.size());
  for (std::int64_t n = 0; n < count; ++n) {
    std::int64_t best = -1;
    for (std::int64_t i = 0; i < std::int64_t(scores.size()); ++i)
      if (!taken[std::size_t(i)] &&
          (best < 0 || better(scores[std::size_t(i)], i, scores[std::size_t(best)], best)))
        best = i;
    if (best >= 0)
      taken[std::size_t(best)] = true;
  }
  Longs out;
  for (std::size_t i = 0; i < taken.size(); ++i)
    if (taken[i])
      out.push_back(std::int64_t(i));
  return out;
}

/// The dot products by fma, the heads as a recursive tree over chains that are 16 apart.
float tree(const std::vector<float>& terms, const std::vector<float>& w, std::size_t chain,
           std::size_t width) {
  if (width == 16) {
    float sum = 0;
    for (std::size_t j = chain; j < terms.size(); j += 16)
      sum = std::fma(w[j], terms[j], sum);
    return sum;
  }
  return tree(terms, w, chain, width * 2) + tree(terms, w, chain + width, width * 2);
}

/// Random numbers of a few levels: many keys, all visible ranges, pooled rows unrelated to the
/// keys.
struct Random {
  int M = 12, N = 90, H = 3, D = 4;
  std::vector<float> q, w, k;
  std::vector<std::int32_t> ks, ke, anchor;
  std::vector<int> sizes;
  std::vector<std::vector<float>> rows;

  explicit Random(unsigned seed, std::vector<int> level_sizes) : sizes(std::move(level_sizes)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<int> coarse(-2, 2); // few values: ties
    auto const fill = [&](std::vector<float>& v, int n) {
      for (int i = 0; i < n; ++i)
        v.push_back(float(coarse(random)));
    };
    fill(q, M * H * D), fill(w, M * H), fill(k, N * D);
    for (int t = 0; t < M; ++t) {
      int const a = int(random() % 30), b = a + int(random() % 20);
      anchor.push_back(a), ks.push_back(b);
      ke.push_back(b + int(random() % unsigned(N - b + 1)));
    }
    for (int size : sizes) {
      rows.emplace_back();
      fill(rows.back(), (N / size + 1) * D);
    }
  }

  float score(int t, const float* key) const {
    std::vector<float> terms;
    for (int j = 0; j < H; ++j) {
      float dot = 0;
      for (int d = 0; d < D; ++d)
        dot += q[std::size_t((t * H + j) * D + d)] * key[d]; // small integers: exact
      terms.push_back(std::max(dot, 0.0f));
    }
    float sum = 0;
    for (int j = 0; j < H; ++j)
      sum += w[std::size_t(t * H + j)] * terms[std::size_t(j)];
    return sum;
  }

  /// The tokens that query t keeps, absolute.
  Ints kept(int t, const std::vector<int>& keep, int topk, Boundary boundary) const {
    std::size_t const u = std::size_t(t);
    std::vector<bool> alive(std::size_t(ke[u] - ks[u]), true); // still a candidate: token ks + i
    for (std::size_t l = 0; l < sizes.size() && ke[u] - ks[u] > topk; ++l)
      keep_level(t, sizes[l], rows[l], keep[l], boundary, alive);
    std::vector<float> scores;
    Ints tokens, out;
    for (int s = ks[u]; s < ke[u]; ++s)
      if (alive[std::size_t(s - ks[u])]) {
        tokens.push_back(s);
        scores.push_back(score(t, &k[std::size_t(s * D)]));
      }
    for (std::int64_t i : best_of(scores, topk))
      out.push_back(tokens[std::size_t(i)]);
    return out;
  }

  /// Leaves alive only the tokens of the blocks that the level keeps.
  void keep_level(int t, int size, const std::vector<float>& pooled, int keep, Boundary boundary,
                  std::vector<bool>& alive) const {
    std::size_t const u = std::size_t(t);
    auto const block_of = [&](int s) { return (s - anchor[u]) / size; };
    if (ks[u] == ke[u])
      return;
    int const first = block_of(ks[u]), last = block_of(ke[u] - 1);
    std::vector<int> blocks; // with a token alive
    for (int b = first; b <= last; ++b)
      for (int s = ks[u]; s < ke[u]; ++s)
        if (block_of(s) == b && alive[std::size_t(s - ks[u])]) {
          blocks.push_back(b);
          break;
        }
    std::vector<bool> chosen(std::size_t(last + 1));
    auto const present = [&](int b) {
      return std::find(blocks.begin(), blocks.end(), b) != blocks.end();
    };
    int left = keep;
    if (boundary != Boundary::none)
      for (int b : {last, first})
        if (present(b) && !chosen[std::size_t(b)] && (boundary == Boundary::extra || left > 0)) {
          chosen[std::size_t(b)] = true;
          left -= boundary == Boundary::counted;
        }
    std::vector<float> scores;
    std::vector<int> others;
    for (int b : blocks)
      if (!chosen[std::size_t(b)]) {
        int const begin = anchor[u] + b * size, end = begin + size;
        bool const whole = begin >= ks[u] && end <= ke[u];
        others.push_back(b);
        scores.push_back(whole ? score(t, &pooled[std::size_t(b * D)]) : -inf);
      }
    for (std::int64_t i : best_of(scores, left))
      chosen[std::size_t(others[std::size_t(i)])] = true;
    for (int s = ks[u]; s < ke[u]; ++s)
      if (!chosen[std::size_t(block_of(s))])
        alive[std::size_t(s - ks[u])] = false;
  }

  reference::Result run(const std::vector<int>& keep, const reference::Choice& choice) const {
    std::vector<reference::Level<float>> levels;
    for (std::size_t l = 0; l < sizes.size(); ++l)
      levels.push_back(
          {{rows[l].data(), nullptr, std::int64_t(N / sizes[l] + 1), sizes[l], D}, keep[l]});
    return reference::hierarchical(Queries<float>{q.data(), w.data(), M, H, D}, keys(), levels,
                                   ranges(), choice);
  }
  ContiguousKeys<float> keys() const { return {k.data(), nullptr, N, D, 0}; }
  Ranges ranges() const { return {ks.data(), ke.data(), anchor.data()}; }
};

/// Row t of a result without its -1 tail, which must be all of the rest.
Ints row(const reference::Result& result, std::size_t t) {
  std::size_t const k = std::size_t(result.topk), n = std::size_t(result.counts[t]);
  auto const at = result.indices.begin() + std::ptrdiff_t(t * k);
  for (std::size_t i = 0; i < k; ++i) {
    bool const present = i < n;
    REQUIRE(present == (result.indices[t * k + i] >= 0));
    if (!present)
      REQUIRE(result.scores[t * k + i] == -inf);
  }
  return {at, at + std::ptrdiff_t(n)};
}

struct LargestPool {
  static constexpr const char* name = "largest";
  static constexpr int rows = 1;
  static constexpr float identity = -inf;
  static float fold(float a, float b) { return a > b ? a : b; }
  static float finish(float a, int) { return a; }
};

struct HalvesPool : MeanPool {
  static constexpr int rows = 2;
};

} // namespace

TEST_CASE("a score is computed as written: scale * sum of w relu(q.k)") {
  // Heads (1,2), (-1,0), (3,-1); key (2,1): dots 4, -2, 5.
  REQUIRE(score_of({1, 2, -1, 0, 3, -1}, {0.5f, 100.0f, -2.0f}, {2, 1}, 0.25f) == -2.0f);
  REQUIRE(score_of<double>({1, 2, -1, 0, 3, -1}, {0.5f, 100.0f, -2.0f}, {2, 1}, 0.25f) == -2.0);
}

TEST_CASE("relu counts a NaN dot product as 0, keeps +inf and drops -inf") {
  REQUIRE(score_of({1, 1}, {1, 1}, {NaN}) == 0.0f);
  REQUIRE(score_of({NaN, 1}, {5, 2}, {3}) == 6.0f); // the other head counts
  REQUIRE(score_of({0}, {1}, {inf}) == 0.0f);       // 0 * inf
  REQUIRE(score_of({1, -1}, {1}, {inf, -inf}) == inf);
  REQUIRE(score_of({1}, {1}, {-inf}) == 0.0f);
  REQUIRE(score_of<double>({NaN, 1}, {5, 2}, {3}) == 6.0);
}

TEST_CASE("a NaN scale or weight makes the score NaN; a negative weight on nothing makes zero") {
  REQUIRE(std::isnan(score_of({1}, {1}, {1}, NaN)));
  REQUIRE(std::isnan(score_of({1}, {1}, {-1}, NaN)));
  REQUIRE(std::isnan(score_of({-1}, {NaN}, {1})));
  REQUIRE(score_of({-1}, {-3}, {1}) == 0.0f);
}

TEST_CASE("dot products are chains of FMAs over ascending d") {
  // (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24, which a rounded product loses, and so does the other
  // order.
  float const a = 1 + 0x1p-12f, b = 1 + 0x1p-11f;
  REQUIRE(score_of({1, a}, {1}, {-b, a}) == 0x1p-24f);
  REQUIRE(score_of({a, 1}, {1}, {a, -b}) == 0.0f);
}

TEST_CASE("heads are summed in 16 chains, then as a tree of halves") {
  // In fp32 2^24 + 1 is 2^24, so a term of one survives only where it meets another one first.
  auto const sum = [](std::vector<std::size_t> ones) {
    std::vector<float> w(48, 0.0f);
    w[0] = 0x1p24f;
    for (std::size_t j : ones)
      w[j] = 1.0f;
    return score_of(std::vector<float>(48, 1.0f), w, {1.0f}) - 0x1p24f;
  };
  REQUIRE(sum({16, 32}) == 0.0f); // the same chain
  REQUIRE(sum({16, 8}) == 0.0f);  // chain 0 meets chain 8 first
  REQUIRE(sum({4, 12}) == 2.0f);  // chains 4 and 12 meet before chain 0 meets chain 4
  REQUIRE(sum({8, 24}) == 2.0f);  // one chain: 1 + 1
  REQUIRE(sum({4, 8}) == 0.0f);
  REQUIRE(sum({2, 6}) == 2.0f);
  REQUIRE(sum({1, 2}) == 0.0f);
  REQUIRE(sum({2, 4}) == 0.0f);
  REQUIRE(sum({1, 3}) == 2.0f);
  REQUIRE(sum({1, 15}) == 2.0f);
}

TEST_CASE("the head tree equals a recursive formulation for any number of heads") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int H = 1; H <= 70; ++H) {
    std::vector<float> q, w;
    for (int j = 0; j < H; ++j)
      q.push_back(std::abs(normal(random))), w.push_back(normal(random));
    REQUIRE(score_of(q, w, {1.0f}) == tree(q, w, 0, 1));
  }
}

TEST_CASE("the key's scale multiplies the sum, after it") {
  REQUIRE(score_of({4, 3}, {1, -1}, {1}, 0x1p127f) == 0x1p127f); // 4 * 2^127 would be infinite
}

TEST_CASE("in double the score and its magnitude have no rounding of fp32") {
  std::vector<float> const q{1.0f, 0x1p-30f, -2.0f, 1.0f}, w{3.0f, -5.0f}, k{1.0f, -0.5f};
  REQUIRE(score_of<double>(q, w, k, 2.0f) == 6.0 * (1 - 0x1p-31));
  Queries<float> const queries{q.data(), w.data(), 1, 2, 2};
  REQUIRE(reference::magnitude(queries, 0, KeyRow<float>{k.data(), 2.0f}) ==
          2 * (3 * (1 + 0x1p-31) + 5 * 2.5));
}

TEST_CASE("the query's row is taken: values and weights of query t") {
  std::vector<float> const q{1, 2, 3}, w{10, 20, 30}, k{1};
  Queries<float> const queries{q.data(), w.data(), 3, 1, 1};
  for (std::int64_t t = 0; t < 3; ++t)
    REQUIRE(reference::score(queries, t, KeyRow<float>{k.data(), 1}) ==
            q[std::size_t(t)] * w[std::size_t(t)]);
}

TEST_CASE("selection order: descending score, lowest index among equals, +-0 equal, NaN last") {
  std::vector<float> const scores{NaN, -0.0f, 1.0f, -inf, 0.0f, -NaN, 1.0f, -0.0f, inf, -1.0f};
  // The whole order: 8 (inf), 2, 6 (1), 1, 4, 7 (zeros), 9 (-1), 3 (-inf), 0, 5 (NaN).
  Longs const order{8, 2, 6, 1, 4, 7, 9, 3, 0, 5};
  for (std::size_t n = 0; n <= order.size(); ++n) {
    Longs expected(order.begin(), order.begin() + std::ptrdiff_t(n));
    std::sort(expected.begin(), expected.end());
    REQUIRE(reference::select(scores, std::int64_t(n)) == expected);
  }
  REQUIRE(reference::select(scores, 99).size() == 10);
}

TEST_CASE("selection equals taking the best one again and again") {
  std::mt19937 random(2);
  std::vector<float> const values{NaN, -0.0f, 0.0f, 1.0f, -1.0f, inf, -inf, 1e-42f, -1e-42f, 3e38f};
  for (int repeat = 0; repeat < 200; ++repeat) {
    std::vector<float> scores;
    for (std::size_t n = random() % 40; n > 0; --n)
      scores.push_back(values[random() % values.size()]);
    for (std::int64_t k = 0; k <= 41; ++k)
      REQUIRE(reference::select(scores, k) == best_of(scores, k));
  }
}

TEST_CASE("flat by hand: ties, a window, fewer keys than k, no keys") {
  Scalars p;
  p.keys = {5, 1, 5, 2, 9, 5, 0, 3};
  p.ks = {0, 1, 6, 4, 3};
  p.ke = {8, 7, 8, 4, 4};
  auto const result = p.flat(3);
  REQUIRE(result.counts == Ints{3, 3, 2, 0, 1});
  REQUIRE(result.indices == Ints{0, 2, 4, 1, 3, 4, 0, 1, -1, -1, -1, -1, 0, -1, -1});
  REQUIRE(result.scores ==
          std::vector<float>{5, 5, 9, 5, 9, 5, 0, 3, -inf, -inf, -inf, -inf, 2, -inf, -inf});
  REQUIRE(reference::flat(p.queries(), p.contiguous(), p.ranges(),
                          {3, Boundary::counted, IndexBase::absolute})
              .indices == Ints{0, 2, 4, 2, 4, 5, 6, 7, -1, -1, -1, -1, 3, -1, -1});
}

TEST_CASE("NaN scales: selected only where fewer than k others are visible") {
  Scalars p;
  p.keys = {1, 2, 0, 3};
  p.scales = {NaN, 1, -inf, NaN}; // 0 * -inf is NaN too
  p.ks = {0}, p.ke = {4};
  REQUIRE(row(p.flat(1), 0) == Ints{1});
  REQUIRE(row(p.flat(2), 0) == Ints{0, 1});
  REQUIRE(row(p.flat(3), 0) == Ints{0, 1, 2});
  p.keys[2] = 1; // -inf precedes NaN
  REQUIRE(row(p.flat(2), 0) == Ints{1, 2});
}

TEST_CASE("the boundary options by hand") {
  // Five blocks of two; by their pooled rows the order is 2, 3, 1, 4, 0. With k = 9 of the ten keys
  // every kept block keeps a token.
  Scalars p;
  p.keys = std::vector<float>(10, 1.0f);
  p.pooled = {1, 6, 9, 8, 5};
  p.ks = {0}, p.ke = {10};
  auto const blocks = [&](int keep, Boundary boundary) {
    std::set<std::int32_t> kept;
    for (std::int32_t token : row(p.hierarchical(keep, {9, boundary}), 0))
      kept.insert(token / 2);
    return Ints(kept.begin(), kept.end());
  };
  REQUIRE(blocks(1, Boundary::counted) == Ints{4}); // m = 1 keeps the last
  REQUIRE(blocks(2, Boundary::counted) == Ints{0, 4});
  REQUIRE(blocks(3, Boundary::counted) == Ints{0, 2, 4});
  REQUIRE(blocks(4, Boundary::counted) == Ints{0, 2, 3, 4});
  REQUIRE(blocks(5, Boundary::counted) == Ints{0, 1, 2, 3, 4});
  REQUIRE(blocks(1, Boundary::extra) == Ints{0, 2, 4});
  REQUIRE(blocks(2, Boundary::extra) == Ints{0, 2, 3, 4});
  REQUIRE(blocks(3, Boundary::extra) == Ints{0, 1, 2, 3, 4});
  REQUIRE(blocks(1, Boundary::none) == Ints{2});
  REQUIRE(blocks(2, Boundary::none) == Ints{2, 3});
  REQUIRE(blocks(4, Boundary::none) == Ints{1, 2, 3, 4});
}

TEST_CASE("boundary blocks that win anyway are kept once and cost one place") {
  Scalars p;
  p.keys = std::vector<float>(8, 1.0f);
  p.pooled = {9, 1, 2, 8};
  p.ks = {0}, p.ke = {8};
  REQUIRE(row(p.hierarchical(3, {7, Boundary::counted}), 0) == Ints{0, 1, 4, 5, 6, 7});
  REQUIRE(row(p.hierarchical(3, {7, Boundary::extra}), 0) == Ints{0, 1, 2, 3, 4, 5, 6});
  REQUIRE(row(p.hierarchical(3, {7, Boundary::none}), 0) == Ints{0, 1, 4, 5, 6, 7});
}

TEST_CASE("ties between blocks: the lowest block") {
  Scalars p;
  p.keys = std::vector<float>(12, 1.0f);
  p.pooled = {0, 3, 3, 3, 3, 0};
  p.ks = {0}, p.ke = {12};
  REQUIRE(row(p.hierarchical(4, {11}), 0) == Ints{0, 1, 2, 3, 4, 5, 10, 11});
  p.pooled = {0, -0.0f, 0, -0.0f, 0, 0};
  REQUIRE(row(p.hierarchical(2, {11, Boundary::none}), 0) == Ints{0, 1, 2, 3});
}

TEST_CASE("without forcing, a partly visible block is -inf: it comes after every whole one") {
  Scalars p;
  p.keys = {1, 1, 1, 1, 1, 1, 0.5f, 1};
  p.w = std::vector<float>(64, -1.0f); // whole blocks have negative scores
  p.pooled = {5, 7, 6, 1};
  p.ks = {1}, p.ke = {7}, p.anchor = {0};
  auto const kept = [&](int keep) {
    return row(p.hierarchical(keep, {5, Boundary::none, IndexBase::absolute}), 0);
  };
  REQUIRE(kept(1) == Ints{4, 5});
  REQUIRE(kept(2) == Ints{2, 3, 4, 5});
  REQUIRE(kept(3) == Ints{1, 2, 3, 4, 5}); // among the -inf the lowest
  REQUIRE(kept(4) == Ints{1, 2, 3, 4, 6});
}

TEST_CASE("the pooled row of an incomplete block is never read") {
  Scalars p;
  p.keys = std::vector<float>(9, 1.0f);
  p.ks = {0}, p.ke = {9};
  for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none})
    for (int keep = 1; keep <= 3; ++keep) {
      p.pooled = {1, 5, 3, 4}; // no fifth row: a read beyond is an error of the sanitizer's
      auto const expected = p.hierarchical(keep, {4, boundary});
      for (float poison : {NaN, inf, 1e30f, -1e30f}) {
        p.pooled = {1, 5, 3, 4, poison};
        auto const result = p.hierarchical(keep, {4, boundary});
        REQUIRE(result.indices == expected.indices);
        REQUIRE(result.counts == expected.counts);
      }
    }
}

TEST_CASE("the row of a complete block that a query sees in part is not read either") {
  Scalars p;
  p.keys = std::vector<float>(12, 1.0f);
  p.anchor = {0}, p.ks = {3}, p.ke = {9};
  for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none})
    for (int keep = 1; keep <= 4; ++keep) {
      p.pooled = {1, 1, 5, 3, 1, 1};
      auto const expected = p.hierarchical(keep, {3, boundary});
      for (float poison : {NaN, inf, -inf}) {
        p.pooled = {poison, poison, 5, 3, poison, poison};
        REQUIRE(p.hierarchical(keep, {3, boundary}).indices == expected.indices);
      }
    }
}

TEST_CASE("a NaN row scores +0, as a row of NaN keys does") {
  Scalars p;
  p.keys = std::vector<float>(10, 1.0f);
  p.pooled = {0, NaN, 0, 1, 0};
  p.ks = {0}, p.ke = {10};
  REQUIRE(row(p.hierarchical(3, {9, Boundary::counted}), 0) == Ints{0, 1, 6, 7, 8, 9});
  p.pooled = {0, NaN, 0, 0, 0}; // lowest index among zeros
  REQUIRE(row(p.hierarchical(3, {9, Boundary::counted}), 0) == Ints{0, 1, 2, 3, 8, 9});
  p.w = std::vector<float>(64, -1.0f);
  p.pooled = {0, 2, NaN, 1, 0}; // +0 beats the negative scores
  REQUIRE(row(p.hierarchical(3, {9, Boundary::counted}), 0) == Ints{0, 1, 4, 5, 8, 9});
}

TEST_CASE("a query that sees no more than k keys takes them all, whatever its blocks") {
  // Tokens 1 and 2 lie in two blocks, of which m = 1 keeps one; token 0 makes it three keys.
  Scalars p;
  p.keys = std::vector<float>(8, 1.0f);
  p.pooled = {1, 2, 3, 4};
  p.ks = {1, 0}, p.ke = {3, 3}, p.anchor = {0, 0};
  for (Boundary boundary : {Boundary::counted, Boundary::extra, Boundary::none}) {
    auto const result = p.hierarchical(1, {2, boundary, IndexBase::absolute});
    REQUIRE(row(result, 0) == Ints{1, 2});
  }
  auto const sparse = reference::block_sparse(p.queries(), p.contiguous(), p.level(), p.ranges(),
                                              {2, Boundary::counted, IndexBase::absolute});
  REQUIRE(row(sparse, 0) == Ints{1, 2});
  REQUIRE(row(sparse, 1) == Ints{2});
  REQUIRE(row(p.hierarchical(1, {2, Boundary::counted}), 1) == Ints{2});
}

TEST_CASE("one, two and three levels equal a second formulation on every visible range") {
  Boundary const boundary = GENERATE(Boundary::counted, Boundary::extra, Boundary::none);
  struct Case {
    std::vector<int> sizes, keep;
    int topk;
  };
  for (Case const& c : {Case{{}, {}, 7}, Case{{8}, {1}, 5}, Case{{8}, {2}, 16}, Case{{8}, {5}, 20},
                        Case{{7}, {3}, 21}, Case{{16, 4}, {3, 5}, 13}, Case{{16, 4}, {1, 1}, 4},
                        Case{{16, 4}, {2, 2}, 8}, Case{{24, 12, 3}, {3, 4, 7}, 20},
                        Case{{24, 12, 3}, {2, 2, 1}, 3}, Case{{1}, {9}, 9}, Case{{8}, {50}, 11}})
    for (unsigned seed = 0; seed < 20; ++seed) {
      Random const p(seed, c.sizes);
      auto const relative = p.run(c.keep, {c.topk, boundary, IndexBase::relative});
      auto const absolute = p.run(c.keep, {c.topk, boundary, IndexBase::absolute});
      for (int t = 0; t < p.M; ++t) {
        Ints const expected = p.kept(t, c.keep, c.topk, boundary);
        REQUIRE(row(absolute, std::size_t(t)) == expected);
        Ints shifted = row(relative, std::size_t(t));
        for (std::int32_t& i : shifted)
          i += p.ks[std::size_t(t)];
        REQUIRE(shifted == expected);
        for (std::size_t i = 0; i < expected.size(); ++i)
          REQUIRE(absolute.scores[std::size_t(t * c.topk) + i] ==
                  p.score(t, &p.k[std::size_t(expected[i] * p.D)]));
      }
    }
}

TEST_CASE("block-sparse is hierarchical with m = k / B, and keeps whole blocks") {
  for (Boundary boundary : {Boundary::counted, Boundary::none})
    for (int topk : {8, 16, 40, 200})
      for (unsigned seed = 0; seed < 20; ++seed) {
        Random const p(seed, {8});
        reference::Choice const choice{topk, boundary, IndexBase::absolute};
        auto const hierarchical = p.run({topk / 8}, choice);
        auto const sparse = reference::block_sparse(
            Queries<float>{p.q.data(), p.w.data(), p.M, p.H, p.D}, p.keys(),
            PooledKeys<const float>{p.rows[0].data(), nullptr, p.N / 8 + 1, 8, p.D}, p.ranges(),
            choice);
        REQUIRE(sparse.indices == hierarchical.indices);
        REQUIRE(sparse.counts == hierarchical.counts);
        REQUIRE(sparse.scores == hierarchical.scores);
        for (std::size_t t = 0; t < std::size_t(p.M); ++t) {
          Ints const tokens = row(sparse, t);
          auto const has = [&](int s) {
            return std::find(tokens.begin(), tokens.end(), s) != tokens.end();
          };
          for (int s = p.ks[t]; s < p.ke[t]; ++s) // a block is taken or left as a whole
            for (int u = p.ks[t]; u < p.ke[t]; ++u)
              if ((s - p.anchor[t]) / 8 == (u - p.anchor[t]) / 8)
                REQUIRE(has(s) == has(u));
        }
      }
}

TEST_CASE("refine by hand: any order, -1, duplicates, invisible blocks, nothing forced") {
  Scalars p;
  p.keys = {9, 9, 1, 2, 3, 4, 9, 9, 9};
  p.ks = {2, 0}, p.ke = {6, 9}, p.anchor = {0, 0};
  Ints const lists{2,  -1, 77, 2, 1, 0, -5, 3, //
                   -1, -1, 4,  1, 1, 1, 1,  4};
  auto const result = reference::refine(p.queries(), p.contiguous(), BlockLists{lists.data(), 8}, 2,
                                        p.ranges(), {5, Boundary::counted, IndexBase::absolute});
  REQUIRE(row(result, 0) == Ints{2, 3, 4, 5});
  REQUIRE(row(result, 1) == Ints{2, 3, 8});
  Ints const nothing(16, -1);
  auto const empty = reference::refine(p.queries(), p.contiguous(), BlockLists{nothing.data(), 8},
                                       2, p.ranges(), {5});
  REQUIRE(empty.counts == Ints{0, 0});
  REQUIRE(empty.indices == Ints(10, -1));
}

TEST_CASE("refine over all blocks is flat") {
  Random const p(3, {});
  Ints lists;
  for (int t = 0; t < p.M; ++t)
    for (int b = 12; b-- > 0;)
      lists.push_back(b);
  Queries<float> const queries{p.q.data(), p.w.data(), p.M, p.H, p.D};
  reference::Choice const choice{9};
  REQUIRE(reference::refine(queries, p.keys(), BlockLists{lists.data(), 12}, 8, p.ranges(), choice)
              .indices == reference::flat(queries, p.keys(), p.ranges(), choice).indices);
}

TEST_CASE("paged keys by hand: lengths, slots, and the row of a block in its last page") {
  // Two sequences of five tokens in pages of two; the values are 10 * sequence + position.
  Ints const table{4, 0, 3, 1, 5, 2};
  std::vector<float> cache(12, 99.0f);
  for (std::size_t s = 0; s < 2; ++s)
    for (std::size_t i = 0; i < 5; ++i)
      cache[std::size_t(table[s * 3 + i / 2]) * 2 + i % 2] = float(10 * s + i);
  PagedKeys<float> const keys{
      reinterpret_cast<const std::byte*>(cache.data()), 6, 0, 2, table.data(), 2, 3, 1};
  Ints const lengths{5, 3};
  std::vector<float> const q(4, 1.0f);
  Queries<float> const queries{q.data(), q.data(), 4, 1, 1};
  Lengths const visibility{lengths.data(), 2, 2};
  auto const slots = reference::flat(queries, keys, visibility, {2, {}, IndexBase::physical});
  REQUIRE(slots.counts == Ints{2, 2, 2, 2});
  // Positions 2, 3 (a sees four); 3, 4; 0, 1 (b sees two); 1, 2.
  REQUIRE(slots.indices == Ints{0, 1, 1, 6, 2, 3, 3, 10});
  REQUIRE(slots.scores == std::vector<float>{2, 3, 3, 4, 10, 11, 11, 12});
  REQUIRE(reference::flat(queries, keys, visibility, {2}).indices == Ints{2, 3, 3, 4, 0, 1, 1, 2});

  for (auto [block_size, rows] : {std::pair{1, 12}, {2, 6}, {4, 6}}) {
    std::vector<float> values(std::size_t(rows), -7.0f);
    PooledKeys<float> const pooled{values.data(), nullptr, rows, block_size, 1};
    for (std::int64_t s = 0; s < 2; ++s) {
      Visible v;
      v.sequence = s;
      reference::pool(keys, pooled, v, 5);
    }
    std::vector<float> expected(std::size_t(rows), -7.0f);
    for (std::size_t s = 0; s < 2; ++s)
      for (std::size_t b = 0; b < std::size_t(5 / block_size); ++b) {
        std::size_t const size = std::size_t(block_size);
        std::size_t const page = std::size_t(table[s * 3 + (b * size + size - 1) / 2]);
        std::size_t const at = block_size == 1 ? page * 2 + b % 2 : page;
        expected[at] = float(10 * s + b * size) + float(block_size - 1) / 2;
      }
    REQUIRE(values == expected);
  }
}

TEST_CASE("pooling by hand: scale, codes, order of the sum") {
  std::vector<e4m3fn> codes;
  for (float v : {1.0f, 2.0f, 448.0f, -448.0f, 0.0f, 0.0f, 1.0f, 1.0f, 3.0f})
    codes.push_back(e4m3fn_from_float(v));
  std::vector<float> const scales{2, 1, 1, 1, 5, 5, 0.5f, 1.5f, NaN};
  ContiguousKeys<e4m3fn> const keys{codes.data(), scales.data(), 9, 1, 0};
  std::vector<e4m3fn> values(5, e4m3fn{0x55});
  std::vector<float> row_scales(5, -1.0f);
  reference::pool(keys, PooledKeys<e4m3fn>{values.data(), row_scales.data(), 5, 2, 1}, Visible{},
                  9);
  REQUIRE(row_scales == std::vector<float>{2.0f / 448, 1, 1, 1.0f / 448, -1});
  REQUIRE(to_float(values[0]) == 448);
  REQUIRE(values[1].bits == 0); // 448 - 448
  REQUIRE(values[2].bits == 0);
  REQUIRE(to_float(values[3]) == 448);
  REQUIRE(values[4].bits == 0x55); // incomplete: not written

  // Ascending order: (2^24 + 1) + 1 is 2^24, the other way round it is 2^24 + 2.
  for (auto [k, sum] : {std::pair{std::vector<float>{0x1p24f, 1, 1, 0}, 0x1p24f},
                        {std::vector<float>{1, 1, 0x1p24f, 0}, 0x1p24f + 2}}) {
    float value = 0;
    reference::pool(ContiguousKeys<float>{k.data(), nullptr, 4, 1, 0},
                    PooledKeys<float>{&value, nullptr, 1, 4, 1}, Visible{}, 4);
    REQUIRE(value == sum / 4);
  }
}

TEST_CASE("pooled products are rounded before they are added") {
  // With a fused multiply-add the second product would keep its last bit: 2^-24.
  std::vector<float> const k{-(1 + 0x1p-11f), 1 + 0x1p-12f}, scales{1, 1 + 0x1p-12f};
  float value = -1;
  reference::pool(ContiguousKeys<float>{k.data(), scales.data(), 2, 1, 0},
                  PooledKeys<float>{&value, nullptr, 1, 2, 1}, Visible{}, 2);
  REQUIRE(value == 0.0f);
}

TEST_CASE("a row is divided by its scale, not multiplied by the reciprocal, and rounds to even") {
  // The mean of the codes 16 and 18 is 17, a tie between the two, to which 17s / s is exact and
  // 17s * (1 / s) often is not.
  std::mt19937 random(4);
  std::uniform_real_distribution<float> uniform(0.01f, 1.0f);
  int differing = 0;
  for (int repeat = 0; repeat < 2000; ++repeat) {
    std::vector<e4m3fn> const codes{e4m3fn_from_float(448), e4m3fn_from_float(16),
                                    e4m3fn_from_float(448), e4m3fn_from_float(18)};
    float const s = uniform(random);
    std::vector<float> const scales{s, s};
    std::vector<e4m3fn> values(2);
    float row_scale = 0;
    reference::pool(ContiguousKeys<e4m3fn>{codes.data(), scales.data(), 2, 2, 0},
                    PooledKeys<e4m3fn>{values.data(), &row_scale, 1, 2, 2}, Visible{}, 2);
    float const amax = 448 * s, a = 16 * s, b = 18 * s, mean = (a + b) / 2;
    REQUIRE(row_scale == amax / 448);
    REQUIRE(to_float(values[0]) == 448);
    std::uint8_t const divided = e4m3fn_from_float(mean / row_scale).bits;
    REQUIRE(values[1].bits == divided);
    differing += divided != e4m3fn_from_float(mean * (1 / row_scale)).bits;
  }
  REQUIRE(differing > 0);
}

TEST_CASE("a block with anything not finite becomes a row of NaN with scale 1") {
  for (float poison : {NaN, inf, -inf})
    for (std::size_t where = 0; where < 4; ++where) {
      std::vector<float> k{1, 2, 3, 4, 5, 6, 7, 8}; // two dimensions
      k[where] = poison;
      std::vector<float> values(4);
      reference::pool(ContiguousKeys<float>{k.data(), nullptr, 4, 2, 0},
                      PooledKeys<float>{values.data(), nullptr, 2, 2, 2}, Visible{}, 4);
      REQUIRE(std::isnan(values[0]));
      REQUIRE(std::isnan(values[1])); // every dimension of the row
      REQUIRE(values[2] == 6);
      REQUIRE(values[3] == 7);
    }
  for (float scale : {NaN, inf, -inf}) {
    std::vector<e4m3fn> const codes(4, e4m3fn_from_float(2));
    std::vector<float> const scales{1, 1, scale, 1};
    std::vector<e4m3fn> values(2);
    std::vector<float> row_scales(2);
    reference::pool(ContiguousKeys<e4m3fn>{codes.data(), scales.data(), 4, 1, 0},
                    PooledKeys<e4m3fn>{values.data(), row_scales.data(), 2, 2, 1}, Visible{}, 4);
    REQUIRE(to_float(values[0]) == 448);
    REQUIRE(std::isnan(to_float(values[1])));
    REQUIRE(row_scales[1] == 1);
  }
  std::vector<float> const huge{3e38f, 3e38f}; // finite keys, a sum that is not
  float value = 0;
  reference::pool(ContiguousKeys<float>{huge.data(), nullptr, 2, 1, 0},
                  PooledKeys<float>{&value, nullptr, 1, 2, 1}, Visible{}, 2);
  REQUIRE(std::isnan(value));
}

TEST_CASE("other rules: the largest value, and two rows whose larger score counts") {
  std::vector<float> const k{1, -5, 2, 4, -3, -3, -9, -1};
  std::vector<float> largest(2), halves(4);
  ContiguousKeys<float> const keys{k.data(), nullptr, 8, 1, 0};
  reference::pool<LargestPool>(keys, PooledKeys<float>{largest.data(), nullptr, 2, 4, 1}, Visible{},
                               8);
  REQUIRE(largest == std::vector<float>{4, -1});
  reference::pool<HalvesPool>(keys, PooledKeys<float>{halves.data(), nullptr, 2, 4, 1}, Visible{},
                              8);
  REQUIRE(halves == std::vector<float>{-2, 3, -3, -5});

  Scalars p;
  p.ks = {0}, p.ke = {8};
  auto const score = [&](float weight, float a, float b) {
    std::vector<float> const pair{a, b};
    p.w[0] = weight;
    Visible v;
    v.end = 8;
    return reference::block_score<HalvesPool>(
        p.queries(), keys, PooledKeys<const float>{pair.data(), nullptr, 1, 4, 1}, v, 0);
  };
  REQUIRE(score(1, 2, 3) == 3);
  REQUIRE(score(1, 3, 2) == 3);
  REQUIRE(score(-1, 2, 3) == -2);
  REQUIRE(score(-1, 3, 2) == -2);
  REQUIRE(score(-1, NaN, 2) == 0); // NaN rows score +0
}

TEST_CASE("blocks of a packed buffer start at begin[t]") {
  Scalars p;
  p.keys = std::vector<float>(12, 1.0f);
  p.pooled = {0, 0, 0, 9, 9, 0, 0, 3, 0};
  p.ks = {0, 0}, p.ke = {8, 8};
  Ints const begin{2, 5};
  PooledKeys<const float> level = p.level();
  level.begin = begin.data();
  auto const result =
      reference::hierarchical(p.queries(), p.contiguous(),
                              std::vector<reference::Level<float>>{{level, 3}}, p.ranges(), {7});
  REQUIRE(row(result, 0) == Ints{0, 1, 2, 3, 6, 7}); // rows 2 .. 5: block 1 (and 2) with 9
  REQUIRE(row(result, 1) == Ints{0, 1, 4, 5, 6, 7}); // rows 5 .. 8: block 2 with 3
}
