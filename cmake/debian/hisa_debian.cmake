# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# hisa_debian_package(<package> <minimum version> <suites> <script that mends it, or empty>)
#
# Sets hisa_debian_prefix to where the package was unpacked, or to an empty string, and hisa_debian_says to
# its version and suite, or to the reason why there is none. Presets share the cache, so it is locked.
set(HISA_DEBIAN_FOLDER ${CMAKE_CURRENT_LIST_DIR})

function(hisa_debian_package package minimum suites mend)
  set(hisa_debian_prefix "")
  set(cache ${HISA_DEPENDENCY_CACHE}/debian)
  if(CMAKE_CROSSCOMPILING)
    set(hisa_debian_says "not for cross compiling")
    return(PROPAGATE hisa_debian_prefix hisa_debian_says)
  endif()

  file(LOCK ${cache}/lock GUARD FUNCTION TIMEOUT 600)
  message(STATUS "hisa: looking for ${package} among the distribution's packages ...")
  execute_process(COMMAND sh ${HISA_DEBIAN_FOLDER}/fetch.sh ${cache} ${package} ${minimum} ${suites}
    RESULT_VARIABLE failed OUTPUT_VARIABLE hisa_debian_says ERROR_VARIABLE errors OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT failed AND mend)
    execute_process(COMMAND sh ${HISA_DEBIAN_FOLDER}/${mend} ${cache}/${package} RESULT_VARIABLE failed ERROR_VARIABLE errors)
  endif()
  if(NOT failed)
    set(hisa_debian_prefix ${cache}/${package})
  elseif(errors)
    set(hisa_debian_says "${hisa_debian_says}${errors}")
  endif()
  return(PROPAGATE hisa_debian_prefix hisa_debian_says)
endfunction()
