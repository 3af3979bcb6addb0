// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls one behind the other, while another kernel of the stream changes their queries, what these
// see and their block lists, as late as it can: it lets the call start before it writes. A kernel
// of the call that reads too early sees the inputs of the call before.
#pragma once

#include "contract.hpp"
#include "scale.hpp"

namespace suite {

struct LateCopy {
  const std::int32_t* from = nullptr;
  std::int32_t* to = nullptr;
  std::int64_t words = 0;
};
template <class T>
LateCopy late_copy(const Device<T>& from, const Device<T>& to) {
  return {reinterpret_cast<const std::int32_t*>(from.data),
          reinterpret_cast<std::int32_t*>(to.data), std::int64_t(from.bytes() / 4)};
}

struct LateInputs {
  LateCopy copies[5];
  long long cycles = 100000;                    ///< to wait before, at most
  const volatile std::int32_t* until = nullptr; ///< set when the wait may end, or null
};

template <int = 0>
__global__ void __launch_bounds__(1024) late_inputs(const __grid_constant__ LateInputs task) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
  long long const begin = clock64();
  while (clock64() - begin < task.cycles && (task.until == nullptr || *task.until == 0)) {
  }
#endif
  for (const LateCopy& copy : task.copies)
    for (std::int64_t i = threadIdx.x; i < copy.words; i += 1024)
      copy.to[i] = copy.from[i];
}
inline void launch_late(const Stream& stream, const LateInputs& task) {
  cuda::launch(late_inputs<>, dim3(1), 1024, 0, stream.stream, task, "late_inputs");
}

/// Says that it has started, then waits.
template <int = 0>
__global__ void __launch_bounds__(32) start_early(volatile std::int32_t* started) {
  *started = 1;
  cuda::begin_kernel();
}

/// A kernel starts while the one before it runs: else calls that overlap would show nothing.
inline void starts_overlap() {
  Stream const stream;
  Device<std::int32_t> started(1), seen(1);
  volatile std::int32_t* const flag = started.data;
  auto const launch_early = [&] {
    cuda::launch(start_early<>, dim3(1), 1, 0, stream.stream, flag, "start_early");
  };
  launch_early(); // to load a kernel may take waiting for those that run
  synchronize("start_early");
  started.fill(0);
  launch_late(stream, {{late_copy(started, seen)}, 1LL << 31, flag});
  launch_early();
  synchronize("start_early behind late_inputs");
  expect(seen.host()[0] == 1, "a kernel starts while the one before it runs");
}

/// Two calls that differ in their queries, in turn, and in their rows. They write no scores, so
/// that a call in which all that queries see is taken scores nothing: then its first kernel is the
/// one that chooses tokens.
inline void overlapping_calls(const Case& c, int times, const QueryRows& later_rows = {}) {
  Case later = c;
  later.first = std::int32_t(c.N / 3);
  Problem const p(c, 51), other(later, 52);
  auto const inputs_of = [&](const Problem& queries) {
    Inputs in(p, c.levels);
    in.q.set(queries.q), in.w.set(queries.w), in.lists.set(queries.lists);
    in.ks.set(queries.ks), in.ke.set(queries.ke);
    for (PooledLevel& l : in.levels)
      l.blocks = c.N < l.size ? 0 : l.blocks; // none is complete: no rows, and nothing to score
    return in;
  };
  Inputs const inputs[] = {inputs_of(p), inputs_of(other)}, changing = inputs_of(other);
  QueryRows const rows[] = {{}, later_rows};
  Indexer const indexer(c);
  Stream const stream;
  std::vector<Outputs> outputs;
  for (int i = 0; i < times; ++i)
    outputs.emplace_back(c.M, c.topk);
  for (int i = 0; i < times; ++i) {
    const Inputs& now = inputs[i % 2];
    launch_late(stream, {{late_copy(now.q, changing.q), late_copy(now.w, changing.w),
                          late_copy(now.ks, changing.ks), late_copy(now.ke, changing.ke),
                          late_copy(now.lists, changing.lists)}});
    indexer(stream.stream, changing, outputs[std::size_t(i)].view(false), rows[i % 2]);
  }
  synchronize("overlapping calls");
  Result const right[] = {indexer.select(inputs[0]), indexer.select(inputs[1], rows[1])};
  check_contract(c, p, inputs[0], right[0]);
  expect(right[0].indices != right[1].indices, c.text() + ": the calls differ");
  for (int i = 0; i < times; ++i) {
    const Outputs& got = outputs[std::size_t(i)];
    expect(got.indices.host() == right[i % 2].indices && got.counts.host() == right[i % 2].counts,
           c.text() + ": overlapping call " + std::to_string(i));
  }
}

/// Bytes of a workspace that has no room for pairs beside all queries' scores.
inline std::size_t without_pairs(Case c) {
  c.pair_queries = 0;
  return Indexer(c).workspace_bytes();
}

/// Calls of M queries in all ways, or each in one of them.
inline void overlap(const Scale& scale, std::int64_t M) {
  int const k = scale.topk;
  std::int64_t const N = 2 * scale.N;
  std::vector<Case> cases = {
      {.M = M, .N = N, .topk = k},
      by_flat_kernel({.M = M, .N = N, .topk = k}, M < 9 ? 2 : int(M + 11) / 12),
      by_sift_kernel({.M = M, .N = N, .topk = k}, M < 9 ? 2 : int(M + 11) / 12),
      {.M = M, .N = M + k, .topk = int(M) + k}, // nothing is scored
      {.M = M, .N = N, .levels = {{128, k / 128 + 2}}, .topk = k},
      {.M = M, .N = N, .levels = {{128, 1000}}, .topk = k}, // all blocks are kept
      {.M = M, .N = N, .levels = {{128, k / 128 + 4}, {16, k / 16 + 2}}, .topk = k},
      // A block is kept without scores; then the calls differ in which queries need any.
      {.M = M, .N = M + k + k / 8, .levels = {{2048, 1}}, .topk = k, .anchor = 0}};
  for (int m : {k / 16 + 2, 10}) { // 10 blocks are so few tiles that groups are scored whole
    cases.push_back({.M = M, .N = N, .levels = {{16, m}}, .topk = 8 * m});
    cases.back().indexing = Indexing::refine;
  }
  constexpr struct {
    int H;
    Arithmetic arithmetic;
    bool parts; ///< the workspace has room for half of the queries
  } ways[] = {{64, Arithmetic::native, false},
              {32, Arithmetic::native, true},
              {64, Arithmetic::precise, true},
              {32, Arithmetic::precise, false}};
  for (std::size_t i = 0; i < cases.size(); ++i)
    for (std::size_t w = 0; w < std::size(ways); ++w) {
      if (!scale.large && w != i % std::size(ways))
        continue;
      Case c = cases[i];
      c.H = ways[w].H, c.arithmetic = ways[w].arithmetic;
      if (ways[w].parts && c.flat_ctas == 0) // there is no room for a part of the flat kernel's
        c.limit = without_pairs(c) * 2 / 3;
      item("overlap: " + c.text(), [&] { overlapping_calls(c, scale.large ? 20 : 4); });
    }
}

inline void overlap(const Scale& scale) {
  if (scale.large) // else under a tool, which may let one kernel run at a time
    item("overlap: starts", starts_overlap);
  overlap(scale, 5);
  // Pairs lie in score rows of the calls between, which have too many queries for pairs.
  Case turns{.M = scale.large ? 128 : 12,
             .N = 2 * scale.N,
             .levels = {{128, scale.topk / 128 + 2}},
             .topk = scale.topk};
  turns.pair_queries = turns.M / 2;
  item("overlap: in turn " + turns.text(), [&] {
    overlapping_calls(turns, scale.large ? 20 : 4, {1, 1 + turns.M / 2});
  });
  if (scale.large) // few pairs for each warpgroup, and as many queries as have pairs
    for (std::int64_t const M : {std::int64_t(128), cuda::Device::current().pair_queries}) {
      Case const c{
          .M = M, .N = 2 * scale.N, .levels = {{128, scale.topk / 128 + 2}}, .topk = scale.topk};
      item("overlap: " + c.text(), [&] { overlapping_calls(c, 20); });
    }
  // So many that each processor scores whole groups to begin with, in half of the workspace too.
  overlap(scale, scale.large ? 8 * cuda::Device::current().processors + 10 : scale.M);
}

} // namespace suite
