// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Visibility, candidates and contests as plain arithmetic, each against an enumeration of tokens
// that follows the words of the contract. No Kokkos.
#include <hisa/candidates.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

using namespace hisa;

namespace {

constexpr std::int32_t lowest = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t highest = std::numeric_limits<std::int32_t>::max();

Visible make_visible(std::int64_t anchor, std::int64_t begin, std::int64_t end) {
  Visible v;
  v.anchor = anchor, v.begin = begin, v.end = end;
  return v;
}

/// Rows of a level that hold a visible token, by looking at each token.
std::set<std::int64_t> rows_seen(const Visible& v, std::int64_t size) {
  std::set<std::int64_t> rows;
  for (std::int64_t token = v.begin; token < v.end; ++token)
    rows.insert((token - v.anchor) / size);
  return rows;
}

/// Every visible range on a grid of small numbers.
template <class Check>
void for_each_visible(const Check& check) {
  for (std::int64_t anchor : {0, 5})
    for (std::int64_t begin = anchor; begin < anchor + 20; ++begin)
      for (std::int64_t end = begin; end < begin + 26; ++end)
        check(make_visible(anchor, begin, end));
}

std::vector<std::int64_t> all_rows(const Candidates& candidates) {
  std::vector<std::int64_t> rows;
  for (std::int64_t p = 0; p < candidates.count; ++p)
    rows.push_back(candidates.row(p));
  return rows;
}

/// The rows of a level inside the kept parents, token by token.
std::vector<std::int64_t> rows_inside(const Visible& v, const std::vector<std::int32_t>& kept,
                                      std::int64_t parent_size, std::int64_t size) {
  std::vector<std::int64_t> rows;
  for (std::int64_t row : rows_seen(v, size))
    if (std::find(kept.begin(), kept.end(), row * size / parent_size) != kept.end())
      rows.push_back(row);
  return rows;
}

/// Calls check(list) for every subset of the visible parents.
template <class Check>
void for_each_subset(const std::set<std::int64_t>& parents, const Check& check) {
  std::vector<std::int64_t> const all(parents.begin(), parents.end());
  for (std::size_t subset = 0; subset < std::size_t(1) << all.size(); ++subset) {
    std::vector<std::int32_t> kept;
    for (std::size_t i = 0; i < all.size(); ++i)
      if (subset >> i & 1)
        kept.push_back(std::int32_t(all[i]));
    check(kept);
  }
}

} // namespace

TEST_CASE("the rows of a level are those that hold a visible token") {
  for_each_visible([](const Visible& v) {
    for (std::int64_t size : {1, 2, 4, 7, 16}) {
      std::set<std::int64_t> const seen = rows_seen(v, size);
      REQUIRE(v.end_row(size) - v.first_row(size) == std::int64_t(seen.size()));
      if (!seen.empty()) {
        REQUIRE(v.first_row(size) == *seen.begin());
        REQUIRE(v.end_row(size) == *seen.rbegin() + 1);
      }
    }
  });
}

TEST_CASE("a row is covered when each of its tokens is visible") {
  for_each_visible([](const Visible& v) {
    for (std::int64_t size : {1, 3, 8})
      for (std::int64_t row : rows_seen(v, size)) {
        bool all = true;
        for (std::int64_t i = 0; i < size; ++i) {
          std::int64_t const token = v.anchor + row * size + i;
          all = all && token >= v.begin && token < v.end;
        }
        REQUIRE(v.covers(row, size) == all);
      }
  });
}

TEST_CASE("ranges of any content are clamped to the buffer and never reversed") {
  std::vector<std::int32_t> const values{lowest, -1, 0, 1, 49, 50, 99, 100, 101, highest};
  for (std::int64_t keys : {0, 1, 50, 100})
    for (std::int32_t ks : values)
      for (std::int32_t ke : values) {
        Visible const v = Ranges{&ks, &ke}.visible(0, keys);
        REQUIRE((0 <= v.begin && v.begin <= v.end && v.end <= keys));
        REQUIRE(v.anchor == v.begin);
        for (std::int64_t token = -2; token < 103; ++token) // sees what both ends allow
          REQUIRE((token >= v.begin && token < v.end) ==
                  (token >= ks && token < ke && token >= 0 && token < keys));
        for (std::int32_t anchor : values) {
          Visible const on_grid = Ranges{&ks, &ke, &anchor}.visible(0, keys);
          REQUIRE(on_grid.begin == v.begin);
          REQUIRE(on_grid.end == v.end);
          REQUIRE((0 <= on_grid.anchor && on_grid.anchor <= v.begin));
          if (anchor >= 0 && anchor <= v.begin)
            REQUIRE(on_grid.anchor == anchor);
        }
      }
}

TEST_CASE("each query takes its own entry of the ranges") {
  std::int32_t const ks[] = {0, 10, 20}, ke[] = {5, 17, 30}, anchor[] = {0, 4, 20};
  for (std::int64_t t = 0; t < 3; ++t) {
    Visible const v = Ranges{ks, ke, anchor}.visible(t, 100);
    REQUIRE(v.query == t);
    REQUIRE(v.sequence == 0);
    REQUIRE(v.begin == ks[t]);
    REQUIRE(v.end == ke[t]);
    REQUIRE(v.anchor == anchor[t]);
  }
}

TEST_CASE("lengths per sequence: query i of n sees length - n + i + 1 keys") {
  std::vector<std::int32_t> const lengths{lowest, -1, 0, 1, 2, 7, 8, 100, 101, highest};
  std::int64_t const batch = std::int64_t(lengths.size());
  for (int next_n : {1, 2, 3, 8}) {
    Lengths const form{lengths.data(), batch, next_n, LengthsForm::per_sequence};
    for (std::int64_t t = 0; t < batch * next_n; ++t) {
      Visible const v = form.visible(t, 100);
      std::int64_t const length =
          std::clamp<std::int64_t>(lengths[std::size_t(t / next_n)], 0, 100);
      REQUIRE(v.query == t);
      REQUIRE(v.sequence == t / next_n);
      REQUIRE(v.anchor == 0);
      REQUIRE(v.begin == 0);
      REQUIRE(v.end == std::max<std::int64_t>(0, length - next_n + t % next_n + 1));
    }
  }
}

TEST_CASE("lengths per query are taken as they are, clamped") {
  std::vector<std::int32_t> const lengths{lowest, -1, 0, 1, 99, 100, 101, highest};
  Lengths const form{lengths.data(), 4, 2, LengthsForm::per_query};
  for (std::int64_t t = 0; t < 8; ++t) {
    Visible const v = form.visible(t, 100);
    REQUIRE(v.sequence == t / 2);
    REQUIRE(v.begin == 0);
    REQUIRE(v.end == std::clamp<std::int64_t>(lengths[std::size_t(t)], 0, 100));
  }
}

TEST_CASE("without parents the candidates are all visible rows") {
  for_each_visible([](const Visible& v) {
    for (std::int64_t size : {1, 2, 4, 7, 16}) {
      Candidates const candidates(v, KeptBlocks{}, size);
      std::set<std::int64_t> const seen = rows_seen(v, size);
      REQUIRE(all_rows(candidates) == std::vector<std::int64_t>(seen.begin(), seen.end()));
    }
  });
}

TEST_CASE("inside any kept parents the candidates are their visible children, in order") {
  for (auto [parent_size, size] : {std::pair<std::int64_t, std::int64_t>{4, 1},
                                   {4, 2},
                                   {8, 2},
                                   {8, 1},
                                   {6, 3},
                                   {7, 1},
                                   {16, 4}})
    for (std::int64_t anchor : {0, 5})
      for (std::int64_t begin = anchor; begin < anchor + 10; begin += 3)
        for (std::int64_t end = begin; end < begin + 24; end += 1) {
          Visible const v = make_visible(anchor, begin, end);
          for_each_subset(rows_seen(v, parent_size), [&](const std::vector<std::int32_t>& kept) {
            std::int32_t const none = 0; // an empty list is not the same as no list
            KeptBlocks const parents{kept.empty() ? &none : kept.data(), std::int64_t(kept.size()),
                                     parent_size};
            REQUIRE(all_rows(Candidates(v, parents, size)) ==
                    rows_inside(v, kept, parent_size, size));
          });
        }
}

TEST_CASE("rows beyond 2^31 tokens do not wrap") {
  std::int32_t const kept[] = {3, highest - 1};
  Visible const v = make_visible(0, 0, std::int64_t(highest) * 128);
  Candidates const candidates(v, KeptBlocks{kept, 2, 128}, 1);
  REQUIRE(candidates.count == 256);
  REQUIRE(candidates.row(127) == 511);
  REQUIRE(candidates.row(255) == std::int64_t(highest) * 128 - 1);
}

TEST_CASE("a contest of tokens forces nothing") {
  for (std::int64_t n : {0, 1, 9, 10, 11, 20}) {
    Contest const c = Contest::tokens(Candidates(make_visible(0, 3, 3 + n), {}, 1), 10);
    REQUIRE(c.first == 0);
    REQUIRE(c.size() == n);
    REQUIRE(c.kept() == std::min<std::int64_t>(n, 10));
    REQUIRE(c.winners() == c.kept());
    REQUIRE(c.decided() == (n <= 10));
  }
}

TEST_CASE("a contest of blocks takes the boundary blocks as the option says") {
  Boundary const boundary = GENERATE(Boundary::counted, Boundary::extra, Boundary::none);
  std::int64_t const keep = GENERATE(1, 2, 3, 4, 9);
  // All visible blocks, or the children of a subset of the visible parents.
  std::int64_t const parent_size = 8, size = 2;
  for (std::int64_t begin : {5, 6, 7, 12, 13})
    for (std::int64_t end = begin; end < begin + 22; ++end) {
      Visible const v = make_visible(5, begin, end);
      std::set<std::int64_t> const visible = rows_seen(v, size);
      auto const check = [&](const KeptBlocks& parents, const std::vector<std::int64_t>& rows) {
        Candidates const candidates(v, parents, size);
        Contest const c = Contest::blocks(candidates, v, size, keep, boundary);
        // What the contract forces: the first and the last visible block, where they are
        // candidates.
        std::set<std::int64_t> forced;
        if (boundary != Boundary::none && !rows.empty()) {
          if (rows.back() == *visible.rbegin())
            forced.insert(rows.back());
          bool const one_only = boundary == Boundary::counted && keep == 1 && !forced.empty();
          if (rows.front() == *visible.begin() && !one_only)
            forced.insert(rows.front());
        }
        std::int64_t const budget =
            keep - (boundary == Boundary::counted ? std::int64_t(forced.size()) : 0);
        std::vector<std::int64_t> contested, expected;
        for (std::int64_t row : rows)
          if (!forced.contains(row))
            expected.push_back(row);
        for (std::int64_t p = c.first; p < c.end; ++p)
          contested.push_back(candidates.row(p));
        // With a budget of one, the first block stands beside the last one and cannot win.
        std::int64_t const others = std::int64_t(expected.size());
        REQUIRE(contested == expected);
        REQUIRE(c.need == budget);
        REQUIRE(c.winners() == std::min(others, budget));
        REQUIRE(c.decided() == (budget == 0 || others <= budget));
        REQUIRE(c.kept() == std::int64_t(forced.size()) + c.winners());
        REQUIRE(c.kept() <= kept_capacity(keep, boundary));
        std::set<std::int64_t> taken;
        if (c.takes_first)
          taken.insert(candidates.row(0));
        if (c.takes_last)
          REQUIRE(taken.insert(candidates.row(candidates.count - 1)).second); // never twice
        REQUIRE(taken == forced);
      };
      check(KeptBlocks{}, {visible.begin(), visible.end()});
      for_each_subset(rows_seen(v, parent_size), [&](const std::vector<std::int32_t>& kept) {
        std::int32_t const none = 0;
        check(
            KeptBlocks{kept.empty() ? &none : kept.data(), std::int64_t(kept.size()), parent_size},
            rows_inside(v, kept, parent_size, size));
      });
    }
}

TEST_CASE("only the extra option hands on more than the budget, by two blocks") {
  REQUIRE(kept_capacity(64, Boundary::counted) == 64);
  REQUIRE(kept_capacity(64, Boundary::none) == 64);
  REQUIRE(kept_capacity(64, Boundary::extra) == 66);
}
