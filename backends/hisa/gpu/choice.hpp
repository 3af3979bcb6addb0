// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What a query's rows of a level are chosen among, and what becomes of those that are chosen.
#pragma once

#include <hisa/gpu/level.hpp>
#include <hisa/gpu/row.hpp>
#include <hisa/gpu/select.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Loads from memory that nothing writes while the kernel runs, so that loads need not wait for
/// stores.
HISA_FUNCTION inline std::int32_t load_constant(const std::int32_t* p) {
#if defined(__CUDA_ARCH__)
  return __ldg(p);
#else
  return *p;
#endif
}

/// Scores of consecutive queries, as the scoring kernel leaves them.
struct ScoreRows {
  const float* values = nullptr;
  std::int64_t pitch = 0; ///< a multiple of 4, like the alignment of `values`
};

/// Candidates::row in 32-bit arithmetic, with a multiplication in place of the division: for p <
/// 2^31 and a ratio of at least 2, at most 2^s, p / ratio = p * ceil(2^(31 + s) / ratio) >> 31 + s.
class RowOf {
public:
  HISA_FUNCTION RowOf() {}
  HISA_FUNCTION explicit RowOf(const Candidates& c)
      : parents_(c.parents), ratio_(static_cast<std::uint32_t>(c.ratio)),
        skip_(static_cast<std::uint32_t>(c.skip)) {
    if (parents_ == nullptr)
      return;
    int const s = 32 - __builtin_clz(ratio_ - 1);
    shift_ = s - 1;
    factor_ = 1u << 31;
    if ((ratio_ & (ratio_ - 1)) != 0)
      factor_ = static_cast<std::uint32_t>(((std::uint64_t(1) << (31 + s)) + ratio_ - 1) / ratio_);
  }
  HISA_FUNCTION std::int32_t operator()(std::uint32_t position) const {
    std::uint32_t const p = position + skip_;
    if (parents_ == nullptr)
      return static_cast<std::int32_t>(p);
    auto const parent = static_cast<std::uint32_t>(std::uint64_t(p) * factor_ >> 32) >> shift_;
    auto const kept = static_cast<std::uint32_t>(load_constant(parents_ + parent));
    return static_cast<std::int32_t>(kept * ratio_ + p - parent * ratio_);
  }

private:
  const std::int32_t* parents_ = nullptr;
  std::uint32_t ratio_ = 1, skip_ = 0;
  std::uint32_t factor_ = 0;
  int shift_ = 0;
};

/// The candidates of a contest; models ScoreRow (row.hpp).
struct ContestRow {
  const float* values = nullptr; ///< 16-byte aligned
  std::uint32_t first = 0, end = 0;
  std::int32_t hidden[2] = {-1, -1}; ///< positions that count -inf; -1: none

  HISA_FUNCTION ContestRow() {}
  HISA_FUNCTION ContestRow(const float* v, const Contest& c)
      : values(v), first(static_cast<std::uint32_t>(c.first)),
        end(static_cast<std::uint32_t>(c.end)) {}

  HISA_FUNCTION bool plain(std::uint32_t at, std::uint32_t count) const {
    return at >= first && at + count <= end && hidden[0] < 0 && hidden[1] < 0;
  }
  HISA_FUNCTION const Words* address(std::uint32_t at) const {
    return reinterpret_cast<const Words*>(values + at);
  }
  HISA_FUNCTION Scores scores(std::uint32_t at) const {
    return *reinterpret_cast<const Scores*>(values + at);
  }
  HISA_FUNCTION Four keys(std::uint32_t at, const Scores& scores) const {
    Four four;
    four.first = at;
    HISA_UNROLL
    for (int i = 0; i < 4; ++i)
      four.key[i] = candidate_key(scores.v[i]);
    if (plain(at, 4))
      return four;
    HISA_UNROLL
    for (int i = 0; i < 4; ++i) {
      std::uint32_t const position = four.position(i);
      four.key[i] = 0;
      if (position >= first && position < end)
        four.key[i] = key(position);
    }
    return four;
  }
  HISA_FUNCTION Scores masked(std::uint32_t at, Scores scores) const {
    if (plain(at, 4))
      return scores;
    HISA_UNROLL
    for (int i = 0; i < 4; ++i) {
      std::uint32_t const position = at + static_cast<std::uint32_t>(i);
      bool const counts = position >= first && position < end && !hides(position);
      scores.v[i] = counts ? values[position] : no_score;
    }
    return scores;
  }
  HISA_FUNCTION std::uint32_t key(std::uint32_t position) const {
    return candidate_key(hides(position) ? minus_infinity : values[position]);
  }
  HISA_FUNCTION bool hides(std::uint32_t position) const {
    auto const p = static_cast<std::int32_t>(position);
    return p == hidden[0] || p == hidden[1];
  }
};

/// What a query's rows of a level are chosen by.
struct ChoiceRow {
  ContestRow contest;
  RowOf row_of;
  std::int32_t winners = 0, need = 0;
  bool takes_first = false, takes_last = false;
  /// Nothing to choose by score: all win, or the query takes all it sees and nobody reads its list.
  bool decided = true;

  HISA_FUNCTION ChoiceRow() {}
  HISA_FUNCTION ChoiceRow(const Level& level, const Visible& v, const ScoreRows& scores,
                          std::int64_t i) {
    Candidates const c = level.candidates(v, i);
    Contest const rows = level.contest(c, v);
    contest = ContestRow(scores.values + i * scores.pitch, rows);
    row_of = RowOf(c);
    winners = static_cast<std::int32_t>(rows.winners());
    need = static_cast<std::int32_t>(rows.need);
    takes_first = rows.takes_first, takes_last = rows.takes_last;
    decided = level.takes_all(v) || rows.decided();
    if (level.boundary == Boundary::none && !decided) { // only an end can be partly visible
      auto const end = static_cast<std::int32_t>(c.count - 1);
      contest.hidden[0] = v.covers(c.row(0), level.block_size) ? -1 : 0;
      contest.hidden[1] = v.covers(c.row(end), level.block_size) ? -1 : end;
    }
  }
};

/// Emits the first `count` positions, from `first` on.
template <Group G, class Emit>
HISA_FUNCTION void emit_all(const G& g, std::uint32_t first, std::int32_t count, const Emit& emit) {
  HISA_ROLLED
  for (std::int32_t i = g.lane(); i < count; i += g.size())
    emit(i, first + static_cast<std::uint32_t>(i));
}

/// Where the rows that a query chooses go.
struct ChosenRows {
  std::int32_t* rows;
  float* scores = nullptr; ///< or null
  std::int32_t shift = 0;  ///< added to a row
};

/// Chooses a query's rows by a group of threads; what is taken without a contest is left out.
/// @param select  select(emit) chooses among the contest's candidates
template <Group G, class Select>
HISA_FUNCTION void choose(const G& g, const ChoiceRow& r, const ChosenRows& out,
                          const Select& select) {
  auto const emit = [&](std::int32_t rank, std::uint32_t position) {
    out.rows[rank + r.takes_first] = r.row_of(position) + out.shift;
    if (out.scores != nullptr)
      out.scores[rank] = r.contest.values[position];
  };
  if (!r.decided)
    select(emit);
  else
    emit_all(g, r.contest.first, r.winners, emit);
}

} // namespace gpu
HISA_NAMESPACE_END
