# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The programs of this tree: tests, tools, examples, benchmarks. What is set here stays here, hisa::hisa
# brings none of it to its users.
#
#   hisa_program(<name> SOURCES <file>... [LIBRARIES <target>...] [NO_KOKKOS])
#   hisa_target(<target> [NO_KOKKOS])     the same settings for a target of another kind

add_library(hisa_program_options INTERFACE)
target_compile_features(hisa_program_options INTERFACE cxx_std_20)
target_compile_options(hisa_program_options INTERFACE -Wall -Wextra -Wconversion
  $<$<BOOL:${HISA_WARNINGS_AS_ERRORS}>:-Werror>)
if(NOT "CUDA" IN_LIST Kokkos_DEVICES)   # nvcc's intermediate code is full of extensions
  target_compile_options(hisa_program_options INTERFACE -Wpedantic)
endif()
if(HISA_SANITIZE)
  target_compile_options(hisa_program_options INTERFACE
    -fsanitize=${HISA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(hisa_program_options INTERFACE -fsanitize=${HISA_SANITIZE})
endif()

# A Kokkos that was configured for a CPU passes its flags on; otherwise the programs here are compiled for
# the CPU at hand.
set(accelerators "^(KEPLER|MAXWELL|PASCAL|VOLTA|TURING|AMPERE|ADA|HOPPER|BLACKWELL|VEGA|AMD_GFX|NAVI|INTEL_)")
set(cpu_of_kokkos ${Kokkos_ARCH})
list(FILTER cpu_of_kokkos EXCLUDE REGEX ${accelerators})
if(HISA_NATIVE AND NOT cpu_of_kokkos)
  include(hisa_native)
  target_compile_options(hisa_program_options INTERFACE ${HISA_NATIVE_FLAGS})
endif()

# A package of a newer release comes with the C library that it was built against. Programs of this tree
# start with that one; nothing else does, and nothing of this is exported.
add_library(hisa_kokkos_runtime INTERFACE)
if(IS_DIRECTORY "${Kokkos_PREFIX}/runtime")
  file(GLOB loader ${Kokkos_PREFIX}/runtime/usr/lib/*/ld-linux*.so*)
  get_filename_component(folder ${loader} DIRECTORY)
  set(HISA_KOKKOS_LINK_FLAGS "-Wl,--allow-shlib-undefined,--dynamic-linker=${loader},--disable-new-dtags,-rpath,${folder}")
  target_link_options(hisa_kokkos_runtime INTERFACE ${HISA_KOKKOS_LINK_FLAGS})
  message(STATUS "hisa: Kokkos: with its own C and C++ runtime libraries, in this build tree only")
endif()

function(hisa_target target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "NO_KOKKOS" "" "")
  target_link_libraries(${target} PRIVATE hisa_program_options hisa::headers)
  if(NOT arg_NO_KOKKOS)
    target_link_libraries(${target} PRIVATE hisa::hisa hisa_kokkos_runtime)
  endif()
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()

function(hisa_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "NO_KOKKOS" "" "SOURCES;LIBRARIES")
  add_executable(${name} ${arg_SOURCES})
  if(arg_NO_KOKKOS)
    hisa_target(${name} NO_KOKKOS)
  else()
    hisa_target(${name})
  endif()
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES})
endfunction()
