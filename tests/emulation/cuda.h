// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the library uses of the CUDA driver: descriptions of tensors for the copy engine.
#pragma once

#include "intrinsics.hpp"

#include <cstdint>

using cuuint32_t = std::uint32_t;
using cuuint64_t = std::uint64_t;

enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1, CUDA_ERROR_INVALID_CONTEXT = 201 };
using CUcontext = void*;
CUresult cuCtxGetCurrent(CUcontext* context);

enum CUtensorMapDataType { CU_TENSOR_MAP_DATA_TYPE_UINT8 = 0, CU_TENSOR_MAP_DATA_TYPE_FLOAT32 = 7 };
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE = 0 };
enum CUtensorMapSwizzle { CU_TENSOR_MAP_SWIZZLE_NONE = 0, CU_TENSOR_MAP_SWIZZLE_128B = 3 };
enum CUtensorMapL2promotion {
  CU_TENSOR_MAP_L2_PROMOTION_NONE = 0,
  CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3
};
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0 };

struct alignas(64) CUtensorMap {
  cuuint64_t opaque[16];
};

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                void* address, const cuuint64_t* extents, const cuuint64_t* strides,
                                const cuuint32_t* box, const cuuint32_t* steps,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill);

namespace emulation {

/// Copies a box of a one- or two-dimensional tensor, from `column` and `row` on, as the copy engine
/// does. Throws for what the machine does not take.
void copy_box(void* to, const CUtensorMap& map, std::int64_t column, std::int64_t row);
/// Bytes of a box.
std::int64_t box_bytes(const CUtensorMap& map);
/// Where the machine's 128-byte swizzle has a byte of a tile that starts at a multiple of 1024.
constexpr std::uintptr_t swizzle_128(std::uintptr_t address) {
  return address ^ ((address >> 7 & 7) << 4);
}

} // namespace emulation
