// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The emulation's hisa/cuda/mma.cuh: products are performed later.
#pragma once

#include <hisa/cuda/tile.cuh>

#include "../../intrinsics.hpp"
#include "../../products.hpp"

#include <cstring>
#include <type_traits>
#include <unordered_map>

HISA_NAMESPACE_BEGIN
namespace cuda {

inline int key_offset() {
  return 0;
}
/// What ldmatrix gives a lane: register r has four bytes of row g + 8 (r % 2), chunk r / 2.
/// @param rows  the half's first
inline void read_keys(KeyFragment& keys, const std::uint8_t* rows) {
  int const lane = static_cast<int>(threadIdx.x) % 32;
  int const row = static_cast<int>(threadIdx.x) / 32 % 4 * warp_keys + lane / 4;
  for (int step = 0; step < 4; ++step)
    for (int r = 0; r < 4; ++r)
      std::memcpy(&keys.values[step][r],
                  rows + swizzled(row + r % 2 * 8, 2 * step + r / 2) + lane % 4 * 4, 4);
}

/// The machine reads at some moment before the registers are used, whatever the thread does until
/// then: what others see of that does not wait. So products read once more.
inline auto& unused_keys() {
  static std::unordered_map<const KeyFragment*, const std::uint8_t*> rows;
  return rows;
}
template <int Half>
void load_keys(KeyFragment& keys, const std::uint8_t* tile, int) {
  const std::uint8_t* const rows = tile + Half * half_warp_keys * 128;
  read_keys(keys, rows);
  emulation::order::Quiet const quiet;
  unused_keys()[&keys] = rows;
}
/// Products of the fragment start: it has been read.
inline void use_keys(const KeyFragment& keys) {
  const std::uint8_t* rows = nullptr;
  {
    emulation::order::Quiet const quiet;
    if (auto const unused = unused_keys().extract(&keys))
      rows = unused.mapped();
  }
  if (rows != nullptr)
    read_keys(const_cast<KeyFragment&>(keys), rows);
}
inline void use_keys(const WideFragment&) {}

/// As the machine's, the address is in units of 16 bytes.
using HeadsAddress = std::uint64_t;
inline HeadsAddress uniform_address(const void* tile) {
  return __shfl_sync(0xffffffffu, reinterpret_cast<std::uintptr_t>(emulation::lasting(tile)) / 16,
                     0);
}

template <int Pending>
void wait_products() {
  emulation::wait_products(Pending);
}

template <int Heads, class Keys>
void start_products(DotProducts<Heads>& p, const Keys& keys, HeadsAddress heads) {
  using emulation::Format;
  use_keys(keys);
  constexpr Format format = std::is_same_v<Keys, KeyFragment> ? Format::e4m3 : Format::fp16;
  emulation::start_products({format, keys.values, p.values}, Heads, heads);
}

} // namespace cuda
HISA_NAMESPACE_END
