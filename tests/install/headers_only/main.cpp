// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <hisa/reference.hpp>
#include <hisa/version.hpp>

#ifdef KOKKOS_VERSION
#error "this project has no Kokkos"
#endif

int main() { return HISA_VERSION > 0 ? 0 : 1; }
