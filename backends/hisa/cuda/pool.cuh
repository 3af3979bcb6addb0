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

/// Pools blocks in turn: CTA (x, s) takes every gridDim.x-th new block of sequence s, a warp a row.
/// A lane folds four dimensions in ascending token order.
template <RowRule Rule, int Warps>
__global__ void __launch_bounds__(32 * Warps) pool_kernel(const __grid_constant__ PoolTask task) {
  begin_kernel();
  std::int64_t const s = blockIdx.y, size = task.pooled.block_size;
  int const lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const Sequences& q = task.sequences;
  std::int64_t const begin = q.begin == nullptr ? 0 : detail::clamp(q.begin[s], 0, task.keys.count);
  std::int64_t const length = detail::clamp(q.new_length[s], 0, task.keys.count - begin);
  std::int64_t const done =
      (q.old_length == nullptr || q.old_length[s] < 0 ? 0 : q.old_length[s]) / size * Rule::rows;
  std::int64_t const stride = task.keys.row_stride == 0 ? 128 : task.keys.row_stride;
  std::int64_t const part = size / Rule::rows, rows = length / size * Rule::rows;
  std::int64_t const out = task.pooled.begin == nullptr ? 0 : task.pooled.begin[s];
  for (std::int64_t row = done + blockIdx.x * Warps + warp; row < rows; row += gridDim.x * Warps) {
    // 1. Fold the row's tokens.
    float folded[4] = {Rule::identity, Rule::identity, Rule::identity, Rule::identity};
    bool finite = true;
    std::int64_t const first = begin + row * part;
#pragma unroll 8
    for (std::int64_t i = 0; i < part; ++i) {
      auto const four = *reinterpret_cast<const std::uint32_t*>(
          reinterpret_cast<const std::uint8_t*>(task.keys.values) + (first + i) * stride +
          4 * lane);
      float const scale = task.keys.scales[first + i];
#pragma unroll
      for (int d = 0; d < 4; ++d) {
        float const value =
            __fmul_rn(Element<e4m3fn>::to_float({static_cast<std::uint8_t>(four >> 8 * d)}), scale);
        finite = finite && detail::is_finite(value);
        folded[d] = Rule::fold(folded[d], value);
      }
    }

    // 2. The row's scale.
    float amax = 0;
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      folded[d] = Rule::finish(folded[d], static_cast<int>(part));
      finite = finite && detail::is_finite(folded[d]);
      amax = fmaxf(amax, fabsf(folded[d]));
    }
    finite = __all_sync(0xffffffffu, finite);
    for (int step = 16; step > 0; step /= 2)
      amax = fmaxf(amax, __shfl_xor_sync(0xffffffffu, amax, step));
    float const scale = finite ? pooled_scale<e4m3fn>(amax) : 1.0f;

    // 3. Its codes.
    std::uint32_t codes = 0;
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      e4m3fn const code =
          finite ? e4m3fn_from_float(__fdiv_rn(folded[d], scale)) : Element<e4m3fn>::nan();
      codes |= std::uint32_t(code.bits) << 8 * d;
    }
    std::int64_t const at = out * Rule::rows + row;
    reinterpret_cast<std::uint32_t*>(task.pooled.values + at * 128)[lane] = codes;
    if (lane == 0)
      task.pooled.scales[at] = scale;
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
/// @throws precondition_error before anything is launched
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
/// @throws precondition_error before anything is launched
template <RowRule Rule>
void pool_rebuild(cudaStream_t stream, const ContiguousKeys<e4m3fn>& keys,
                  const PooledKeys<e4m3fn>& pooled, Sequences sequences) {
  sequences.old_length = nullptr;
  pool_checked<Rule>("cuda::pool_rebuild", stream, keys, pooled, sequences);
}

} // namespace cuda
HISA_NAMESPACE_END
