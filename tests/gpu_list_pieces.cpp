// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Listing the rows that a group of queries scores, and its tiles, in lockstep on the host: held
// against the candidates that the portable path has (hisa/candidates.hpp).
#include <hisa/gpu/list_pieces.hpp>
#include <hisa/gpu/lockstep.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

using namespace hisa;
using gpu::group_queries;
using gpu::Lockstep;
using gpu::Positions;

namespace {

constexpr int capacity = 1024;

/// Four neighbouring queries and the blocks that they kept.
struct Problem {
  std::vector<std::int32_t> ks, ke, anchor, row_begin;
  std::array<std::vector<std::int32_t>, group_queries> kept; ///< counted from the query's anchor
  std::int64_t block_size = 128;
  gpu::Level next; ///< without the pointers

  gpu::Level level() const {
    gpu::Level l = next;
    l.visibility = {ks.data(), ke.data(), anchor.empty() ? nullptr : anchor.data()};
    l.row_begin = row_begin.empty() ? nullptr : row_begin.data();
    l.count = group_queries;
    return l;
  }
  /// The buffer's row that is the level's row 0 of a query.
  std::int64_t origin(int q) const {
    if (next.block_size > 1)
      return row_begin.empty() ? 0 : row_begin[std::size_t(q)];
    return anchor.empty() ? ks[std::size_t(q)] : anchor[std::size_t(q)];
  }
  KeptBlocks of(int q) const {
    auto const& blocks = kept[std::size_t(q)];
    return {blocks.data(), std::int64_t(blocks.size()), block_size};
  }
};

/// A group's part of the lists.
struct Listed {
  std::vector<std::int32_t> rows = std::vector<std::int32_t>(8192, -7);
  std::vector<Positions> positions = std::vector<Positions>(8192);
  std::vector<std::uint32_t> masks = std::vector<std::uint32_t>(1024, 0xff);
  std::int32_t count = -1;
  std::uint32_t cost = 0;
  int piece_log2 = 0, barriers = 0;

  std::size_t of_tile() const { return std::size_t(gpu::tile_keys >> piece_log2); }
};

Listed list(const Problem& p, int piece_log2, int lanes, int skipped = -1) {
  Listed out;
  out.piece_log2 = piece_log2;
  gpu::Level const level = p.level();
  gpu::PieceLists const pieces{
      out.rows.data(), out.positions.data(), out.masks.data(), &out.count, &out.cost, 8192,
      piece_log2};
  gpu::ListedQuery queries[group_queries];
  for (int q = 0; q < group_queries; ++q)
    queries[q] = listed_query(level, level.visible(q), p.of(q));
  auto storage = std::make_unique<gpu::UnionStorage<group_queries, capacity>>();
  std::uint32_t cost = 0;
  Lockstep machine(lanes, skipped);
  machine.run([&](const Lockstep::Lane& lane) {
    list_pieces(lane, pieces, 0, queries, int(p.block_size / level.block_size), *storage, cost);
  });
  out.barriers = machine.barriers();
  return out;
}

/// All rows and positions of a list are the candidates of those that must be scored, and the tiles
/// say who wants them.
Listed check(const Problem& p, int piece_log2, int lanes, int skipped = -1) {
  Listed const out = list(p, piece_log2, lanes, skipped);
  gpu::Level const level = p.level();
  REQUIRE(out.count % std::int32_t(out.of_tile()) == 0);
  int const size = 1 << piece_log2;
  std::map<std::int32_t, std::size_t> pieces; // that somebody wants, by their first row
  std::uint32_t cost = 0;
  for (std::size_t tile = 0; tile < std::size_t(out.count) / out.of_tile(); ++tile) {
    std::uint32_t mask = 0;
    for (std::size_t i = tile * out.of_tile(); i < (tile + 1) * out.of_tile(); ++i) {
      std::uint32_t holders = 0;
      for (int q = 0; q < group_queries; ++q)
        holders |= unsigned(out.positions[i].of[q] != Positions::absent) << q;
      if (holders != 0)
        REQUIRE(pieces.emplace(out.rows[i], i).second); // each once
      else
        REQUIRE(out.rows[i] == 0); // is fetched all the same
      mask |= holders;
    }
    REQUIRE(out.masks[tile] == mask);
    cost += gpu::tile_cost(mask);
  }
  REQUIRE(out.cost == cost);
  for (int q = 0; q < group_queries; ++q) {
    Visible const v = level.visible(q);
    Candidates const c = level.candidates(v, p.of(q));
    std::set<std::int32_t> own;
    if (level.must_score(level.contest(c, v), v))
      for (std::int64_t i = 0; i < c.count; ++i) {
        auto const row = std::int32_t(p.origin(q) + c.row(i));
        auto const piece = std::ranges::find_if(
            pieces, [&](const auto& of) { return of.first <= row && row < of.first + size; });
        REQUIRE(piece != pieces.end());
        REQUIRE(out.positions[piece->second].of[q] + row - piece->first == i);
        own.insert(piece->first);
      }
    for (auto const& [row, at] : pieces) // nothing of what the query did not keep
      if (out.positions[at].of[q] != Positions::absent && !own.contains(row)) {
        auto const first = std::int64_t(out.positions[at].of[q]);
        REQUIRE((first + size <= 0 || first >= c.count)); // but what it does not see of its blocks
      }
  }
  return out;
}

/// Queries at the end of `keys` keys, of `keep` random blocks each, the first and the last forced.
Problem random_problem(unsigned seed, std::int64_t block_size, std::int64_t row, std::int32_t keys,
                       int keep) {
  std::mt19937 random(seed);
  Problem p;
  p.block_size = block_size;
  p.next.block_size = row, p.next.budget = 8, p.next.max_keys = keys;
  for (int q = 0; q < group_queries; ++q) {
    p.ks.push_back(0), p.ke.push_back(keys - group_queries + 1 + q);
    auto const blocks = std::int32_t((p.ke.back() + block_size - 1) / block_size);
    std::set<std::int32_t> kept{0, blocks - 1};
    while (std::int64_t(kept.size()) < std::min<std::int64_t>(keep, blocks))
      kept.insert(std::int32_t(random() % unsigned(blocks)));
    p.kept[std::size_t(q)].assign(kept.begin(), kept.end());
  }
  return p;
}

} // namespace

TEST_CASE("pieces of the blocks that a group of queries kept") {
  for (unsigned seed = 0; seed < 4; ++seed) {
    check(random_problem(seed, 128, 1, 4000, 9), 7, 256);
    check(random_problem(seed, 64, 1, 2001, 7), 6, 256);
    check(random_problem(seed, 16, 1, 1500, 20), 4, 64);
    check(random_problem(seed, 24, 1, 1000, 11), 3, 64);     // blocks of three pieces
    check(random_problem(seed, 128, 16, 60000, 40), 3, 128); // pooled rows
  }
}

TEST_CASE("pieces of queries of two sequences, whose grids lie apart") {
  Problem p = random_problem(3, 128, 1, 3000, 8);
  p.ks = {0, 0, 1203, 1203}, p.ke = {1100, 1101, 2500, 2501};
  p.anchor = {0, 0, 1203, 1203};
  p.kept = {{{0, 3, 8}, {0, 3, 7, 8}, {0, 1, 10}, {0, 10}}};
  check(p, 7, 128);
  p.ks = {130, 0, 1300, 1450}; // a grid begins before what is visible: some of a block is not
  p.kept = {{{1, 3, 8}, {0, 3, 7, 8}, {0, 1, 10}, {1, 10}}};
  check(p, 7, 128);
  p.next.block_size = 16, p.row_begin = {0, 0, 80, 80}; // pooled rows of sequences, in one buffer
  check(p, 3, 128);
}

TEST_CASE("queries that need no scores have no pieces, and those that keep all have all") {
  Problem p = random_problem(5, 128, 1, 2000, 6);
  p.ke[2] = 7; // it takes all that it sees
  p.kept[2] = {0};
  CHECK(list(p, 7, 128).positions[0].of[2] == Positions::absent);
  check(p, 7, 128);
  for (auto& ke : p.ke)
    ke = 5;
  for (auto& kept : p.kept)
    kept = {0};
  CHECK(list(p, 7, 128).count == 0);
  p = random_problem(6, 128, 16, 700, 2); // a level below the blocks, whose queries see few keys
  p.next.identity = 1000, p.next.scores_wanted = true;
  check(p, 3, 128);
  p.ks = {300, 301, 302, 303}, p.anchor = {0, 0, 0, 0}; // not from their grid's first block on
  check(p, 3, 128);
}

TEST_CASE("every barrier of the pieces' lists is needed") {
  Problem const p = random_problem(11, 16, 1, 3000, 60);
  int const barriers = check(p, 4, 64).barriers;
  REQUIRE(barriers > 4);
  for (int skipped = 0; skipped < barriers; ++skipped) {
    INFO("without barrier " << skipped);
    CHECK_THROWS_AS(list(p, 4, 64, skipped), gpu::lockstep_error);
  }
}
