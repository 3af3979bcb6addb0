// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What a warpgroup multiplies: a tile of keys, where its bytes are in shared memory and in
/// registers, and where the dot products are.
#pragma once

#include <hisa/gpu/pieces.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace cuda {

using gpu::tile_keys, gpu::tile_keys_log2;

/// Of a tile's keys each warp of a warpgroup has a quarter, neighbouring ones. They are multiplied
/// in two halves, each with one half of every warp's keys.
inline constexpr int warp_keys = tile_keys / 4, half_warp_keys = warp_keys / 2;

/// Byte offset of 16-byte chunk `chunk` of row `row` in a tile of 128-byte rows, chunks rotated so
/// that a column of chunks spreads over all banks: the tensor core's 128-byte swizzle.
HISA_FUNCTION constexpr int swizzled(int row, int chunk) {
  return row * 128 + ((chunk ^ (row & 7)) << 4);
}

/// Half a tile, 64 keys of 128 fp8 values, spread over the registers of a warpgroup, 16 keys a
/// warp: the operand A.
struct KeyFragment {
  static constexpr int steps = 4;
  std::uint32_t values[steps][4]; ///< [step of 32 dimensions][register]
};

/// The same keys as fp16 values, which is exact: see widen.
struct WideFragment {
  static constexpr int steps = 8;
  std::uint32_t values[steps][4]; ///< [step of 16 dimensions][register]
};

/// Dot products of half a tile: lane 4g + t holds those of its warp's keys g (values 4i, 4i + 1)
/// and g + 8 (values 4i + 2, 4i + 3) with heads 8i + 2t and 8i + 2t + 1.
template <int Heads>
struct DotProducts {
  float values[Heads / 2];
};

} // namespace cuda
HISA_NAMESPACE_END
