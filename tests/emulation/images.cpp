// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "images.hpp"

#include <hisa/config.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>

namespace {
constexpr std::size_t image_bytes = 256 * 1024;
}

HISA_NAMESPACE_BEGIN
namespace cuda {
extern std::uint8_t memory[];
alignas(4096) std::uint8_t memory[image_bytes]; // what kernels declare
} // namespace cuda
HISA_NAMESPACE_END

namespace emulation {

namespace {

std::uint8_t* map(int file, int image, void* at) {
  void* const p =
      mmap(at, image_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (at == nullptr ? 0 : MAP_FIXED),
           file, static_cast<off_t>(image_bytes) * image);
  if (p == MAP_FAILED)
    throw std::runtime_error("emulation: cannot map shared memory");
  return static_cast<std::uint8_t*>(p);
}

std::size_t offset(const void* p, const std::uint8_t* of) {
  return reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(of);
}

} // namespace

void Images::reserve(int count) {
  if (file_ < 0)
    file_ = memfd_create("shared memory", 0);
  auto const have = static_cast<int>(images_.size());
  if (have >= count)
    return;
  if (ftruncate(file_, static_cast<off_t>(image_bytes) * count) != 0)
    throw std::runtime_error("emulation: cannot make shared memory");
  for (int i = have; i < count; ++i)
    images_.push_back(map(file_, i, nullptr));
}

void Images::show(int image) {
  if (image != shown_)
    map(file_, image, hisa::cuda::memory);
  shown_ = image;
}

void Images::fill(int image, std::size_t bytes, unsigned char with) {
  std::memset(images_[static_cast<std::size_t>(image)], with, bytes);
}

void* Images::lasting(const void* p, int image) const {
  std::size_t const at = offset(p, hisa::cuda::memory);
  return at < image_bytes ? images_[static_cast<std::size_t>(image)] + at : const_cast<void*>(p);
}

const void* Images::in_array(const void* p) const {
  for (const std::uint8_t* from : images_)
    if (offset(p, from) < image_bytes)
      return hisa::cuda::memory + offset(p, from);
  return p;
}

void* Images::in_image(const void* p, int image) const {
  return lasting(in_array(p), image);
}

} // namespace emulation
