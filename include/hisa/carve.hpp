// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Dividing the caller's workspace into arrays, and counting the bytes that this takes.
#pragma once

#include <hisa/config.hpp>

#include <cstddef>
#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace detail {

/// Hands out arrays one behind the other, each at a multiple of `Alignment` bytes. Without memory
/// it only counts: run the same requests over both, and size and division cannot disagree.
template <std::size_t Alignment>
class Carver {
  std::byte* base_ = nullptr;
  std::size_t used_ = 0;

public:
  /// Counts.
  Carver() = default;
  /// Divides memory of any alignment.
  explicit Carver(void* memory) {
    auto const at = reinterpret_cast<std::uintptr_t>(memory);
    base_ = static_cast<std::byte*>(memory) + (Alignment - at % Alignment) % Alignment;
  }

  /// The next array of rows * columns elements; null when counting.
  template <class T>
  T* take(std::int64_t rows, std::int64_t columns) {
    std::size_t const bytes =
        static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns) * sizeof(T);
    T* const here = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += (bytes + Alignment - 1) / Alignment * Alignment;
    return here;
  }

  /// Bytes that the requests so far need, whatever the alignment of the memory.
  std::size_t bytes() const { return used_ + Alignment; }
};

} // namespace detail
HISA_NAMESPACE_END
