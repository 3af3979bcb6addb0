// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What an engine in production can afford to watch: the share of flat's tokens that a hierarchy
/// misses, estimated from a random sample of the blocks that it pruned.
#pragma once

#include "dump.hpp"
#include "fidelity.hpp"
#include "setting.hpp"

#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <vector>

namespace hisa::tools {

/// A number of missed tokens, and the variance of its estimate. Both add up over queries.
struct Missed {
  double tokens = 0, variance = 0;
};

/// Estimates how many of flat's tokens one query missed. The pruned blocks are divided into strata
/// of doubling sizes, as many of each are drawn and scored, and a scored token stands for as many
/// as its stratum has blocks for each drawn. The r-th best pruned token is one of flat's exactly if
/// it beats the r-th worst selected one; the estimate is the r up to which that holds. Its variance
/// is that of the number of pruned tokens above the score where it ends, which is no smaller.
///
/// @param selected  scores of the selected tokens
/// @param pruned    blocks that were not kept on the finest level, likeliest first
/// @param sample    blocks to draw, about; all of them: the exact number, without variance
/// @param score     score(block): the scores of a block's visible tokens
Missed estimate_missed(std::vector<float> selected, std::span<const std::int32_t> pruned,
                       std::int64_t sample, std::mt19937_64& random,
                       const std::function<std::span<const float>(std::int32_t)>& score);

/// An audit's request.
struct AuditOptions {
  Setting setting;
  int topk = 0;
  int sample = 32; ///< pruned blocks drawn for each query
  double confidence = 0.95;
  std::uint64_t seed = 1;
};

/// What an audit of some rows of a dump found.
struct Audit {
  double missed = 0;               ///< estimated share of flat's tokens
  double low = 0, high = 0;        ///< confidence interval, within [0, 1]
  double truth = 0;                ///< from all scores, which only a dump has
  double keys_per_query = 0;       ///< that the hierarchy scores
  double extra_keys_per_query = 0; ///< that the audit scores on top
};

/// An audit of rows of a dump, once for each seed. Kokkos must be initialised.
std::vector<Audit> audit(const Dump& dump, const RowRange& rows, const AuditOptions& options,
                         std::span<const std::uint64_t> seeds, const Progress& progress);

/// The number of standard deviations that a normal variable stays within with this probability.
double normal_quantile(double confidence);

} // namespace hisa::tools
