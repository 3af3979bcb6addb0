# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Both source roots become one include folder; find_package(hisa) gives hisa::headers and hisa::hisa.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# A prefix among the sources is a mistyped one, and would end up on the include path of the next build.
foreach(folder ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  cmake_path(IS_PREFIX folder ${CMAKE_INSTALL_PREFIX} NORMALIZE inside)
  if(inside)
    message(FATAL_ERROR "hisa: CMAKE_INSTALL_PREFIX, ${CMAKE_INSTALL_PREFIX}, lies inside ${folder}: choose a folder outside")
  endif()
endforeach()

install(DIRECTORY include/hisa TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp")
if(IS_DIRECTORY ${PROJECT_SOURCE_DIR}/backends/hisa)   # git keeps no empty folder
  install(DIRECTORY backends/hisa TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh")
endif()
install(FILES LICENSE TYPE DOC)
configure_file(${CMAKE_CURRENT_LIST_DIR}/hisa.pc.in hisa.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/hisa.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)

# An installed Kokkos that is here is offered to users; one inside this build tree is not.
if(NOT DEFINED Kokkos_RUNG)
  find_package(Kokkos ${HISA_KOKKOS_VERSION} CONFIG QUIET)
endif()
set(HISA_KOKKOS_HINT "")
if(Kokkos_FOUND OR Kokkos_RUNG STREQUAL "package")
  set(HISA_KOKKOS_HINT ${Kokkos_DIR})
endif()

set(package_folder ${CMAKE_INSTALL_DATADIR}/cmake/hisa)   # no library, so the same for every architecture
target_include_directories(hisa_headers INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS hisa hisa_headers EXPORT hisaTargets)
install(EXPORT hisaTargets NAMESPACE hisa:: DESTINATION ${package_folder})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/hisaConfig.cmake.in hisaConfig.cmake
  INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(hisaConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/hisaConfig.cmake ${PROJECT_BINARY_DIR}/hisaConfigVersion.cmake
  DESTINATION ${package_folder})
