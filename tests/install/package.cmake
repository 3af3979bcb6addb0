# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# cmake -DPREFIX=<installed> -DVERSION=<of hisa> -DCOMPILER=<c++> -DSOURCES=<this tree> -P package.cmake
# What the installed package tells its users: no flag for one CPU, and a pkg-config file that works; and the
# Spack recipe is Python. Tools that this machine lacks are left out.
file(GLOB_RECURSE files ${PREFIX}/*.cmake ${PREFIX}/*.pc)
list(LENGTH files count)
if(count LESS 4)
  message(FATAL_ERROR "${PREFIX} has no package files: ${files}")
endif()
foreach(file IN LISTS files)
  file(READ ${file} text)
  foreach(word -march -mcpu -mtune INTERFACE_COMPILE_OPTIONS ${SOURCES}/)
    string(FIND "${text}" "${word}" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "${file} tells users of ${word}")
    endif()
  endforeach()
endforeach()

find_program(PKG_CONFIG NAMES pkg-config pkgconf)
if(PKG_CONFIG)
  set(ENV{PKG_CONFIG_PATH} ${PREFIX}/share/pkgconfig)
  foreach(question --modversion --cflags)
    execute_process(COMMAND ${PKG_CONFIG} ${question} hisa OUTPUT_VARIABLE answer${question}
      OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  endforeach()
  if(NOT answer--modversion STREQUAL VERSION)
    message(FATAL_ERROR "pkg-config says version ${answer--modversion}, this is ${VERSION}")
  endif()
  separate_arguments(flags UNIX_COMMAND "${answer--cflags}")
  execute_process(COMMAND ${COMPILER} -std=c++20 -fsyntax-only ${flags}
    ${SOURCES}/tests/install/headers_only/main.cpp COMMAND_ERROR_IS_FATAL ANY)
else()
  message("no pkg-config: hisa.pc was not tried")
endif()

find_program(PYTHON NAMES python3)
if(PYTHON)
  execute_process(COMMAND ${PYTHON} -c "import ast,sys; ast.parse(open(sys.argv[1]).read())"
    ${SOURCES}/packaging/spack/package.py COMMAND_ERROR_IS_FATAL ANY)
endif()
