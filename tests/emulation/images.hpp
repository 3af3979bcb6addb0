// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The shared memories of the CTAs that run together. Kernels know one array, `memory`; its pages
// are those of the CTA that runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emulation {

class Images {
public:
  /// Has at least `count` images.
  void reserve(int count);
  /// Lets the kernels' array be this image.
  void show(int image);
  void fill(int image, std::size_t bytes, unsigned char with);
  /// The lasting address of a place in the kernels' array, if image `image` is meant.
  void* lasting(const void* p, int image) const;
  /// The address in the kernels' array of a place in an image.
  const void* in_array(const void* p) const;
  /// The same place in another image.
  void* in_image(const void* p, int image) const;

private:
  int file_ = -1, shown_ = -1;
  std::vector<std::uint8_t*> images_;
};

} // namespace emulation
