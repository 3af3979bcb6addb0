// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls one behind the other, while another kernel of the stream changes what their queries see, as
// late as it can: it lets the call start before it writes. A kernel of the call that reads too
// early sees the ranges of the call before.
#pragma once

#include "contract.hpp"
#include "scale.hpp"

namespace suite {

struct LateRanges {
  const std::int32_t *ks, *ke;
  std::int32_t *to_ks, *to_ke;
  std::int64_t count;
};

template <int = 0>
__global__ void __launch_bounds__(128) late_ranges(const __grid_constant__ LateRanges task) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
  for (long long const begin = clock64(); clock64() - begin < 50000;) {
  }
#endif
  for (std::int64_t i = threadIdx.x; i < task.count; i += 128)
    task.to_ks[i] = task.ks[i], task.to_ke[i] = task.ke[i];
}

/// Two calls that differ in their ranges, in turn. They write no scores, so that a call in which
/// all that queries see is taken scores nothing: then its first kernel is the one that chooses
/// tokens.
inline void overlapping_calls(const Case& c, int times) {
  Case later = c;
  later.first = std::int32_t(c.N / 3);
  Problem const p(c, 51), other(later, 51);
  Inputs inputs[] = {Inputs(p, c.levels), Inputs(p, c.levels)};
  inputs[1].ks.set(other.ks), inputs[1].ke.set(other.ke);
  Inputs const changing(p, c.levels);
  Indexer const indexer(c);
  Stream const stream;
  std::vector<Outputs> outputs;
  for (int i = 0; i < times; ++i)
    outputs.emplace_back(c.M, c.topk);
  for (int i = 0; i < times; ++i) {
    const Inputs& now = inputs[i % 2];
    LateRanges const task{now.ks.data, now.ke.data, changing.ks.data, changing.ke.data, c.M};
    cuda::launch(late_ranges<>, dim3(1), 128, 0, stream.stream, task, "late_ranges");
    indexer(stream.stream, changing, outputs[std::size_t(i)].view(false));
  }
  synchronize("overlapping calls");
  Result const right[] = {indexer.select(inputs[0]), indexer.select(inputs[1])};
  check_contract(c, p, inputs[0], right[0]);
  expect(right[0].indices != right[1].indices, c.text() + ": the calls differ");
  for (int i = 0; i < times; ++i) {
    const Outputs& got = outputs[std::size_t(i)];
    expect(got.indices.host() == right[i % 2].indices && got.counts.host() == right[i % 2].counts,
           c.text() + ": overlapping call " + std::to_string(i));
  }
}

inline void overlap(const Scale& scale) {
  int const k = scale.topk;
  std::int64_t const N = 2 * scale.N;
  for (std::int64_t M : {std::int64_t(5), std::min<std::int64_t>(scale.M, 600)}) {
    std::vector<Case> cases = {
        {.M = M, .N = N, .topk = k},
        {.M = M, .N = k / 2, .topk = k}, // nothing is scored
        {.M = M, .N = N, .levels = {{128, k / 128 + 2}}, .topk = k},
        {.M = M, .N = N, .levels = {{128, 1000}}, .topk = k}, // all blocks are kept
        {.M = M, .N = N, .levels = {{128, k / 128 + 4}, {16, k / 16 + 2}}, .topk = k}};
    cases.push_back({.M = M, .N = N, .levels = {{16, k / 16 + 2}}, .topk = k});
    cases.back().indexing = Indexing::refine;
    for (const Case& c : cases)
      item("overlap: " + c.text(), [&] { overlapping_calls(c, scale.large ? 40 : 4); });
  }
}

} // namespace suite
