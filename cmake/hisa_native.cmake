# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# HISA_NATIVE_FLAGS and HISA_NATIVE_DEFINITIONS: the CPU at hand, for the compiler and for Kokkos' SIMD types.
include(CheckCXXCompilerFlag)
include(CheckCXXSourceCompiles)

set(HISA_NATIVE_FLAGS "")
set(HISA_NATIVE_DEFINITIONS "")
foreach(flag -march=native -mcpu=native)   # the second is for compilers of other families
  string(MAKE_C_IDENTIFIER "HISA_COMPILER_HAS_${flag}" has)
  check_cxx_compiler_flag(${flag} ${has})
  if(${has})
    set(HISA_NATIVE_FLAGS ${flag})
    break()
  endif()
endforeach()

# What the compiler then targets, by its own macros. KOKKOS_ARCH_AVX512XEON means all five extensions.
set(CMAKE_REQUIRED_FLAGS ${HISA_NATIVE_FLAGS})
set(macros_AVX512XEON __AVX512F__ __AVX512CD__ __AVX512BW__ __AVX512DQ__ __AVX512VL__)
set(macros_AVX2 __AVX2__ __FMA__)
set(macros_ARM_NEON __ARM_NEON)
foreach(arch AVX512XEON AVX2 ARM_NEON)
  list(JOIN macros_${arch} ") && defined(" all)
  check_cxx_source_compiles("
    #if !(defined(${all}))
    #error not this one
    #endif
    int main() {}" HISA_CPU_IS_${arch})
  if(HISA_CPU_IS_${arch})
    set(HISA_NATIVE_DEFINITIONS KOKKOS_ARCH_${arch})
    break()
  endif()
endforeach()
unset(CMAKE_REQUIRED_FLAGS)
message(STATUS "hisa: this tree's programs are compiled for this CPU: ${HISA_NATIVE_FLAGS} ${HISA_NATIVE_DEFINITIONS}")
