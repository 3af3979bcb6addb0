// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The kernels of a flat call without rows of scores, in order:
///   sample, score, bound   what a query's k best reach, from a sample of the keys (sample.cuh);
///   sift, sifted           contenders that reach it are listed and chosen from (sift.cuh,
///                          sifted.cuh);
///   flat, contenders       groups of queries for which that fails (flat.cuh), which is none of a
///                          usual call; all of a call whose keys are not sampled.
#pragma once

#include <hisa/cuda/launch.cuh>
#include <hisa/cuda/workspace.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

struct FlatCall {
  Level level; ///< of the keys
  Queries<e4m3fn> queries;
  ContiguousKeys<e4m3fn> keys;
  Selection out;
  IndexBase base;
  Arithmetic arithmetic;
  Parts parts;
  std::int64_t ctas;
};

/// Has bounds found.
template <int Heads>
void launch_bounds(const FlatCall& call, const Device& device, cudaStream_t stream) {
  Sampling const sampling(call.level.max_keys, static_cast<int>(call.level.budget));
  const Sample& sample = call.parts.sample;
  constexpr std::int64_t threads = 256, chunks = 8;
  std::int64_t const work = std::max(call.level.count, sampling.samples * chunks);
  launch(sample_kernel<>, row_of_ctas((work + threads - 1) / threads), threads, 0, stream,
         SampleTask{call.level, call.keys, sampling, sample, call.parts.failed}, "hisa::sample");
  Level level = call.level;
  level.visibility = {sample.ks - level.first, sample.ke - level.first, nullptr};
  level.max_keys = sampling.samples;
  level.scores_wanted = true; // of all, however few
  ScoreTask score;
  score.level = level;
  set_rows(score, call.queries, {sample.values, sample.scales, sampling.samples, 128});
  score.values = sample.scores, score.pitch = sample.pitch;
  launch_score<Heads>(score, sampling.samples / tile_keys + 1, call.arithmetic, device, stream);
  launch(bound_kernel<>, row_of_ctas((level.count + BoundTask::queries - 1) / BoundTask::queries),
         32 * BoundTask::queries, 0, stream, BoundTask{level, sampling, sample}, "hisa::bound");
}

/// Has tokens chosen among what reaches the bounds.
template <int Heads>
void launch_sift(const FlatCall& call, cudaStream_t stream) {
  SiftTask task;
  task.level = call.level;
  set_rows(task, call.queries, rows_of(call.keys));
  task.bounds = call.parts.sample.bounds;
  task.lists = call.parts.sifted;
  task.items = SiftItems(task.groups(), call.level.max_keys / tile_keys + 2, call.ctas);
  launch_score<Heads>(task, call.ctas, call.arithmetic, stream);
  SiftedTask sifted;
  static_cast<TokenTask&>(sifted) = {call.level, {}, call.out, call.base, true};
  sifted.lists = task.lists, sifted.items = task.items, sifted.bounds = task.bounds;
  sifted.failed = call.parts.failed;
  launch(sifted_kernel<>, row_of_ctas(task.groups()), SiftedStorage::threads, sizeof(SiftedStorage),
         stream, sifted, "hisa::sifted");
}

template <int Heads>
void launch_flat(const FlatCall& call, const Device& device, cudaStream_t stream) {
  FlatTask task;
  ContenderTask chosen;
  if (call.parts.sifted.contenders != nullptr) {
    launch_bounds<Heads>(call, device, stream);
    launch_sift<Heads>(call, stream);
    task.failed = chosen.failed = call.parts.failed;
  }
  task.level = call.level;
  set_rows(task, call.queries, rows_of(call.keys));
  task.values = call.parts.chunks, task.lists = call.parts.lists;
  launch_score<Heads>(task, std::min(task.groups(), call.ctas), call.arithmetic, stream);
  static_cast<TokenTask&>(chosen) = {call.level, {}, call.out, call.base, true};
  chosen.lists = call.parts.lists;
  launch_contenders(chosen, device, stream);
}

} // namespace cuda
HISA_NAMESPACE_END
