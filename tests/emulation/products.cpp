// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "products.hpp"

#include "cuda.h"

#include <hisa/element.hpp>

#include <bit>
#include <limits>

namespace emulation {

namespace {
constexpr int group = 128, dims = 128, tile = 64, max_heads = 64;

/// The values of the codes of a format.
const float* values(Format format) {
  static auto const e4m3 = [] {
    std::vector<float> t;
    for (int code = 0; code < 0x100; ++code)
      t.push_back(hisa::Element<hisa::e4m3fn>::to_float({static_cast<std::uint8_t>(code)}));
    return t;
  }();
  static auto const fp16 = [] {
    std::vector<float> t;
    for (int code = 0; code < 0x10000; ++code)
      t.push_back(hisa::Element<hisa::fp16>::to_float({static_cast<std::uint16_t>(code)}));
    return t;
  }();
  return format == Format::e4m3 ? e4m3.data() : fp16.data();
}

/// What the accumulator for fp8 products keeps of a sum: some 13 bits.
float shortened(float sum) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(sum) & 0xfffff800u);
}
} // namespace

/// One set, as the threads of the warpgroup start it one after the other.
struct Products {
  int heads = 0, threads = 0;
  std::uint64_t rows = 0;
  Format format = Format::e4m3;
  Operands of[group] = {};

  int width() const { return format == Format::e4m3 ? 1 : 2; } ///< bytes of a value
  /// The code of key `key` of the tile at a dimension, from the register that has it.
  std::uint32_t key_code(int key, int d) const {
    int const byte = d * width();
    int const thread = key / 16 * 32 + key % 8 * 4 + byte % 16 / 4;
    int const reg = key % 16 / 8 + byte % 32 / 16 * 2;
    std::uint32_t const shifted = of[thread].keys[byte / 32][reg] >> 8 * (byte % 4);
    return shifted & (format == Format::e4m3 ? 0xff : 0xffff);
  }
  /// The code of a head at a dimension, from shared memory.
  std::uint32_t head_code(int h, int d) const {
    int const byte = d * width();
    std::uintptr_t const at =
        rows * 16 + static_cast<std::uintptr_t>(byte / 128 * heads * 128 + h * 128 + byte % 128);
    if (format == Format::e4m3)
      return *reinterpret_cast<const std::uint8_t*>(swizzle_128(at));
    return *reinterpret_cast<const std::uint16_t*>(swizzle_128(at));
  }
  void perform() const;
};

void Products::perform() const {
  const float* const value_of = values(format);
  static float queries[dims][max_heads];
  for (int h = 0; h < heads; ++h)
    for (int d = 0; d < dims; ++d)
      queries[d][h] = value_of[head_code(h, d)];
  for (int key = 0; key < tile; ++key) {
    float sums[max_heads] = {};
    for (int d = 0; d < dims; ++d) {
      float const value = value_of[key_code(key, d)];
      const float* const query = queries[d];
      for (int h = 0; h < max_heads; ++h) // products of two values are exact
        sums[h] += value * query[h];
      if (format == Format::e4m3 && d % 32 == 31) // an instruction's dimensions
        for (float& sum : sums)
          sum = shortened(sum);
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
  if (p.threads > 0 && (p.rows != rows || p.heads != heads || p.format != operands.format))
    fail("multiplies other heads than the rest of its warpgroup");
  p.rows = rows, p.heads = heads, p.format = operands.format;
  p.of[t.index % group] = operands;
  order::released(&p);
  if (++p.threads < group)
    return;
  later(Line::products, [&g, set = g.gathering.front()](order::Quiet& engine) {
    order::acquired(set.get());
    order::acquired(order::in_round(&g, g.performed));
    engine.reads(in_kernels(reinterpret_cast<const void*>(set->rows * 16)),
                 static_cast<std::size_t>(set->heads * dims * set->width()));
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
