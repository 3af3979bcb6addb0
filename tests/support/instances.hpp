// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Execution space instances beside the default one, and what runs on which.
#pragma once

#include "device.hpp"

#include <Kokkos_Core.hpp>

#include <chrono>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace hisa_test {

/// Two instances that share the default one's resources.
inline std::vector<Exec> two_instances() {
#ifdef _OPENMP
  omp_set_max_active_levels(2); // else Kokkos' OpenMP hands out its default instance twice
#endif
  auto const instances = Kokkos::Experimental::partition_space(Exec(), 1, 1);
  return {instances[0], instances[1]};
}

/// True where an instance is locked while it runs a kernel: Kokkos' host spaces, whose instances
/// all have the same id for Kokkos Tools.
template <class Space>
concept Lockable = requires(const Space& space) {
  space.impl_internal_space_instance()->m_instance_mutex.lock();
};

/// True if `call` runs no kernel on `other`: that instance is kept busy meanwhile, and a kernel
/// that needs it would wait, here for `limit` at most.
template <Lockable Space, class Call>
bool runs_nothing_on(const Space& other, const Call& call,
                     std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  std::promise<void> busy, called;
  bool waited = false;
  std::thread holder([&] {
    std::lock_guard const lock(other.impl_internal_space_instance()->m_instance_mutex);
    busy.set_value();
    waited = called.get_future().wait_for(limit) == std::future_status::timeout;
  });
  busy.get_future().wait();
  call();
  called.set_value();
  holder.join();
  return !waited;
}

/// A team kernel that does nothing.
struct EmptyKernel {
  using Member = Kokkos::TeamPolicy<Exec>::member_type;
  KOKKOS_FUNCTION void operator()(const Member&) const {}
};

inline void run_empty_kernel(const Exec& exec) {
  Kokkos::parallel_for("test", Kokkos::TeamPolicy<Exec>(exec, 1, 1), EmptyKernel());
}

} // namespace hisa_test
