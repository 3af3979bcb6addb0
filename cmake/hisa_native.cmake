# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# HISA_NATIVE_FLAGS: the compiler's flag for the CPU at hand.
include(CheckCXXCompilerFlag)

set(HISA_NATIVE_FLAGS "")
foreach(flag -march=native -mcpu=native)   # the second is for compilers of other families
  string(MAKE_C_IDENTIFIER "HISA_COMPILER_HAS_${flag}" has)
  check_cxx_compiler_flag(${flag} ${has})
  if(${has})
    set(HISA_NATIVE_FLAGS ${flag})
    break()
  endif()
endforeach()
message(STATUS "hisa: this tree's programs are compiled for this CPU: ${HISA_NATIVE_FLAGS}")
