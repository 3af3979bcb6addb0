// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Host vectors to device memory and back, on Kokkos' default execution space.
#pragma once

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <vector>

namespace hisa_test {

using Exec = Kokkos::DefaultExecutionSpace;

/// A copy of a host vector in the memory of an execution space.
template <class T>
class Device {
  Kokkos::View<T*, Kokkos::LayoutRight, Exec::memory_space> view_;

public:
  Device() = default;
  explicit Device(const std::vector<T>& host)
      : view_(Kokkos::view_alloc(Kokkos::WithoutInitializing, "test"), host.size()) {
    Kokkos::View<const T*, Kokkos::LayoutRight, Kokkos::HostSpace, Kokkos::MemoryUnmanaged> const
        source(host.data(), host.size());
    Kokkos::deep_copy(view_, source);
  }
  T* data() const { return view_.data(); }
  std::size_t size() const { return view_.extent(0); }
  std::vector<T> host() const {
    std::vector<T> out(size());
    Kokkos::View<T*, Kokkos::LayoutRight, Kokkos::HostSpace, Kokkos::MemoryUnmanaged> const target(
        out.data(), out.size());
    Kokkos::deep_copy(target, view_);
    return out;
  }
};

} // namespace hisa_test
