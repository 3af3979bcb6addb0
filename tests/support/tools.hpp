// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What a call makes Kokkos do, seen through the hooks of Kokkos Tools: kernels, allocations,
/// copies and fences.
#pragma once

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace hisa_test {

/// What happened between the making and the stopping of a Recorder.
struct Recording {
  struct Kernel {
    std::string label;
    std::uint32_t device; ///< Kokkos' id of the execution space instance
  };
  std::vector<Kernel> kernels;
  std::vector<std::string> allocations, copies, fences;

  std::vector<std::string> labels() const {
    std::vector<std::string> all;
    for (const Kernel& kernel : kernels)
      all.push_back(kernel.label);
    return all;
  }
  bool nothing() const {
    return kernels.empty() && allocations.empty() && copies.empty() && fences.empty();
  }
};

/// Records while it lives. One at a time, and kernels are launched from one thread.
class Recorder {
  static inline Recording* current = nullptr;
  Recording recording_;
  Kokkos::Tools::Experimental::EventSet const before_ =
      Kokkos::Tools::Experimental::get_callbacks();

  static void kernel(const char* label, std::uint32_t device, std::uint64_t*) {
    current->kernels.push_back({label, device});
  }
  static void allocation(Kokkos::Tools::SpaceHandle, const char* label, const void*,
                         std::uint64_t) {
    current->allocations.push_back(label);
  }
  static void copy(Kokkos::Tools::SpaceHandle, const char* to, const void*,
                   Kokkos::Tools::SpaceHandle, const char* from, const void*, std::uint64_t) {
    current->copies.push_back(std::string(to) + " from " + from);
  }
  static void fence(const char* name, std::uint32_t, std::uint64_t*) {
    std::string const label = name;
    if (label.find("Kokkos Profile Tool Fence") ==
        std::string::npos) // made by the hooks themselves
      current->fences.push_back(label);
  }

public:
  Recorder() {
    namespace hooks = Kokkos::Tools::Experimental;
    current = &recording_;
    hooks::set_begin_parallel_for_callback(kernel);
    hooks::set_begin_parallel_reduce_callback(kernel);
    hooks::set_begin_parallel_scan_callback(kernel);
    hooks::set_allocate_data_callback(allocation);
    hooks::set_begin_deep_copy_callback(copy);
    hooks::set_begin_fence_callback(fence);
  }
  ~Recorder() { Kokkos::Tools::Experimental::set_callbacks(before_); }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// What has happened so far.
  const Recording& seen() const { return recording_; }
};

/// Records a call.
template <class Call>
Recording record(const Call& call) {
  Recorder const recorder;
  call();
  return recorder.seen();
}

} // namespace hisa_test
