// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The operands of the scoring kernel's products by arithmetic. Native: fp8 values as they come.
/// Precise: the same values as fp16, whose products the tensor core adds up in fp32.
#pragma once

#include <hisa/cuda/group.cuh>
#include <hisa/cuda/machine.cuh>
#include <hisa/cuda/mma.cuh>
#include <hisa/shape.hpp>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Bytes of a query's values in shared memory.
template <int Heads, Arithmetic A>
inline constexpr int query_bytes = Heads * 128 * (A == Arithmetic::native ? 1 : 2);

/// The keys of a tile for the warpgroup that multiplies them.
template <Arithmetic A>
class TileKeys;

/// Loaded once for all queries.
template <>
class TileKeys<Arithmetic::native> {
  KeyFragment halves_[2];
  int offset_ = held_in_register(key_offset());

public:
  __device__ void load(const std::uint8_t* tile) {
    load_keys<0>(halves_[0], tile, offset_);
    load_keys<1>(halves_[1], tile, offset_);
  }
  /// Starts the products of one half. None are under way that have their keys in registers that
  /// change: precise arithmetic has one set.
  template <int Heads>
  __device__ void start(DotProducts<Heads>& p, int half, HeadsAddress heads) {
    start_products(p, halves_[half], heads);
  }
};

/// Loaded and converted for each product: registers hold one half.
template <>
class TileKeys<Arithmetic::precise> {
  const std::uint8_t* tile_ = nullptr;
  int offset_ = held_in_register(key_offset());
  WideFragment half_;

public:
  __device__ void load(const std::uint8_t* tile) { tile_ = tile; }
  template <int Heads>
  __device__ void start(DotProducts<Heads>& p, int half, HeadsAddress heads) {
    KeyFragment keys;
    load_keys<0>(keys, tile_ + half * half_warp_keys * 128, offset_);
    widen(keys);
    start_products(p, half_, heads);
  }

private:
  /// A lane t has four neighbouring dimensions of 16, 4t to 4t + 3. They become what fp16 products
  /// take for 2t, 2t + 1, 2t + 8 and 2t + 9: an order of dimensions that store_wide shares.
  __device__ void widen(const KeyFragment& keys) {
#pragma unroll
    for (int step = 0; step < 8; ++step)
#pragma unroll
      for (int i = 0; i < 2; ++i) { // row g, row g + 8
        std::uint32_t const four = keys.values[step / 2][step % 2 * 2 + i];
        half_.values[step][i] = widened(four & 0xffff);
        half_.values[step][i + 2] = widened(four >> 16);
      }
  }
};

/// Stores 16 dimensions of a head, from 16 * chunk on, to a query's values.
template <int Heads>
__device__ void store_wide(std::uint8_t* values, int head, int chunk, const uint4& codes) {
  std::uint8_t* const tile = values + chunk / 4 * (Heads * 128); // of 64 dimensions
  int const at = chunk % 4 * 2;
  *reinterpret_cast<uint4*>(tile + swizzled(head, at)) = {
      widened(codes.x & 0xffff), widened(codes.y & 0xffff), widened(codes.z & 0xffff),
      widened(codes.w & 0xffff)};
  *reinterpret_cast<uint4*>(tile + swizzled(head, at + 1)) = {
      widened(codes.x >> 16), widened(codes.y >> 16), widened(codes.z >> 16),
      widened(codes.w >> 16)};
}

} // namespace cuda
HISA_NAMESPACE_END
