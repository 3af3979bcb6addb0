// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Choosing the winners of a contest from a row of scores, by a group of threads; what the kernels
/// of keep.cuh and tokens.cuh share. The selection itself is hisa/gpu/select.hpp.
#pragma once

#include <hisa/cuda/group.cuh>
#include <hisa/cuda/pieces.cuh>
#include <hisa/gpu/select.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Scores of consecutive queries, as the scoring kernel leaves them.
struct ScoreRows {
  const float* values = nullptr;
  std::int64_t pitch = 0; ///< a multiple of 4, like the alignment of `values`
};

/// Candidates::row in 32-bit arithmetic, with a multiplication in place of the division: for p <
/// 2^31 and a ratio of at least 2, at most 2^s, p / ratio = p * ceil(2^(31 + s) / ratio) >> 31 + s.
class RowOf {
public:
  __device__ RowOf() {}
  __device__ explicit RowOf(const Candidates& c)
      : parents_(c.parents), ratio_(static_cast<std::uint32_t>(c.ratio)),
        skip_(static_cast<std::uint32_t>(c.skip)) {
    if (parents_ == nullptr)
      return;
    int const s = 32 - __clz(static_cast<int>(ratio_ - 1));
    shift_ = s - 1;
    factor_ = 1u << 31;
    if ((ratio_ & (ratio_ - 1)) != 0)
      factor_ = static_cast<std::uint32_t>(((std::uint64_t(1) << (31 + s)) + ratio_ - 1) / ratio_);
  }
  __device__ std::int32_t operator()(std::uint32_t position) const {
    std::uint32_t const p = position + skip_;
    if (parents_ == nullptr)
      return static_cast<std::int32_t>(p);
    std::uint32_t const parent = __umulhi(p, factor_) >> shift_;
    // Nothing writes parents while this kernel runs: their loads need not wait for stores.
    auto const kept = static_cast<std::uint32_t>(__ldg(parents_ + parent));
    return static_cast<std::int32_t>(kept * ratio_ + p - parent * ratio_);
  }

private:
  const std::int32_t* parents_ = nullptr;
  std::uint32_t ratio_ = 1, skip_ = 0;
  std::uint32_t factor_ = 0;
  int shift_ = 0;
};

/// The candidates of a contest, as gpu::ScoreRow.
struct ContestRow {
  const float* values = nullptr; ///< 16-byte aligned
  std::uint32_t first = 0, end = 0;
  std::int32_t hidden[2] = {-1, -1}; ///< positions that count -inf; -1: none

  __device__ ContestRow() {}
  __device__ ContestRow(const float* v, const Contest& c)
      : values(v), first(static_cast<std::uint32_t>(c.first)),
        end(static_cast<std::uint32_t>(c.end)) {}

  __device__ bool plain(std::uint32_t at, std::uint32_t count) const {
    return at >= first && at + count <= end && hidden[0] < 0 && hidden[1] < 0;
  }
  __device__ const gpu::Words* address(std::uint32_t at) const {
    return reinterpret_cast<const gpu::Words*>(values + at);
  }
  __device__ gpu::Scores scores(std::uint32_t at) const {
    return *reinterpret_cast<const gpu::Scores*>(values + at);
  }
  __device__ gpu::Four keys(std::uint32_t at, const gpu::Scores& scores) const {
    gpu::Four four;
    four.first = at;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      four.key[i] = gpu::candidate_key(scores.v[i]);
    if (plain(at, 4))
      return four;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      std::uint32_t const position = four.position(i);
      four.key[i] = 0;
      if (position >= first && position < end)
        four.key[i] = key(position);
    }
    return four;
  }
  __device__ gpu::Scores masked(std::uint32_t at, gpu::Scores scores) const {
    if (plain(at, 4))
      return scores;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      std::uint32_t const position = at + static_cast<std::uint32_t>(i);
      bool const counts = position >= first && position < end && !hides(position);
      scores.v[i] = counts ? values[position] : gpu::no_score;
    }
    return scores;
  }
  __device__ std::uint32_t key(std::uint32_t position) const {
    return gpu::candidate_key(hides(position) ? minus_infinity : values[position]);
  }
  __device__ bool hides(std::uint32_t position) const {
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

  __device__ ChoiceRow() {}
  __device__ ChoiceRow(const Level& level, const Visible& v, const ScoreRows& scores,
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
template <class G, class Emit>
__device__ void emit_all(const G& g, std::uint32_t first, std::int32_t count, const Emit& emit) {
#pragma unroll 1
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
template <class G, class Select>
__device__ void choose(const G& g, const ChoiceRow& r, const ChosenRows& out,
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

/// Choosing by a CTA from rows that fit its registers. As all policies it takes rows of more than k
/// candidates.
template <int Longest>
struct ShortRows {
  static constexpr int threads = 256, ctas = 4; ///< of a multiprocessor
  static constexpr int longest = Longest;       ///< from a multiple of 4
  static constexpr int max_k = Longest;
  using Storage = gpu::HeldStorage<Longest, 2048>;

  template <class G, class Row, class Emit>
  __device__ static void select(const G& g, const CtaCluster&, Storage& storage, const Row& row,
                                std::int32_t k, const Emit& emit) {
    gpu::select_held<Longest / 4 / threads>(g, storage, row, k, emit);
  }
};

/// Choosing by the CTAs of a cluster from rows of any length, through buffers.
/// @tparam Ctas  of a multiprocessor
template <int Capacity, int Ctas>
struct LongRows {
  static constexpr int threads = 512, ctas = Ctas;
  static constexpr int max_k = Capacity - 4 * threads;
  using Storage = gpu::StreamStorage<Capacity, 2048, Ctas == 1 ? 4 : 2, threads>;

  template <class G, class Emit>
  __device__ static void select(const G& g, const CtaCluster& cluster, Storage& storage,
                                const ContestRow& row, std::int32_t k, const Emit& emit) {
    gpu::select_stream(g, cluster, storage, row, k, emit);
  }
};

} // namespace cuda
HISA_NAMESPACE_END
