// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What an indexer is made of, by itself on a CUDA stream: the scores of all keys, and top-k.
/// Templates, so that their kernels are compiled where they are called.
#pragma once

#include <hisa/checks.hpp>
#include <hisa/cuda/launch.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Throws for what has no kernels on a device.
/// @param why  "ARGUMENT is FOUND, expected EXPECTED", or empty
inline void require_covered(const char* function, const std::string& why) {
  if (!why.empty())
    hisa::detail::fail<precondition_error>(std::string("hisa::") + function + ": " + why);
}

/// What the copy engine asks of keys.
inline void check_key_rows(const char* function, const ContiguousKeys<e4m3fn>& keys) {
  using namespace hisa::detail;
  require_aligned(keys.values, 16, function, "keys.values");
  require(keys.row_stride % 16 == 0, function, "keys.row_stride", keys.row_stride,
          "a multiple of 16");
  require(keys.row_stride < std::int64_t(1) << 40, function, "keys.row_stride", keys.row_stride,
          "less than 2^40");
}

/// The same as the next, for a device as the caller describes it, which is not checked.
template <int Heads = dynamic>
void score(const Device& device, cudaStream_t stream, const Queries<e4m3fn>& queries,
           const ContiguousKeys<e4m3fn>& keys, const Ranges& visibility, float* values,
           std::int64_t row_stride, Arithmetic arithmetic = Arithmetic::native) {
  constexpr const char* function = "cuda::score";
  using namespace hisa::detail;
  require_covered(function, device.not_covered());
  static_assert(Heads == dynamic || kernel_heads(Heads) == Heads,
                "hisa::cuda::score: Heads must be 64, 32 or dynamic");
  if constexpr (Heads == dynamic)
    require(queries.heads == 64 || queries.heads == 32, function, "queries.heads", queries.heads,
            "64 or 32");
  else
    require(queries.heads == Heads, function, "queries.heads", queries.heads,
            std::to_string(Heads));
  check_queries(function, queries, max_rows / queries.heads, queries.heads, 128);
  check_keys(function, keys, max_rows, 128);
  if (queries.count == 0 || keys.count == 0)
    return;
  require_aligned(queries.values, 16, function, "queries.values");
  check_key_rows(function, keys);
  check_visibility(function, keys, visibility, queries.count);
  require_array(values, function, "values");
  require(row_stride >= keys.count, function, "row_stride", row_stride, at_least(keys.count));
  ScoreTask task;
  task.level.visibility = visibility;
  task.level.count = queries.count;
  task.level.max_keys = keys.count;
  task.level.scores_wanted = true;
  set_rows(task, queries, rows_of(keys));
  task.values = values, task.pitch = row_stride;
  launch_score<Heads>(task, keys.count / tile_keys + 1, arithmetic, device, stream);
}

/// Writes the scores of all visible keys, by the same code and to the same bits as the indexers of
/// that arithmetic: the score of query t for its i-th visible key at values[t * row_stride + i].
/// Nothing else is written. Asynchronous on `stream`. O(M H D L).
/// @tparam Heads      64 or 32: only the kernels for so many are compiled; dynamic: both
/// @param values      [M, row_stride] floats
/// @param row_stride  floats from a query's scores to the next one's, as many as there are keys or
///                    more
/// @throws precondition_error before anything is launched, for what contradicts itself or has no
///         kernels on the current device; launch_error if CUDA refuses
template <int Heads = dynamic>
void score(cudaStream_t stream, const Queries<e4m3fn>& queries, const ContiguousKeys<e4m3fn>& keys,
           const Ranges& visibility, float* values, std::int64_t row_stride,
           Arithmetic arithmetic = Arithmetic::native) {
  score<Heads>(Device::current(), stream, queries, keys, visibility, values, row_stride,
               arithmetic);
}

/// The same as the next, for a device as the caller describes it, which is not checked.
template <int = 0>
void topk(const Device& device, cudaStream_t stream, const TopkTask& task, std::int64_t rows) {
  constexpr const char* function = "cuda::topk";
  using namespace hisa::detail;
  std::string const range = "0 .. 2^31 - 257";
  if (device.architecture != 90)
    require_covered(function,
                    unlike("the device's architecture", device.architecture, "90 (sm_90, sm_90a)"));
  require(rows >= 0 && rows <= max_rows, function, "rows", rows, range);
  require(task.columns >= 0 && task.columns <= max_rows, function, "columns", task.columns, range);
  require(task.topk >= 1, function, "topk", task.topk, at_least(1));
  require(task.row_stride >= task.columns, function, "row_stride", task.row_stride,
          at_least(task.columns));
  if (rows == 0)
    return;
  if (task.columns > 0)
    require_array(task.scores, function, "scores");
  require_optional_array(task.lengths, function, "lengths");
  check_selection(function, task.out);
  launch_topk(task, rows, device, stream);
}

/// Top-k alone: the positions of the k best of each row of scores, in the contract's order. Any row
/// length up to 2^31 - 257 and any k. Asynchronous on `stream`. O(rows * columns): a row is read
/// once, and again where its first scores say too little of the rest; several times for k above
/// SelectSizes::max_topk. Needs a device of architecture 90, but no code for sm_90a.
/// @param task  rows, and where the winners go: Selection with M = rows
/// @throws precondition_error before anything is launched; launch_error if CUDA refuses
template <int = 0>
void topk(cudaStream_t stream, const TopkTask& task, std::int64_t rows) {
  topk(Device::current(), stream, task, rows);
}

} // namespace cuda
HISA_NAMESPACE_END
