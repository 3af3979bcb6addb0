// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiling this file is the test: the version macros work in the preprocessor, and the package that
// CMake exports carries the same numbers.
#include <hisa/version.hpp>

#if HISA_VERSION < 100
#error "HISA_VERSION compares in the preprocessor"
#endif

static_assert(HISA_VERSION ==
              HISA_VERSION_MAJOR * 10000 + HISA_VERSION_MINOR * 100 + HISA_VERSION_PATCH);
static_assert(HISA_VERSION_MINOR < 100 && HISA_VERSION_PATCH < 100, "else HISA_VERSION is ambiguous");
static_assert(HISA_VERSION_MAJOR == PACKAGE_MAJOR);
static_assert(HISA_VERSION_MINOR == PACKAGE_MINOR);
static_assert(HISA_VERSION_PATCH == PACKAGE_PATCH);
