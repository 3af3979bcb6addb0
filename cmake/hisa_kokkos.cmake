# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The Kokkos that hisa::hisa links.
find_package(OpenMP QUIET COMPONENTS CXX)   # only for rung 3
hisa_dependency(Kokkos TARGET Kokkos::kokkos VERSION ${HISA_KOKKOS_VERSION}
  PACKAGE libkokkos-dev SUITES system backports sid MEND mend_kokkos.sh
  RELEASE 4.7.01
  URL https://github.com/kokkos/kokkos/releases/download/4.7.01/kokkos-4.7.01.tar.gz
  SHA256 404cf33e76159e83b8b4ad5d86f6899d442b5da4624820ab457412116cdcd201
  OPTIONS Kokkos_ENABLE_SERIAL=ON Kokkos_ENABLE_OPENMP=${OpenMP_CXX_FOUND})

# One that is built here says in the cache what find_package would have said of an installed one.
if(Kokkos_RUNG MATCHES "source|release")
  get_cmake_property(variables CACHE_VARIABLES)
  foreach(variable IN LISTS variables)
    if(variable MATCHES "^Kokkos_(ARCH|ENABLE)_([A-Z0-9_]+)$" AND ${variable})
      string(REPLACE ENABLE DEVICES kind ${CMAKE_MATCH_1})
      list(APPEND Kokkos_${kind} ${CMAKE_MATCH_2})
    endif()
  endforeach()
endif()
