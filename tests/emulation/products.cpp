// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "products.hpp"

#include "cuda.h"

#include <hisa/element.hpp>

#include <limits>

namespace emulation {

namespace {
constexpr int group = 128, dims = 128, tile = 64, max_heads = 64;

/// The values of the 256 codes.
const float* values() {
  static auto const table = [] {
    std::vector<float> t;
    for (int code = 0; code < 256; ++code)
      t.push_back(hisa::Element<hisa::e4m3fn>::to_float({static_cast<std::uint8_t>(code)}));
    return t;
  }();
  return table.data();
}
} // namespace

/// One set, as the threads of the warpgroup start it one after the other.
struct Products {
  int heads = 0, threads = 0;
  std::uint64_t rows = 0;
  Operands of[group] = {};

  /// The code of key `key` of the tile at a dimension, from the register that has it.
  std::uint8_t code(int key, int d) const {
    int const thread = key / 16 * 32 + key % 8 * 4 + d % 16 / 4;
    int const reg = key % 16 / 8 + d % 32 / 16 * 2;
    return static_cast<std::uint8_t>(of[thread].keys[d / 32][reg] >> 8 * (d % 4));
  }
  void perform() const;
};

void Products::perform() const {
  const float* const value_of = values();
  static float queries[dims][max_heads];
  for (int h = 0; h < heads; ++h)
    for (int d = 0; d < dims; ++d) {
      std::uintptr_t const at = rows * 16 + static_cast<std::uintptr_t>(h * dims + d);
      queries[d][h] = value_of[*reinterpret_cast<const std::uint8_t*>(swizzle_128(at))];
    }
  for (int key = 0; key < tile; ++key) {
    float sums[max_heads] = {};
    for (int d = 0; d < dims; ++d) {
      float const value = value_of[code(key, d)];
      const float* const query = queries[d];
      for (int h = 0; h < max_heads; ++h) // products of two codes are exact
        sums[h] += value * query[h];
    }
    for (int h = 0; h < heads; ++h) {
      const Operands& thread = of[key / 16 * 32 + key % 8 * 4 + h % 8 / 2];
      thread.products[h / 8 * 4 + key % 16 / 8 * 2 + h % 2] = sums[h];
    }
  }
}

void start_products(const Operands& operands, int heads, std::uint64_t rows) {
  order::Quiet const quiet;
  Thread& t = self();
  Warpgroup& g = t.cta->warpgroups[static_cast<std::size_t>(t.index / group)];
  if (rows * 16 % 1024 != 0)
    fail("multiplies a tile that does not start at a multiple of 1024");
  for (int i = 0; i < heads / 2; ++i)
    operands.products[i] = std::numeric_limits<float>::quiet_NaN();
  std::size_t const at = t.products++ - g.started;
  if (at >= g.gathering.size())
    g.gathering.push_back(std::make_shared<Products>());
  Products& p = *g.gathering[at];
  if (p.threads > 0 && (p.rows != rows || p.heads != heads))
    fail("multiplies other heads than the rest of its warpgroup");
  p.rows = rows, p.heads = heads;
  p.of[t.index % group] = operands;
  order::released(&p);
  if (++p.threads < group)
    return;
  later(Line::products, [&g, set = g.gathering.front()](order::Quiet& engine) {
    order::acquired(set.get());
    order::acquired(order::in_round(&g, g.performed));
    engine.reads(in_kernels(reinterpret_cast<const void*>(set->rows * 16)),
                 static_cast<std::size_t>(set->heads * dims));
    set->perform();
    ++g.performed;
    order::released(order::in_round(&g, g.performed));
  });
  g.gathering.pop_front();
  ++g.started;
}

void wait_products(int pending) {
  order::Quiet const quiet;
  Thread& t = self();
  const Warpgroup& g = t.cta->warpgroups[static_cast<std::size_t>(t.index / group)];
  std::size_t const wanted = t.products - std::min(t.products, static_cast<std::size_t>(pending));
  wait_until("products", [&g, wanted] { return g.performed >= wanted; });
  order::acquired(order::in_round(&g, wanted));
}

} // namespace emulation
