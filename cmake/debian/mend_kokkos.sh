#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#   mend_kokkos.sh PREFIX
#
# Debian's libkokkos-dev, unpacked into PREFIX, as find_package can use it there: its CMake files name
# /usr/include instead of their own prefix, and static libraries that the package does not contain.
set -eu
targets=$(ls "$1"/usr/lib/*/cmake/Kokkos/KokkosTargets.cmake)
sed -i 's#"/usr/include/#"${_IMPORT_PREFIX}/include/#' "$targets"
for library in $(sed -nE 's#.*"\$\{_IMPORT_PREFIX\}/([^"]*\.a)".*#\1#p' "$(dirname "$targets")"/KokkosTargets-*.cmake | sort -u); do
  [ -e "$1/usr/$library" ] || ar qc "$1/usr/$library"
done
