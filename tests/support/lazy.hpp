// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Buffers larger than memory: only what is touched exists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include <sys/mman.h>

namespace hisa_test {

/// `count` zeros of a trivial type, of which only touched pages take memory.
template <class T>
class Lazy {
  T* data_ = nullptr;
  std::size_t bytes_ = 0;

public:
  explicit Lazy(std::int64_t count) : bytes_(static_cast<std::size_t>(count) * sizeof(T)) {
    void* const memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
      throw std::bad_alloc();
    madvise(memory, bytes_, MADV_NOHUGEPAGE); // a touched byte takes 4 KiB, not 2 MiB
    data_ = static_cast<T*>(memory);
  }
  ~Lazy() { munmap(data_, bytes_); }
  Lazy(const Lazy&) = delete;
  Lazy& operator=(const Lazy&) = delete;

  T* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  T& operator[](std::int64_t i) const { return data_[i]; }
};

} // namespace hisa_test
