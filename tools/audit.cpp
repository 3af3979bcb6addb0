// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "audit.hpp"

#include "choose.hpp"
#include "price.hpp"
#include "rules.hpp"
#include "scores.hpp"

#include <hisa/order_key.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace hisa::tools {

namespace {

/// What the audits of one query have in common.
struct Query {
  Visible visible;
  const float* tokens = nullptr; ///< scores of all
  std::vector<float> selected;
  std::vector<std::int32_t> pruned; ///< finest blocks, the likeliest first
  int block_size = 1;
  std::int64_t flat = 0; ///< tokens that flat selects

  [[nodiscard]] std::span<const float> block(std::int32_t b) const {
    std::int64_t const first = std::int64_t(b) * block_size;
    return {tokens + first, std::size_t(std::min<std::int64_t>(block_size, visible.end - first))};
  }
};

bool contains(const std::vector<std::int32_t>& ascending, std::int64_t block) {
  return std::ranges::binary_search(ascending, static_cast<std::int32_t>(block));
}

/// What an engine knows of a finest block: the finest level on which it, or the block around it,
/// was scored, and that score.
std::pair<std::size_t, float>
likelihood(const Choice& choice, const std::vector<LevelScores>& levels, std::int64_t block) {
  int const size = levels.back().block_size;
  std::size_t l = levels.size() - 1;
  while (l > 0 && !contains(choice.blocks[l - 1], block * size / levels[l - 1].block_size))
    --l;
  return {l, levels[l].scores[block * size / levels[l].block_size]};
}

/// Finest blocks that were not kept, the likeliest first.
std::vector<std::int32_t> pruned_blocks(const Visible& visible, const Choice& choice,
                                        const std::vector<LevelScores>& levels) {
  std::vector<std::int32_t> pruned;
  std::vector<std::pair<std::size_t, float>> known;
  for (std::int64_t b = 0; b < visible.end_row(levels.back().block_size); ++b) {
    known.push_back(likelihood(choice, levels, b));
    if (!contains(choice.blocks.back(), b))
      pruned.push_back(static_cast<std::int32_t>(b));
  }
  std::ranges::stable_sort(pruned, [&](std::int32_t a, std::int32_t b) {
    auto const& [level_a, score_a] = known[std::size_t(a)];
    auto const& [level_b, score_b] = known[std::size_t(b)];
    return level_a != level_b ? level_a > level_b : precedes(score_a, a, score_b, b);
  });
  return pruned;
}

Query examine(const Dump& dump, std::int32_t row, const float* tokens,
              const std::vector<LevelScores>& levels, int topk) {
  Query query;
  query.visible.end = std::int64_t(dump.pos[std::size_t(row)]) + 1;
  query.tokens = tokens;
  query.block_size = levels.back().block_size;
  query.flat = std::min<std::int64_t>(query.visible.count(), topk);
  Choice const choice = choose(query.visible, levels, tokens, topk);
  for (std::int32_t token : choice.tokens)
    query.selected.push_back(tokens[token]);
  if (!choice.blocks.empty())
    query.pruned = pruned_blocks(query.visible, choice, levels);
  return query;
}

} // namespace

std::vector<Audit> audit(const Dump& dump, const RowRange& rows, const AuditOptions& options,
                         std::span<const std::uint64_t> seeds, const Progress& progress) {
  Scorer scorer(dump, rows);
  std::vector<std::mt19937_64> random(seeds.begin(), seeds.end());
  std::vector<Missed> missed(seeds.size());
  double truth = 0, flat = 0, extra = 0;
  for (std::int32_t first = 0; first < rows.count(); first += scorer.group()) {
    progress(dump.file.stem().string() + ": audit", double(first) / rows.count());
    std::int32_t const count = std::min(scorer.group(), rows.count() - first);
    ScoreTable const tokens = scorer.tokens(first, count);
    std::vector<ScoreTable> blocks;
    for (int size : options.setting.block_size)
      blocks.push_back(scorer.blocks({options.setting.pooling, size}, first, count));
    for (std::int32_t i = 0; i < count; ++i) {
      std::vector<LevelScores> levels;
      for (std::size_t l = 0; l < blocks.size(); ++l)
        levels.push_back(
            {options.setting.block_size[l], options.setting.block_topk[l], blocks[l].row(i)});
      Query const query =
          examine(dump, rows.first + first + i, tokens.row(i), levels, options.topk);
      auto const score = [&](std::int32_t b) { return query.block(b); };
      auto const add = [&](Missed& sum, std::int64_t sample, std::mt19937_64& generator) {
        Missed const one = estimate_missed(query.selected, query.pruned, sample, generator, score);
        sum.tokens += one.tokens;
        sum.variance += one.variance;
      };
      Missed exact;
      add(exact, std::int64_t(query.pruned.size()), random.front());
      truth += exact.tokens;
      flat += double(query.flat);
      extra += double(std::min<std::int64_t>(options.sample, std::int64_t(query.pruned.size())) *
                      query.block_size);
      for (std::size_t s = 0; s < seeds.size(); ++s)
        add(missed[s], options.sample, random[s]);
    }
  }
  double const z = normal_quantile(options.confidence);
  std::vector<Audit> audits;
  for (const Missed& m : missed) {
    double const half = z * std::sqrt(m.variance);
    Audit a;
    a.missed = m.tokens / flat;
    a.low = std::clamp((m.tokens - half) / flat, 0.0, 1.0);
    a.high = std::clamp((m.tokens + half) / flat, 0.0, 1.0);
    a.truth = truth / flat;
    a.keys_per_query = mean_keys_scored(dump, rows, budgets_of(options.setting, options.topk),
                                        size_of(options.setting.pooling).rows);
    a.extra_keys_per_query = extra / rows.count();
    audits.push_back(a);
  }
  return audits;
}

} // namespace hisa::tools
