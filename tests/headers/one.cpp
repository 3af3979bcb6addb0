// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiled once per header, which comes first and alone; the second time it must add nothing.
#include HISA_HEADER
#include HISA_HEADER
