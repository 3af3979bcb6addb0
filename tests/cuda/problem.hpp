// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a call is asked (Case), and its tensors on the host (Problem).
#pragma once

#include "report.hpp"

#include <hisa/reference.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace suite {

using namespace hisa;

inline constexpr int D = 128;

/// What the keys look like.
enum class Data { random, ties, zeros, nan_scales, infinite_scales, one_bin, nan_values };
inline constexpr std::array all_data{
    Data::random,          Data::ties,    Data::zeros,     Data::nan_scales,
    Data::infinite_scales, Data::one_bin, Data::nan_values};
inline const char* name(Data d) {
  constexpr const char* names[] = {"random",          "ties",    "zeros",     "nan scales",
                                   "infinite scales", "one bin", "nan values"};
  return names[int(d)];
}
inline constexpr std::array all_boundaries{Boundary::counted, Boundary::extra, Boundary::none};
inline const char* name(Boundary b) {
  constexpr const char* names[] = {"counted", "extra", "none"};
  return names[int(b)];
}

/// Which indexer is called.
enum class Indexing {
  hierarchical, ///< flat without levels
  block_sparse, ///< whose finest level keeps k / B blocks
  refine,       ///< of lists of up to m blocks on the one level
};

struct Case {
  std::int64_t M = 1, N = 1;
  int H = 64;
  std::vector<reference::LevelSize> levels = {}; ///< B and m, coarse to fine
  int topk = 1;
  Data data = Data::random;
  Boundary boundary = Boundary::counted;
  std::int32_t first = 0;   ///< ks of every query, but of a packed buffer's second sequence
  std::int32_t anchor = -1; ///< one grid over the buffer from here; -1: one from each ks
  bool packed = false;      ///< two sequences, of N / 3 keys and the rest
  IndexBase base = IndexBase::relative;
  std::int64_t stride = D; ///< between keys
  std::size_t limit = Options{}.workspace_limit;
  Indexing indexing = Indexing::hierarchical;
  Arithmetic arithmetic = Arithmetic::native;
  std::int64_t pair_queries = -1; ///< of calls with pairs of queries and tiles; -1: the device's
  int flat_ctas = 0;              ///< not 0: without rows of scores, with so many,
  std::int64_t flat_keys = 1;     ///< for calls of so many keys and more,
  bool sifts = false;             ///< by the sift kernel, not the flat kernel alone

  std::string path() const {
    std::string s = flat_ctas > 0    ? (sifts ? "sift kernel" : "flat kernel")
                    : levels.empty() ? "flat"
                                     : "";
    for (const auto& l : levels)
      s += s.empty() ? "B" : ">", s += std::to_string(l.block_size);
    constexpr const char* kinds[] = {"", "block-sparse ", "refine "};
    return kinds[int(indexing)] + s;
  }
  std::string text() const {
    std::string s = path();
    for (const auto& l : levels)
      s += ':', s += std::to_string(l.keep);
    s += " M=" + std::to_string(M) + " N=" + std::to_string(N) + " H=" + std::to_string(H) +
         " k=" + std::to_string(topk) + " " + name(data) + ", boundary " + name(boundary);
    s += first != 0 ? ", from " + std::to_string(first) : "";
    s += anchor >= 0 ? ", grid from " + std::to_string(anchor) : "";
    s += packed ? ", packed" : "";
    s += base == IndexBase::absolute ? ", absolute" : "";
    s += stride != D ? ", stride " + std::to_string(stride) : "";
    s += arithmetic == Arithmetic::precise ? ", precise" : "";
    return s + (limit != Options{}.workspace_limit ? ", limit " + std::to_string(limit) : "");
  }
  void cover() const {
    suite::cover("path", path());
    suite::cover("M", M);
    suite::cover("k", topk);
    suite::cover("H", H);
    suite::cover("N", N % 2 != 0 ? "odd" : "even");
    suite::cover("N", N > 100000 ? "> 100000" : N > 10000 ? "> 10000" : "<= 10000");
    suite::cover("data", name(data));
    suite::cover("boundary", name(boundary));
    suite::cover("index base", base == IndexBase::absolute ? "absolute" : "relative");
    suite::cover("grid", anchor >= 0 ? "buffer-wide" : first != 0 ? "from ks > 0" : "from 0");
    suite::cover("buffer", packed ? "packed" : "one sequence");
    suite::cover("stride", stride);
    suite::cover("arithmetic", arithmetic == Arithmetic::precise ? "precise" : "native");
  }
};

/// Numbers that look normal, fast: from a table, by SplitMix64.
class Random {
public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {
    std::mt19937_64 from(seed);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < table_.size(); ++i)
      codes_[i] = e4m3fn_from_float(table_[i] = normal(from));
  }
  std::uint64_t operator()() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>((*this)() % static_cast<std::uint64_t>(n));
  }
  float normal() { return table_[(*this)() % table_.size()]; }
  void fill(e4m3fn* values, std::int64_t n) {
    std::uint64_t bits = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      bits = i % 4 == 0 ? (*this)() : bits >> 16;
      values[i] = codes_[bits % codes_.size()];
    }
  }

private:
  std::uint64_t state_;
  std::array<float, 4096> table_ = {};
  std::array<e4m3fn, 4096> codes_ = {};
};

/// Keys with a block grid of their own.
struct Sequence {
  std::int32_t first = 0, length = 0;
};

/// The tensors of a call.
struct Problem {
  std::int64_t M = 0, N = 0, stride = D;
  int H = 64;
  std::vector<e4m3fn> q, k; ///< k: [N, stride], NaN between the rows
  std::vector<float> w, scale;
  std::vector<std::int32_t> ks, ke, anchor; ///< anchor: empty where the call has none
  std::vector<Sequence> sequences;
  std::vector<std::int32_t> sequence; ///< [M] index in `sequences`
  std::int64_t capacity = 0;          ///< of the block lists; 0 where the call has none
  std::vector<std::int32_t> lists;    ///< [M, capacity]

  Problem() = default;
  Problem(const Case& c, unsigned seed) : M(c.M), N(c.N), stride(c.stride), H(c.H) {
    Random random(seed);
    q.resize(std::size_t(M * H * D)), random.fill(q.data(), M * H * D);
    for (std::int64_t i = 0; i < M * H; ++i)
      w.push_back(random.normal() * 0.01f);
    if (c.data == Data::nan_values) // a head of each fifth query
      for (std::int64_t t = 1; t < M; t += 5)
        q[std::size_t((t * H + 3) * D + 7)] = Element<e4m3fn>::nan();
    make_keys(c, random);
    set_ranges(c);
    if (c.indexing == Indexing::refine)
      make_lists(c, random);
  }

  Queries<e4m3fn> queries() const { return {q.data(), w.data(), M, H, D}; }
  ContiguousKeys<e4m3fn> keys() const { return {k.data(), scale.data(), N, D, stride}; }
  Ranges ranges() const { return {ks.data(), ke.data(), anchor.empty() ? nullptr : anchor.data()}; }
  /// What a query's list holds.
  std::vector<std::int64_t> listed(std::int64_t t) const {
    auto const from = lists.begin() + t * capacity;
    std::vector<std::int64_t> list(from, from + capacity);
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    return list;
  }

private:
  void make_keys(const Case& c, Random& random) {
    k.assign(std::size_t(N * stride), Element<e4m3fn>::nan());
    for (std::int64_t i = 0; i < N; ++i) {
      e4m3fn* const row = k.data() + i * stride;
      random.fill(row, D);
      float s = std::exp(0.3f * random.normal());
      if ((c.data == Data::ties && i % 5 != 0) || c.data == Data::one_bin)
        std::copy_n(k.data(), D, row);
      if (c.data == Data::ties && i % 5 != 0)
        s = i == 0 ? s : scale[0];
      if (c.data == Data::zeros && i % 3 != 0)
        std::fill_n(row, D, e4m3fn{std::uint8_t(i % 2 != 0 ? 0x80 : 0)});
      if (c.data == Data::nan_values && i % 3 == 0)
        row[i % D] = Element<e4m3fn>::nan();
      if (c.data == Data::nan_scales && i % 4 == 0)
        s = std::numeric_limits<float>::quiet_NaN();
      if (c.data == Data::infinite_scales && i % 4 == 0)
        s = std::numeric_limits<float>::infinity();
      if (c.data == Data::one_bin)
        s = 1.0f + float(random.below(4096)) * 0x1p-20f;
      scale.push_back(s);
    }
  }

  /// Lists of all kinds in turn, somewhat shorter than the plan allows.
  void make_lists(const Case& c, Random& random) {
    std::int64_t const size = c.levels[0].block_size, m = c.levels[0].keep;
    capacity = m - m / 8;
    for (std::int64_t t = 0; t < M; ++t) {
      Visible const v = ranges().visible(t, N);
      std::int64_t const first = v.first_row(size), n = v.end_row(size) - first;
      for (std::int64_t j = 0; j < capacity; ++j)
        lists.push_back(std::int32_t(list_entry(t % 8, j, first, n, random)));
    }
  }
  /// Entry j of a list for a query that sees the blocks [first, first + n).
  static std::int64_t list_entry(std::int64_t kind, std::int64_t j, std::int64_t first,
                                 std::int64_t n, Random& random) {
    constexpr std::int64_t extremes[] = {-1, std::numeric_limits<std::int32_t>::min(), -2,
                                         std::numeric_limits<std::int32_t>::max()};
    switch (kind) {
    case 0: // some are invisible, some come twice
      return j % 5 == 3 ? -1 : first - 2 + random.below(n + 4);
    case 1: // the last blocks, descending
      return first + n - 1 - j;
    case 2: // a few again and again
      return first + random.below(n + 1) % 3;
    case 3: // nothing
      return -1;
    case 4: // what is out of range, among some
      return j % 3 != 0 ? extremes[j % 4] : first + random.below(n + 1);
    case 5: // the ends
      return j % 2 != 0 ? first : first + n - 1;
    case 6: // one
      return j == 0 ? first + n / 2 : -1;
    default: // every other, ascending, beyond the end
      return first + 2 * j;
    }
  }

  void set_ranges(const Case& c) {
    auto const cut = std::int32_t(c.packed ? N / 3 : 0);
    for (std::int64_t t = 0; t < M; ++t) {
      bool const first = c.packed && t < M / 2;
      ks.push_back(c.packed && !first ? cut : c.first);
      ke.push_back(std::int32_t(first ? cut - M / 2 + t + 1 : N - M + t + 1));
      sequence.push_back(c.packed && !first && c.anchor < 0);
      if (c.anchor >= 0)
        anchor.push_back(c.anchor);
    }
    std::int32_t const start = c.anchor >= 0 ? c.anchor : c.first, all = std::int32_t(N);
    if (c.packed && c.anchor < 0)
      sequences = {{start, cut - start}, {cut, all - cut}};
    else
      sequences = {{start, all - start}};
  }
};

} // namespace suite
