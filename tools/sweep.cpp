// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "sweep.hpp"

#include "choose.hpp"
#include "price.hpp"
#include "rules.hpp"
#include "scores.hpp"

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <limits>
#include <map>

namespace hisa::tools {

namespace {

std::optional<double> value_of(const Fidelity& f, Measure measure) {
  return measure == Measure::mass ? f.mass : measure == Measure::needles ? f.needles : f.iou_mean;
}

/// Tokens, blocks and flat's choice for a group of rows.
struct Group {
  RowRange rows; ///< of the dump
  ScoreTable tokens;
  std::map<BlockKind, ScoreTable> blocks;
  std::vector<Choice> flat;

  [[nodiscard]] Visible visible(const Dump& dump, std::int32_t i) const {
    Visible v;
    v.end = std::int64_t(dump.pos[std::size_t(rows.first + i)]) + 1;
    return v;
  }
};

/// Adds a setting's choices for a group of rows to its tally.
void tally_setting(const Dump& dump, const Group& group, const Setting& setting, int topk,
                   Tally& tally) {
  for (std::int32_t i = 0; i < group.rows.count(); ++i) {
    std::vector<LevelScores> levels;
    for (std::size_t l = 0; l < setting.block_size.size(); ++l)
      levels.push_back({setting.block_size[l], setting.block_topk[l],
                        group.blocks.at({setting.pooling, setting.block_size[l]}).row(i)});
    auto const choice = choose(group.visible(dump, i), levels, group.tokens.row(i), topk);
    tally.add(dump, group.rows.first + i, group.flat[std::size_t(i)].tokens, choice.tokens);
  }
}

/// All settings on one dump: a tally for each.
std::vector<Tally> tally_dump(const Dump& dump, const RowRange& rows,
                              const std::vector<Setting>& settings, int topk,
                              const Progress& progress) {
  Scorer scorer(dump, rows);
  std::vector<Tally> tallies(settings.size());
  std::string const step = dump.file.stem().string() + ": sweep";
  for (std::int32_t first = 0; first < rows.count(); first += scorer.group()) {
    progress(step, double(first) / rows.count());
    std::int32_t const count = std::min(scorer.group(), rows.count() - first);
    Group group;
    group.rows = {rows.first + first, rows.first + first + count};
    group.tokens = scorer.tokens(first, count);
    for (const Setting& setting : settings)
      for (int size : setting.block_size)
        if (BlockKind const kind{setting.pooling, size}; !group.blocks.contains(kind))
          group.blocks.emplace(kind, scorer.blocks(kind, first, count));
    for (std::int32_t i = 0; i < count; ++i)
      group.flat.push_back(choose(group.visible(dump, i), {}, group.tokens.row(i), topk));
    using Host = Kokkos::DefaultHostExecutionSpace;
    using Policy = Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Dynamic>>;
    Kokkos::parallel_for(
        "hisa-eval::sweep", Policy(0, std::int64_t(settings.size())), [&](std::int64_t s) {
          tally_setting(dump, group, settings[std::size_t(s)], topk, tallies[std::size_t(s)]);
        });
    Host().fence();
  }
  return tallies;
}

} // namespace

const char* name_of(Measure measure) {
  return measure == Measure::mass ? "mass" : measure == Measure::needles ? "needles" : "IoU";
}

std::vector<Setting> sweep_grid(const std::vector<std::string>& rules, int topk) {
  constexpr int least_part = 8;
  std::vector<Setting> grid;
  for (const std::string& rule : rules) {
    int const parts = size_of(rule).parts;
    auto const fits = [&](int size, int tokens) {
      return size % parts == 0 && (parts == 1 || size / parts >= least_part) && tokens % size == 0;
    };
    for (int size : {16, 32, 64, 128, 256})
      for (int budget : {2, 3, 4, 6, 8})
        if (fits(size, budget * topk))
          grid.push_back({rule, {size}, {budget * topk / size}});
    for (auto [coarse, fine] : {std::pair(64, 16), std::pair(128, 16), std::pair(128, 32)})
      for (int above : {8, 16})
        for (int budget : {2, 4, 6})
          if (fits(coarse, above * topk) && fits(fine, budget * topk))
            grid.push_back({rule, {coarse, fine}, {above * topk / coarse, budget * topk / fine}});
  }
  return grid;
}

Sweep sweep(const std::vector<Dump>& dumps, const std::vector<RowRange>& rows,
            const std::vector<Setting>& settings, int topk, const Progress& progress) {
  Sweep sweep;
  sweep.topk = topk;
  for (const Setting& setting : settings)
    sweep.points.push_back({setting, {}, 0, {}, {}});
  for (std::size_t d = 0; d < dumps.size(); ++d) {
    sweep.flat_keys_per_query.push_back(
        mean_keys_scored(dumps[d], rows[d], Budgets{.topk = topk}, 1));
    auto const tallies = tally_dump(dumps[d], rows[d], settings, topk, progress);
    for (std::size_t s = 0; s < settings.size(); ++s)
      sweep.points[s].dumps.push_back(
          {mean_keys_scored(dumps[d], rows[d], budgets_of(settings[s], topk),
                            size_of(settings[s].pooling).rows),
           tallies[s].result()});
  }
  judge(sweep);
  return sweep;
}

void judge(Sweep& sweep) {
  for (SweepPoint& point : sweep.points) {
    for (const DumpPoint& dump : point.dumps) {
      point.keys_per_query += dump.keys_per_query / double(point.dumps.size());
      for (Measure m : measures) {
        auto const value = value_of(dump.fidelity, m);
        std::optional<double>& worst = point.worst[int(m)];
        if (value && (!worst || *value < *worst))
          worst = value;
      }
    }
  }
  std::stable_sort(sweep.points.begin(), sweep.points.end(), [](const auto& a, const auto& b) {
    return a.keys_per_query < b.keys_per_query;
  });
  for (Measure m : measures) {
    double highest = -1;
    for (SweepPoint& point : sweep.points) { // ascending price: a front point beats all before it
      double const value = point.worst[int(m)].value_or(-1);
      point.on_front[int(m)] = value > highest;
      highest = std::max(highest, value);
    }
  }
  for (std::size_t i = 0; i < sweep.points.size() && !sweep.best; ++i) {
    const SweepPoint& point = sweep.points[i];
    if (point.worst[int(Measure::mass)].value_or(1) >= enough_mass &&
        point.worst[int(Measure::needles)].value_or(1) >= enough_needles)
      sweep.best = i;
  }
}

} // namespace hisa::tools
