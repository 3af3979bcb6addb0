// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// main() of every test that uses Kokkos: Kokkos takes its own arguments (--kokkos-num-threads=3),
// Catch2 sees the others.
#include <Kokkos_Core.hpp>
#include <catch2/catch_session.hpp>

#include <cstdlib>

int main(int argc, char** argv) {
  // A test that is started by hand, without CTest's environment: two threads unless told otherwise.
  if (!std::getenv("OMP_NUM_THREADS"))
    setenv("KOKKOS_NUM_THREADS", "2", 0);
  setenv("OMP_PROC_BIND", "false", 0);
  Kokkos::ScopeGuard const kokkos(argc, argv);
  return Catch::Session().run(argc, argv);
}
