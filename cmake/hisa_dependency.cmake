# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Finding what is not ours: a ladder, each rung tried in turn and reported.
#
#   1. the user's own: a target that is there already, FETCHCONTENT_SOURCE_DIR_<NAME>, or find_package
#   2. the distribution's package, taken without root into HISA_DEPENDENCY_CACHE   (if HISA_DOWNLOAD)
#   3. the upstream release, pinned by hash                                        (if HISA_DOWNLOAD)
#
#   hisa_dependency(<name> TARGET <target> VERSION <oldest>
#     PACKAGE <Debian package> SUITES <suite>... [MEND <script>]
#     RELEASE <version> URL <archive> SHA256 <hash> [OPTIONS <variable>=<value>...])
#
# <name> is what find_package and FetchContent call it; OPTIONS are for rung 3. Sets <name>_RUNG to target,
# source, package, debian or release, hands on what find_package said in <name>_VERSION, _ARCH and _DEVICES
# (the last two are Kokkos'), and after rung 2 says where the package is in <name>_PREFIX.
include(FetchContent)
include(${CMAKE_CURRENT_LIST_DIR}/debian/hisa_debian.cmake)

set(HISA_DEPENDENCY_CACHE ${PROJECT_BINARY_DIR}/_dependencies CACHE PATH "Where downloaded dependencies are kept")

# Builds <name> from its sources as part of this tree: what is used of it, not installed with hisa, and its
# warnings are its own. The subfolder that does not exist keeps FetchContent from adding it in its own way.
function(hisa_dependency_from_source name options)
  set(CMAKE_CXX_STANDARD 20)
  foreach(option IN LISTS options)
    string(REGEX MATCH "^([^=]+)=(.*)$" matched ${option})
    set(${CMAKE_MATCH_1} ${CMAKE_MATCH_2} CACHE STRING "for the ${name} that hisa builds")
  endforeach()
  string(TOLOWER ${name} lower)
  FetchContent_Declare(${name} ${ARGN} SOURCE_SUBDIR none)
  FetchContent_MakeAvailable(${name})
  add_subdirectory(${${lower}_SOURCE_DIR} ${${lower}_BINARY_DIR} EXCLUDE_FROM_ALL SYSTEM)
endfunction()

# Sets archive to the downloaded and verified file, or why to the reason why there is none. FetchContent
# would end the configuration here, with a page of text.
function(hisa_dependency_download url sha256)
  get_filename_component(file ${url} NAME)
  set(archive ${HISA_DEPENDENCY_CACHE}/archives/${sha256}/${file})
  set(why "")
  if(NOT EXISTS ${archive})
    file(DOWNLOAD ${url} ${archive}.part STATUS status INACTIVITY_TIMEOUT 30)
    list(POP_FRONT status code text)
    if(NOT code EQUAL 0)
      set(why "${url}: ${text}")
    else()
      file(SHA256 ${archive}.part found)
      if(found STREQUAL sha256)
        file(RENAME ${archive}.part ${archive})
      else()
        set(why "${url}: its SHA-256 is ${found} instead of ${sha256}")
      endif()
    endif()
    file(REMOVE ${archive}.part)
  endif()
  return(PROPAGATE archive why)
endfunction()

function(hisa_dependency name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TARGET;VERSION;PACKAGE;MEND;RELEASE;URL;SHA256" "SUITES;OPTIONS")
  set(results ${name}_RUNG ${name}_VERSION ${name}_ARCH ${name}_DEVICES ${name}_PREFIX)
  set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)   # found here, used everywhere in the tree
  string(TOUPPER ${name} NAME)

  # 1. The user's own.
  if(TARGET ${arg_TARGET})
    set(${name}_RUNG target)
    message(STATUS "hisa: ${name}: ${arg_TARGET}, which the enclosing project provides")
    return(PROPAGATE ${results})
  endif()
  if(FETCHCONTENT_SOURCE_DIR_${NAME})
    set(${name}_RUNG source)
    message(STATUS "hisa: ${name}: sources in ${FETCHCONTENT_SOURCE_DIR_${NAME}}, as FETCHCONTENT_SOURCE_DIR_${NAME} asks")
    hisa_dependency_from_source(${name} "${arg_OPTIONS}" URL ${arg_URL})
    return(PROPAGATE ${results})
  endif()
  string(FIND "${${name}_DIR}" "${HISA_DEPENDENCY_CACHE}/" at)
  if(at EQUAL 0)
    unset(${name}_DIR CACHE)   # an earlier configuration's rung 2 is not the user's own
  endif()
  find_package(${name} ${arg_VERSION} CONFIG QUIET)
  if(${name}_FOUND)
    set(${name}_RUNG package)
    message(STATUS "hisa: ${name}: ${${name}_VERSION}, found in ${${name}_DIR}")
    return(PROPAGATE ${results})
  endif()
  if(${name}_CONSIDERED_VERSIONS)
    set(tried "find_package: only ${${name}_CONSIDERED_VERSIONS} in ${${name}_CONSIDERED_CONFIGS}, or not usable")
  else()
    set(tried "find_package: nothing, set ${name}_ROOT")
  endif()

  if(NOT HISA_DOWNLOAD)
    message(FATAL_ERROR "hisa: ${name} >= ${arg_VERSION} is needed (${tried}; HISA_DOWNLOAD is off)")
  endif()

  # 2. The distribution's package. What a build tree has once built from source, it keeps.
  if(HISA_BUILT_${NAME})
    string(APPEND tried "; the distribution: had none before")
  else()
    hisa_debian_package(${arg_PACKAGE} ${arg_VERSION} "${arg_SUITES}" "${arg_MEND}")
    if(hisa_debian_prefix)
      find_package(${name} ${arg_VERSION} CONFIG QUIET PATHS ${hisa_debian_prefix}/usr NO_DEFAULT_PATH)
    endif()
    if(${name}_FOUND)
      set(${name}_RUNG debian)
      set(${name}_PREFIX ${hisa_debian_prefix})
      message(STATUS "hisa: ${name}: ${${name}_VERSION}, package ${arg_PACKAGE} ${hisa_debian_says} (${tried})")
      return(PROPAGATE ${results})
    endif()
    if(hisa_debian_prefix)
      string(APPEND hisa_debian_says " but find_package refuses it: ${${name}_NOT_FOUND_MESSAGE}")
    endif()
    string(APPEND tried "; the distribution: ${hisa_debian_says}")
  endif()

  # 3. The upstream release.
  hisa_dependency_download(${arg_URL} ${arg_SHA256})
  if(why)
    message(FATAL_ERROR "hisa: ${name} >= ${arg_VERSION} is needed and cannot be had (${tried}; upstream: ${why})")
  endif()
  message(STATUS "hisa: ${name}: upstream's ${arg_RELEASE}, built here (${tried})")
  set(HISA_BUILT_${NAME} ON CACHE INTERNAL "")
  hisa_dependency_from_source(${name} "${arg_OPTIONS}" URL ${archive} URL_HASH SHA256=${arg_SHA256}
    DOWNLOAD_EXTRACT_TIMESTAMP ON)
  set(${name}_RUNG release)
  set(${name}_VERSION ${arg_RELEASE})
  return(PROPAGATE ${results})
endfunction()
