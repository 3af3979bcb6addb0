# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# cmake -DCASE=<file> -DCOMMANDS=<compile_commands.json> -P check.cmake
# Compiles CASE as control.cpp is compiled. It must fail and say what each of its lines `// expect:` has;
# control.cpp must compile.
cmake_minimum_required(VERSION 3.25)
get_filename_component(folder ${CASE} DIRECTORY)

file(READ ${COMMANDS} json)
string(JSON count LENGTH "${json}")
math(EXPR last "${count} - 1")
foreach(i RANGE ${last})
  string(JSON file GET "${json}" ${i} file)
  if(file STREQUAL "${folder}/control.cpp")
    string(JSON command GET "${json}" ${i} command)
    string(JSON directory GET "${json}" ${i} directory)
  endif()
endforeach()
if(NOT command)
  message(FATAL_ERROR "${COMMANDS} does not say how control.cpp is compiled")
endif()

separate_arguments(command UNIX_COMMAND "${command}")
list(FIND command -o at)
list(SUBLIST command 0 ${at} command)   # what follows are the object and the source
execute_process(COMMAND ${command} -fsyntax-only ${CASE} WORKING_DIRECTORY ${directory}
  RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)

file(STRINGS ${CASE} expected REGEX "^// expect: ")
if(CASE STREQUAL "${folder}/control.cpp")
  if(failed)
    message(FATAL_ERROR "${CASE} must compile, but:\n${said}")
  endif()
  return()
endif()
if(NOT expected)
  message(FATAL_ERROR "${CASE} has no line '// expect: <part of the message>'")
endif()
if(NOT failed)
  message(FATAL_ERROR "${CASE} must not compile, but does")
endif()
foreach(line IN LISTS expected)
  string(REPLACE "// expect: " "" sentence "${line}")
  string(FIND "${said}" "${sentence}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "${CASE} fails without saying '${sentence}', but:\n${said}")
  endif()
endforeach()
