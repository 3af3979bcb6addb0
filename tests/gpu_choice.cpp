// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What queries choose among and which indices they return, in lockstep on the host: held against
// the portable path's candidates and contests (hisa/candidates.hpp) and the reference's selection.
#include <hisa/gpu/lockstep.hpp>
#include <hisa/gpu/token_row.hpp>
#include <hisa/reference.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

using namespace hisa;
using gpu::Lockstep;

namespace {

constexpr int lanes = 64;
using Held = gpu::HeldStorage<1024, 512>;

/// Scores such that many are equal, those of candidates only.
std::vector<float> random_scores(unsigned seed, std::int64_t n) {
  std::mt19937 random(seed);
  std::vector<float> scores((std::size_t(n) + 3) / 4 * 4 + 4, minus_infinity);
  for (std::int64_t i = 0; i < n; ++i)
    scores[std::size_t(i)] = float(int(random() % 200)) - 100;
  return scores;
}

struct Row {
  std::vector<std::int32_t> indices;
  std::vector<float> scores;
  std::int32_t count = -1;
};

/// Query 1's row of a selection, as a kernel makes it.
/// @param bare  the caller wants indices only
Row choose_row(const gpu::Level& level, const std::vector<float>& scores, IndexBase base,
               bool bare) {
  std::int64_t const i = 1 - level.first; // of the level's queries
  auto const k = std::size_t(level.budget);
  std::vector<std::int32_t> indices(2 * k, -9), counts(2, -9); // of two queries
  std::vector<float> out(2 * k, -9);
  auto storage = std::make_unique<Held>();
  std::vector<float> rows(2 * scores.size(), 1e9f); // the other query's are the best
  std::copy(scores.begin(), scores.end(), rows.begin() + i * std::ptrdiff_t(scores.size()));
  gpu::ScoreRows const both{rows.data(), std::int64_t(scores.size())};
  Selection const selection{indices.data(), bare ? nullptr : out.data(),
                            bare ? nullptr : counts.data()};
  Lockstep(lanes).run([&](const Lockstep::Lane& lane) {
    prepare(lane, *storage);
    lane.barrier();
    gpu::TokenRow const r(level, both, selection, base, i);
    choose(lane, r.row, r.out, [&](const auto& emit) {
      gpu::select_held<4>(lane, *storage, r.row.contest, r.row.need, emit);
    });
    end_row(lane, selection, level.first + i, level.budget, r.row.winners);
  });
  CHECK(std::all_of(indices.begin(), indices.begin() + std::ptrdiff_t(k),
                    [](std::int32_t i) { return i == -9; }));
  return {{indices.begin() + std::ptrdiff_t(k), indices.end()},
          {out.begin() + std::ptrdiff_t(k), out.end()},
          counts[1]};
}

/// Two queries, of which the second matters, and what it kept.
struct Query {
  std::int32_t ks[2], ke[2], anchor[2];
  std::vector<std::int32_t> kept; ///< blocks; empty: all keys
  std::int64_t block_size = 16;

  gpu::Level level(std::int64_t budget) const {
    gpu::Level l;
    l.visibility = {ks, ke, anchor};
    l.count = 2, l.max_keys = 100000, l.budget = budget, l.scores_wanted = true;
    return l;
  }
};

/// @param first  of the level's queries: 0 or 1
void check_tokens(const Query& query, std::int64_t k, std::int64_t first) {
  gpu::Level level = query.level(k);
  level.first = first, level.count = 2 - first;
  auto const i = std::size_t(1 - first), kept = query.kept.size();
  std::vector<std::int32_t> parents(2 * std::max<std::size_t>(1, kept), -1), counts(2);
  std::copy(query.kept.begin(), query.kept.end(), parents.begin() + std::ptrdiff_t(i * kept));
  counts[i] = std::int32_t(kept);
  if (!query.kept.empty()) {
    level.parents = parents.data(), level.parent_counts = counts.data();
    level.parent_pitch = std::int64_t(query.kept.size()), level.parent_size = query.block_size;
  }
  Visible const v = query.level(k).visible(1);
  Candidates const c = level.candidates(v, std::int64_t(i));
  auto const scores = random_scores(unsigned(k), c.count);
  auto const best = reference::select({scores.begin(), scores.begin() + c.count}, k);
  for (IndexBase const base : {IndexBase::relative, IndexBase::absolute}) {
    Row const row = choose_row(level, scores, base, false);
    REQUIRE(row.count == std::int32_t(best.size()));
    for (std::size_t j = 0; j < std::size_t(k); ++j) {
      bool const there = j < best.size();
      std::int64_t const token = there ? v.anchor + c.row(best[j]) : -1;
      REQUIRE((!there || (token >= v.begin && token < v.end)));
      CHECK(row.indices[j] == (there && base == IndexBase::relative ? token - v.begin : token));
      CHECK(row.scores[j] == (there ? scores[std::size_t(best[j])] : minus_infinity));
    }
    CHECK(choose_row(level, scores, base, true).indices == row.indices);
  }
}

} // namespace

TEST_CASE("chosen tokens, counted from the query's first key or from the buffer's") {
  for (std::int64_t first : {0, 1})
    for (std::int64_t k : {1, 40, 300}) {
      auto const check = [&](const Query& query) { check_tokens(query, k, first); };
      check({{0, 0}, {5, 800}, {0, 0}, {}});
      check({{0, 503}, {5, 1300}, {0, 503}, {}});                    // a second sequence
      check({{0, 509}, {5, 1301}, {0, 500}, {}});                    // its grid lies before
      check({{0, 0}, {5, 777}, {0, 0}, {0, 3, 7, 20, 47, 48}});      // the last block is cut
      check({{0, 509}, {5, 1301}, {0, 500}, {0, 3, 7, 20, 49, 50}}); // and the first
      check({{0, 100}, {5, 100}, {0, 100}, {}});                     // sees nothing
      check({{0, 1}, {5, 900}, {0, 1}, {0, 4, 9, 17}, 24});          // no power of two
    }
}

TEST_CASE("rows of positions without a division") {
  std::mt19937 random(4);
  std::vector<std::int32_t> parents(5000);
  for (std::size_t i = 0; i < parents.size(); ++i)
    parents[i] = std::int32_t(3 * i + random() % 3);
  for (std::int64_t ratio : {2, 3, 5, 7, 8, 16, 24, 48, 96, 127, 128, 129, 1000, 65536, 100000})
    for (std::int64_t skip : {std::int64_t(0), ratio - 1}) {
      Visible v;
      v.begin = skip, v.end = 1LL << 40;
      Candidates c(v, {parents.data(), 1, 1}, 1);
      c.ratio = ratio, c.skip = skip;
      gpu::RowOf const row_of(c);
      std::int64_t const end = std::min<std::int64_t>(5000 * ratio, 1LL << 31) - skip;
      for (int i = 0; i < 2000; ++i) {
        std::int64_t const near = std::int64_t(random()) % end / ratio * ratio; // ends of parents
        for (std::int64_t p : {near, near - 1, near + ratio - 1 - skip, end - 1})
          if (p >= 0 && p < end && c.row(p) < 1LL << 31)
            REQUIRE(row_of(std::uint32_t(p)) == c.row(p));
      }
    }
}

TEST_CASE("a level's blocks, of which the boundary's are kept, hidden or neither") {
  for (Boundary const boundary : {Boundary::counted, Boundary::extra, Boundary::none})
    for (auto const& [ks, ke] : {std::pair(0, 1600), {0, 1593}, {203, 1600}, {205, 1593}}) {
      Query const query{{0, ks}, {5, ke}, {0, std::min(ks, 192)}, {}};
      gpu::Level level = query.level(20);
      level.block_size = 16, level.boundary = boundary;
      Visible const v = level.visible(1);
      Candidates const c = level.candidates(v, 1);
      level.identity = v.count();
      CHECK(gpu::ChoiceRow(level, v, {}, 1).decided); // it takes all that it sees
      level.identity = 0;
      Contest const contest = level.contest(c, v);
      auto scores = random_scores(7, c.count);
      scores[0] = scores[std::size_t(c.count - 1)] = 1000; // both would win
      std::vector<std::int32_t> got(64, -1);
      std::int32_t winners = 0;
      auto storage = std::make_unique<Held>();
      std::vector<float> rows(scores.size());
      rows.insert(rows.end(), scores.begin(), scores.end());
      Lockstep(lanes).run([&](const Lockstep::Lane& lane) {
        prepare(lane, *storage);
        lane.barrier();
        gpu::ChoiceRow const r(level, v, {rows.data(), std::int64_t(scores.size())}, 1);
        choose(lane, r, {got.data()}, [&](const auto& emit) {
          gpu::select_held<4>(lane, *storage, r.contest, r.need, emit);
        });
        winners = r.winners;
        if (r.takes_first != contest.takes_first || r.takes_last != contest.takes_last)
          throw gpu::lockstep_error("other blocks are taken");
      });
      std::vector<float> contested(scores.begin() + contest.first, scores.begin() + contest.end);
      if (boundary == Boundary::none)
        for (std::int64_t const end : {std::int64_t(0), c.count - 1})
          if (!v.covers(c.row(end), 16))
            contested[std::size_t(end - contest.first)] = minus_infinity;
      auto const best = reference::select(contested, contest.need);
      REQUIRE(winners == std::int32_t(best.size()));
      for (std::size_t i = 0; i < best.size(); ++i)
        CHECK(got[i + contest.takes_first] == c.row(contest.first + best[i]));
    }
}
