// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "cuda.h"

#include <cstring>

namespace emulation {
namespace {

/// What a CUtensorMap holds.
struct Tensor {
  const std::uint8_t* data;
  std::int64_t columns, rows, stride; ///< in elements, in bytes
  std::int32_t box_columns, box_rows;
  std::int32_t element; ///< bytes
  bool two_dimensions, swizzled;
};
static_assert(sizeof(Tensor) <= sizeof(CUtensorMap));

Tensor tensor(const CUtensorMap& map) {
  Tensor t;
  std::memcpy(&t, &map, sizeof(t));
  return t;
}

} // namespace

std::int64_t box_bytes(const CUtensorMap& map) {
  Tensor const t = tensor(map);
  return std::int64_t(t.box_columns) * t.box_rows * t.element;
}

void copy_box(void* to, const CUtensorMap& map, std::int64_t column, std::int64_t row) {
  Tensor const t = tensor(map);
  auto const begin = reinterpret_cast<std::uintptr_t>(to);
  if (begin % 128 != 0)
    fail("has a box copied to an address that is no multiple of 128");
  std::uintptr_t at = begin;
  for (std::int64_t r = row; r < row + t.box_rows; ++r)
    for (std::int64_t c = column; c < column + t.box_columns;
         ++c, at += std::uintptr_t(t.element)) {
      auto* const there = reinterpret_cast<std::uint8_t*>(t.swizzled ? swizzle_128(at) : at);
      if (r >= 0 && r < t.rows && c >= 0 && c < t.columns)
        std::memcpy(there, t.data + r * t.stride + c * t.element, std::size_t(t.element));
      else
        std::memset(there, 0, std::size_t(t.element));
    }
}

} // namespace emulation

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                void* address, const cuuint64_t* extents, const cuuint64_t* strides,
                                const cuuint32_t* box, const cuuint32_t* steps,
                                CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (!emulation::has_context())
    return CUDA_ERROR_INVALID_CONTEXT;
  emulation::Tensor t = {};
  t.element = type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1 : 4;
  t.data = static_cast<const std::uint8_t*>(address);
  t.two_dimensions = rank == 2, t.swizzled = swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  bool ok = rank >= 1 && rank <= 2 && address != nullptr &&
            reinterpret_cast<std::uintptr_t>(map) % 64 == 0 &&
            reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
  for (cuuint32_t d = 0; ok && d < rank; ++d)
    ok = extents[d] >= 1 && extents[d] <= cuuint64_t(1) << 32 && box[d] >= 1 && box[d] <= 256 &&
         steps[d] == 1;
  if (!ok)
    return CUDA_ERROR_INVALID_VALUE;
  t.columns = static_cast<std::int64_t>(extents[0]);
  t.rows = rank == 2 ? static_cast<std::int64_t>(extents[1]) : 1;
  t.stride = rank == 2 ? static_cast<std::int64_t>(strides[0]) : 0;
  t.box_columns = static_cast<std::int32_t>(box[0]);
  t.box_rows = rank == 2 ? static_cast<std::int32_t>(box[1]) : 1;
  std::int32_t const row_bytes = t.box_columns * t.element;
  if (t.stride % 16 != 0 || t.stride >= std::int64_t(1) << 40 || row_bytes % 16 != 0 ||
      (t.swizzled && row_bytes > 128))
    return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(map, &t, sizeof(t));
  return CUDA_SUCCESS;
}
