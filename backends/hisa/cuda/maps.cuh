// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Describing tensors to the copy engine.
#pragma once

#include <hisa/cuda/device.cuh>
#include <hisa/cuda/producer.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// A function of the driver, whose library a program need not be linked with.
template <class Function>
Function* driver_function(const char* name, unsigned version) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  check(cudaGetDriverEntryPointByVersion(name, &function, version, cudaEnableDefault, &found),
        name);
  if (found != cudaDriverEntryPointSuccess)
    hisa::detail::fail<launch_error>(std::string("hisa::cuda: the driver has no ") + name);
  return reinterpret_cast<Function*>(function);
}

/// The driver's functions need a context, which the runtime gives a thread of the host when that
/// first needs one: here, if it has none yet.
inline void require_context() {
  static auto* const current = driver_function<decltype(cuCtxGetCurrent)>("cuCtxGetCurrent", 4000);
  CUcontext context = nullptr;
  if (current(&context) == CUDA_SUCCESS && context != nullptr)
    return;
  cudaFuncAttributes code = {};
  check(cudaFuncGetAttributes(&code, compiled_for<>), "no context");
}

/// Describes a tensor to the copy engine: `count` rows of `width` elements, `stride` bytes apart,
/// to be fetched in boxes of `box_count` rows of `box_width` elements. Count 0: one row, of one
/// dimension.
inline CUtensorMap tensor_map(CUtensorMapDataType type, const void* data, std::int64_t width,
                              std::int64_t count, std::int64_t stride, int box_width, int box_count,
                              CUtensorMapSwizzle swizzle) {
  static auto* const encode =
      driver_function<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled", 12000);
  require_context();
  CUtensorMap map;
  cuuint64_t const extents[] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(count)};
  cuuint64_t const strides[] = {static_cast<cuuint64_t>(stride)};
  cuuint32_t const box[] = {static_cast<cuuint32_t>(box_width), static_cast<cuuint32_t>(box_count)};
  cuuint32_t const steps[] = {1, 1};
  CUresult const result =
      encode(&map, type, count > 0 ? 2 : 1, const_cast<void*>(data), extents, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    hisa::detail::fail<launch_error>("hisa::cuda: cuTensorMapEncodeTiled refused a tensor, error " +
                                     std::to_string(result));
  return map;
}

/// Rows of 128 fp8 values, in boxes of `box` rows.
inline CUtensorMap row_map(const e4m3fn* values, std::int64_t rows, std::int64_t stride, int box) {
  return tensor_map(CU_TENSOR_MAP_DATA_TYPE_UINT8, values, 128, rows, stride, 128, box,
                    CU_TENSOR_MAP_SWIZZLE_128B);
}

/// Consecutive floats from an address that is a multiple of 16 on, in boxes of `box` floats.
inline CUtensorMap line_map(const float* values, std::int64_t count, int box) {
  return tensor_map(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, values, count, 0, 0, box, 1,
                    CU_TENSOR_MAP_SWIZZLE_NONE);
}

/// The rows of a level, in its buffer.
struct Rows {
  const e4m3fn* values = nullptr;
  const float* scales = nullptr;
  std::int64_t count = 0, stride = 128;
};

inline Rows rows_of(const ContiguousKeys<e4m3fn>& keys) {
  return {keys.values, keys.scales, keys.count, keys.row_stride == 0 ? 128 : keys.row_stride};
}

/// Sets what of the task follows from its queries and rows.
inline void set_rows(ScoreTask& task, const Queries<e4m3fn>& queries, const Rows& rows) {
  task.queries = queries;
  task.query_map = row_map(queries.values, queries.count * queries.heads, 128, queries.heads);
  int const piece = 1 << task.pieces.piece_log2;
  task.key_map = row_map(rows.values, rows.count, rows.stride, piece);
  task.scale_shift =
      static_cast<std::int32_t>(reinterpret_cast<std::uintptr_t>(rows.scales) / 4 % 4);
  task.scale_map = line_map(rows.scales - task.scale_shift, rows.count + task.scale_shift,
                            scale_line(task.pieces.piece_log2));
}

} // namespace cuda
HISA_NAMESPACE_END
