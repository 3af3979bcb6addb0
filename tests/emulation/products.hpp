// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The tensor core's asynchronous products of 64 keys with the heads of a query, D = 128, by a
// warpgroup.
#pragma once

#include "device.hpp"

#include <cstdint>

namespace emulation {

/// Of keys and queries.
enum class Format { e4m3, fp16 };

/// What a thread gives: its registers of the keys, by steps of 32 bytes, and those that the
/// products go to, in the order that hisa/cuda/tile.cuh describes. Both are used when the products
/// are performed.
struct Operands {
  Format format;
  const std::uint32_t (*keys)[4];
  float* products;
};

/// Starts the products of the keys with `heads` heads, whose swizzled rows of 128 bytes are at 16 *
/// `rows` when the products are performed: all heads' first 128 bytes, then those that follow. They
/// are NaN until then.
void start_products(const Operands& operands, int heads, std::uint64_t rows);
/// Waits until at most `pending` of those that the thread has started are not performed.
void wait_products(int pending);

} // namespace emulation
