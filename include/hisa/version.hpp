// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Version macros, usable in preprocessor conditions. The release is stated here and nowhere else:
/// CMake reads these lines.
#pragma once

#define HISA_VERSION_MAJOR 0
#define HISA_VERSION_MINOR 1
#define HISA_VERSION_PATCH 0

/// The version as one number that compares: major * 10000 + minor * 100 + patch.
#define HISA_VERSION (HISA_VERSION_MAJOR * 10000 + HISA_VERSION_MINOR * 100 + HISA_VERSION_PATCH)
