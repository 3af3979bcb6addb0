// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Batch invariance: a query's row has the same bits whatever else is in the call, wherever it
// stands, and in however many passes the call is made.
#pragma once

#include "contract.hpp"
#include "scale.hpp"

#include <numeric>
#include <optional>

namespace suite {

/// The problem with these of its queries, in this order.
inline Problem gather(const Problem& p, const std::vector<std::int64_t>& order) {
  Problem g = p;
  g.M = std::int64_t(order.size());
  g.q.clear(), g.w.clear(), g.ks.clear(), g.ke.clear(), g.anchor.clear(), g.sequence.clear();
  g.lists.clear();
  for (std::int64_t t : order) {
    auto const i = std::size_t(t);
    auto const add = [&](auto& to, const auto& from, std::int64_t width) {
      to.insert(to.end(), from.begin() + t * width, from.begin() + (t + 1) * width);
    };
    add(g.q, p.q, p.H * D), add(g.w, p.w, p.H), add(g.lists, p.lists, p.capacity);
    g.ks.push_back(p.ks[i]), g.ke.push_back(p.ke[i]), g.sequence.push_back(p.sequence[i]);
    if (!p.anchor.empty())
      g.anchor.push_back(p.anchor[i]);
  }
  return g;
}

/// Both problems in one buffer: the keys and the queries of `a`, then those of `b`.
inline Problem joined(const Problem& a, const Problem& b) {
  Problem j = a;
  auto const add = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  add(j.q, b.q), add(j.k, b.k), add(j.w, b.w), add(j.scale, b.scale), add(j.sequence, b.sequence);
  add(j.ks, b.ks), add(j.ke, b.ke), add(j.anchor, b.anchor), add(j.lists, b.lists);
  j.M += b.M, j.N += b.N;
  for (std::size_t t = std::size_t(a.M); t < std::size_t(j.M); ++t) {
    j.ks[t] += std::int32_t(a.N), j.ke[t] += std::int32_t(a.N);
    if (!j.anchor.empty())
      j.anchor[t] += std::int32_t(a.N);
    j.sequence[t] += std::int32_t(a.sequences.size());
  }
  for (const Sequence& s : b.sequences)
    j.sequences.push_back({s.first + std::int32_t(a.N), s.length});
  return j;
}

class BatchTest {
public:
  explicit BatchTest(const Case& c)
      : c_(c), p_(c, 21), in_(p_, c.levels), indexer_(c), whole_(indexer_.select(in_)) {}

  void whole() const { check_contract(c_, p_, in_, whole_); }
  void alone() const {
    for (std::int64_t t : some(8))
      rows_equal("alone", p_, {t});
  }
  void among_seven() const {
    for (std::int64_t t : some(8)) {
      std::int64_t const first =
          std::clamp<std::int64_t>(t - 3, 0, std::max<std::int64_t>(0, c_.M - 7));
      std::vector<std::int64_t> seven(std::size_t(std::min<std::int64_t>(7, c_.M)));
      std::iota(seven.begin(), seven.end(), first);
      rows_equal("among seven", p_, seven);
    }
  }
  void at_other_places() const {
    std::vector<std::int64_t> order(std::size_t(c_.M));
    std::iota(order.rbegin(), order.rend(), 0);
    rows_equal("reversed", p_, order);
    Random random(22);
    for (auto& t : order) // some more than once
      t = random.below(c_.M);
    rows_equal("in any order", p_, order);
  }
  void with_others() const {
    Case other = c_;
    other.M = c_.M / 2 + 1, other.N = c_.N / 2 + 13;
    Problem const both = joined(Problem(other, 23), p_);
    std::vector<std::int64_t> order, places(std::size_t(c_.M));
    for (std::int64_t t = 0; t < c_.M; ++t) {
      if (t % 2 == 0)
        order.push_back(t / 2); // one of the other problem's
      places[std::size_t(t)] = std::int64_t(order.size());
      order.push_back(other.M + t);
    }
    Problem const mixed = gather(both, order);
    Result const got = call(mixed);
    for (std::int64_t t = 0; t < c_.M; ++t)
      expect(same_row(got, places[std::size_t(t)], whole_, t), text("packed with others", t));
  }
  /// QueryRows: their rows are written, all others are left alone.
  void windows() const {
    std::int64_t const M = c_.M;
    std::vector<QueryRows> list = {
        {M / 2, M / 2}, {1, M}, {M / 3, M / 3 + 1}, {5 % M, M * 2 / 3 + 1}};
    for (int ranks : {2, 3})
      for (int rank = 0; rank < ranks; ++rank)
        list.push_back(QueryRows::of_rank(rank, ranks, M));
    Outputs const untouched(1, c_.topk);
    Result const blank = untouched.host();
    for (const QueryRows& rows : list) {
      Result const got = indexer_.select(in_, rows);
      for (std::int64_t t = 0; t < M; ++t) {
        bool const inside = t >= rows.first && t < rows.end;
        expect(inside ? same_row(got, t, whole_, t) : same_row(got, t, blank, 0),
               text(inside ? "in a window" : "outside a window", t));
      }
    }
  }
  /// A small workspace, or that of a plan for larger calls.
  void with_other_plans() const {
    for (std::size_t limit : {std::size_t(1), std::size_t(1) << 18, std::size_t(3) << 18}) {
      Case small = c_;
      small.limit = limit;
      equal("limit " + std::to_string(limit), Indexer(small).select(in_));
    }
    equal("a plan for more queries", Indexer(c_, c_.M * 2 + 5).select(in_));
    equal("a plan for more keys", Indexer(c_, 0, c_.N * 3 + 1).select(in_));
    equal("a plan for many more keys", Indexer(c_, 0, 1000003).select(in_));
  }

private:
  Case c_;
  Problem p_;
  Inputs in_;
  Indexer indexer_;
  Result whole_;

  std::string text(const std::string& how, std::int64_t t) const {
    return c_.text() + ": query " + std::to_string(t) + " " + how;
  }
  /// Some queries, spread, at every place in a group.
  std::vector<std::int64_t> some(std::int64_t count) const {
    std::vector<std::int64_t> list;
    for (std::int64_t i = 0; i < std::min(count, c_.M); ++i)
      list.push_back(c_.M <= count ? i : (c_.M / count * i + i % 4) % c_.M);
    return list;
  }
  Result call(const Problem& p) const {
    Case c = c_;
    c.M = p.M, c.N = p.N;
    return Indexer(c).select(Inputs(p, c_.levels));
  }
  void rows_equal(const std::string& how, const Problem& p,
                  const std::vector<std::int64_t>& order) const {
    Result const got = call(gather(p, order));
    for (std::size_t i = 0; i < order.size(); ++i)
      expect(same_row(got, std::int64_t(i), whole_, order[i]), text(how, order[i]));
  }
  void equal(const std::string& how, const Result& got) const {
    for (std::int64_t t = 0; t < c_.M; ++t)
      expect(same_row(got, t, whole_, t), text(how, t));
  }
};

inline void batch(const Scale& scale) {
  int const k = scale.topk;
  std::vector<Case> const cases = {
      {.M = scale.M, .N = scale.N, .topk = k},
      by_flat_kernel({.M = std::min<std::int64_t>(scale.M, 48), .N = scale.N, .topk = k}, 2),
      by_sift_kernel({.M = std::min<std::int64_t>(scale.M, 48), .N = scale.N, .topk = k}, 2),
      {.M = scale.M, .N = scale.N, .levels = {{16, k / 16 + 3}}, .topk = k, .packed = true},
      {.M = scale.M,
       .N = scale.N,
       .H = 32,
       .levels = {{64, k / 64 + 2}},
       .topk = k,
       .data = Data::ties,
       .boundary = Boundary::extra,
       .first = 13,
       .anchor = 5},
      {.M = scale.M,
       .N = scale.N,
       .levels = {{128, k / 128 + 5}, {16, k / 16 + 4}},
       .topk = k,
       .boundary = Boundary::none},
      {.M = scale.M,
       .N = scale.N,
       .levels = {{32, k / 32}},
       .topk = k / 32 * 32,
       .indexing = Indexing::block_sparse},
      {.M = scale.M,
       .N = scale.N,
       .levels = {{32, k / 16}},
       .topk = k,
       .first = 13,
       .anchor = 5,
       .indexing = Indexing::refine},
  };
  for (const Case& c : cases) {
    std::optional<BatchTest> test;
    std::string const of = " (" + c.text() + ")";
    item("the whole call" + of, [&] { test.emplace(c).whole(); });
    if (!test)
      continue; // its exception was counted
    item("a query alone" + of, [&] { test->alone(); });
    item("a query among seven" + of, [&] { test->among_seven(); });
    item("queries at other places" + of, [&] { test->at_other_places(); });
    item("other sequences packed in" + of, [&] { test->with_others(); });
    item("windows of queries, parts of ranks" + of, [&] { test->windows(); });
    item("other plans and passes" + of, [&] { test->with_other_plans(); });
  }
}

} // namespace suite
