// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Pooling on a CUDA stream: complete blocks of contiguous fp8 keys become pooled rows, bit for bit
/// those of the reference.
#pragma once

#include <hisa/checks.hpp>
#include <hisa/cuda/launch.cuh>
#include <hisa/row_rules.hpp>

#include <cmath>
#include <limits>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Which sequences to pool and how far. All arrays are device memory, read on the device only.
struct Sequences {
  std::int64_t count = 0;
  const std::int32_t* old_length = nullptr; ///< [count] keys pooled already; null: none, rebuild
  const std::int32_t* new_length = nullptr; ///< [count] keys present now
  const std::int32_t* begin = nullptr;      ///< [count] first key of each sequence; null: all at 0
};

struct PoolTask {
  ContiguousKeys<e4m3fn> keys;
  PooledKeys<e4m3fn> pooled;
  Sequences sequences;
};

/// The rows that a sequence needs pooled.
template <RowRule Rule>
struct NewRows {
  std::int64_t first, end; ///< of the sequence's rows
  std::int64_t keys;       ///< of a row
  std::int64_t begin;      ///< the sequence's first key
  std::int64_t out;        ///< where its row 0 is in the buffer

  __device__ NewRows(const PoolTask& task, std::int64_t s) {
    const Sequences& q = task.sequences;
    std::int64_t const size = task.pooled.block_size;
    begin = q.begin == nullptr ? 0 : detail::clamp(q.begin[s], 0, task.keys.count);
    std::int64_t const length = detail::clamp(q.new_length[s], 0, task.keys.count - begin);
    std::int64_t const old =
        q.old_length == nullptr || q.old_length[s] < 0 ? 0 : q.old_length[s] / size;
    first = old * Rule::rows, end = length / size * Rule::rows;
    keys = size / Rule::rows;
    out = (task.pooled.begin == nullptr ? 0 : task.pooled.begin[s]) * Rule::rows;
  }
};

/// A lane's four dimensions of a pooled row.
struct Folded {
  float of[4];
  bool finite; ///< these and all that they were folded from
};

/// Folds keys [first, first + count) in ascending order.
template <RowRule Rule>
__device__ Folded fold_keys(const ContiguousKeys<e4m3fn>& keys, std::int64_t first,
                            std::int64_t count, int lane) {
  Folded row = {{Rule::identity, Rule::identity, Rule::identity, Rule::identity}, true};
  std::int64_t const stride = keys.row_stride == 0 ? 128 : keys.row_stride;
#pragma unroll 8
  for (std::int64_t i = 0; i < count; ++i) {
    auto const four = *reinterpret_cast<const std::uint32_t*>(
        reinterpret_cast<const std::uint8_t*>(keys.values) + (first + i) * stride + 4 * lane);
    float const scale = keys.scales[first + i];
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      float const value =
          __fmul_rn(Element<e4m3fn>::to_float({static_cast<std::uint8_t>(four >> 8 * d)}), scale);
      row.finite = row.finite && detail::is_finite(value);
      row.of[d] = Rule::fold(row.of[d], value);
    }
  }
#pragma unroll
  for (int d = 0; d < 4; ++d) {
    row.of[d] = Rule::finish(row.of[d], static_cast<int>(count));
    row.finite = row.finite && detail::is_finite(row.of[d]);
  }
  return row;
}

/// Writes row `at` of the buffer: its scale, and its dimensions as codes, NaN if one is not finite.
__device__ inline void write_row(const PooledKeys<e4m3fn>& pooled, std::int64_t at,
                                 const Folded& row, int lane) {
  bool const finite = __all_sync(0xffffffffu, row.finite);
  float amax =
      fmaxf(fmaxf(fabsf(row.of[0]), fabsf(row.of[1])), fmaxf(fabsf(row.of[2]), fabsf(row.of[3])));
  for (int step = 16; step > 0; step /= 2)
    amax = fmaxf(amax, __shfl_xor_sync(0xffffffffu, amax, step));
  float const scale = finite ? pooled_scale<e4m3fn>(amax) : 1.0f;
  std::uint32_t codes = 0;
#pragma unroll
  for (int d = 0; d < 4; ++d) {
    e4m3fn const code =
        finite ? e4m3fn_from_float(__fdiv_rn(row.of[d], scale)) : Element<e4m3fn>::nan();
    codes |= std::uint32_t(code.bits) << 8 * d;
  }
  reinterpret_cast<std::uint32_t*>(pooled.values + at * 128)[lane] = codes;
  if (lane == 0)
    pooled.scales[at] = scale;
}

/// CTA (x, s) takes every gridDim.x-th run of `Warps` new rows of sequence s, a warp a row, a lane
/// four dimensions.
template <RowRule Rule, int Warps>
__global__ void __launch_bounds__(32 * Warps) pool_kernel(const __grid_constant__ PoolTask task) {
  begin_kernel();
  int const lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  NewRows<Rule> const rows(task, blockIdx.y);
  for (std::int64_t row = rows.first + blockIdx.x * Warps + warp; row < rows.end;
       row += gridDim.x * Warps) {
    Folded const folded = fold_keys<Rule>(task.keys, rows.begin + row * rows.keys, rows.keys, lane);
    write_row(task.pooled, rows.out + row, folded, lane);
  }
}

template <RowRule Rule>
void pool_checked(const char* function, cudaStream_t stream, const ContiguousKeys<e4m3fn>& keys,
                  const PooledKeys<e4m3fn>& pooled, const Sequences& sequences) {
  using namespace hisa::detail;
  check_keys(function, keys, std::numeric_limits<std::int32_t>::max(), 128);
  check_pooled(function, keys, pooled, pooled.block_size, Rule::rows);
  require(sequences.count >= 0 && sequences.count <= 65535, function, "sequences.count",
          sequences.count, "0 .. 65535");
  if (sequences.count == 0 || keys.count == 0)
    return;
  require(keys.row_stride % 4 == 0, function, "keys.row_stride", keys.row_stride,
          "a multiple of 4");
  require_aligned(keys.values, 4, function, "keys.values");
  require_aligned(pooled.values, 4, function, "pooled.values");
  require_pointer(sequences.new_length, function, "sequences.new_length");
  constexpr int warps = 4;
  std::int64_t const rows = keys.count / pooled.block_size * Rule::rows;
  std::int64_t const ctas = rows / warps + 1;
  dim3 const grid(static_cast<unsigned>(ctas < 1024 ? ctas : 1024),
                  static_cast<unsigned>(sequences.count));
  launch(pool_kernel<Rule, warps>, grid, 32 * warps, 0, stream, PoolTask{keys, pooled, sequences},
         "hisa::pool");
}

/// Pools the blocks that become complete as each sequence grows from old_length to new_length keys.
/// Asynchronous on `stream`. O(D) a new key, plus O(B D) for a block that was begun before.
/// @throws precondition_error before anything is launched, launch_error if CUDA refuses
template <RowRule Rule>
void pool_append(cudaStream_t stream, const ContiguousKeys<e4m3fn>& keys,
                 const PooledKeys<e4m3fn>& pooled, const Sequences& sequences) {
  if (sequences.count > 0)
    hisa::detail::require_pointer(sequences.old_length, "cuda::pool_append",
                                  "sequences.old_length");
  pool_checked<Rule>("cuda::pool_append", stream, keys, pooled, sequences);
}

/// Pools all complete blocks of each sequence from scratch; old_length is not read. Asynchronous on
/// `stream`. O(D) a key.
/// @throws precondition_error before anything is launched, launch_error if CUDA refuses
template <RowRule Rule>
void pool_rebuild(cudaStream_t stream, const ContiguousKeys<e4m3fn>& keys,
                  const PooledKeys<e4m3fn>& pooled, Sequences sequences) {
  sequences.old_length = nullptr;
  pool_checked<Rule>("cuda::pool_rebuild", stream, keys, pooled, sequences);
}

} // namespace cuda
HISA_NAMESPACE_END
