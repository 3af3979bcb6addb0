// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The sections of the device suite.
#pragma once

#include "batch.hpp"
#include "block_sparse.hpp"
#include "capture.hpp"
#include "indexers.hpp"
#include "long.hpp"
#include "offsets.hpp"
#include "overlap.hpp"
#include "peers.hpp"
#include "pooling.hpp"
#include "refine.hpp"
#include "refusals.hpp"
#include "regimes.hpp"
#include "repeats.hpp"
#include "score.hpp"
#include "threads.hpp"
#include "topk.hpp"

namespace suite {

struct Section {
  const char* name;
  void (*run)(const Scale&);
};
inline constexpr Section sections[] = {
    {"refusals", [](const Scale&) { refusals(); }},
    {"pooling", pooling},
    {"score", [](const Scale&) { score(); }},
    {"topk", topk},
    {"topk-rows", topk_rows},
    {"adversarial", adversarial},
    {"flat-kernel", flat_kernel},
    {"odd", odd},
    {"rounds", rounds},
    {"block-sparse", block_sparse},
    {"refine", refine},
    {"regimes", regimes},
    {"batch", batch},
    {"repeats", repeats},
    {"capture", capture},
    {"overlap", overlap},
    {"threads", threads},
    {"peers", peers},
    {"offsets", offsets},
    {"serving", serving},
    {"long", long_contexts},
};

} // namespace suite
