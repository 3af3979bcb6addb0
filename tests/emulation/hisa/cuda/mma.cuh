// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The emulation's hisa/cuda/mma.cuh: the same registers, but products are performed later.
#pragma once

#include <hisa/cuda/ring.cuh>

#include "../../products.hpp"

HISA_NAMESPACE_BEGIN
namespace cuda {

inline constexpr int tile_keys = 64;

struct KeyFragment {
  std::uint32_t values[4][4]; ///< [step of 32 dimensions][register]

  /// What ldmatrix gives a lane: register r has four bytes of row g + 8 (r % 2), chunk r / 2.
  void load(const std::uint8_t* tile) {
    int const lane = static_cast<int>(threadIdx.x) % 32;
    int const row = static_cast<int>(threadIdx.x) / 32 % 4 * 16 + lane / 4;
    for (int step = 0; step < 4; ++step)
      for (int r = 0; r < 4; ++r)
        std::memcpy(&values[step][r],
                    tile + swizzled(row + r % 2 * 8, 2 * step + r / 2) + lane % 4 * 4, 4);
  }
};

template <int Heads>
struct DotProducts {
  float values[Heads / 2];
};

template <int Pending>
void wait_products() {
  emulation::wait_products(Pending);
}

template <int Heads>
void start_products(DotProducts<Heads>& p, const KeyFragment& keys, std::uint32_t heads) {
  emulation::start_products({keys.values, p.values}, Heads, heads);
}

} // namespace cuda
HISA_NAMESPACE_END
