// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What every header needs to know of the compiler: device annotations, exceptions, the namespace.
#pragma once

#include <hisa/version.hpp>

/// Marks a function that host and device code may both call. Empty for a plain C++ compiler.
#if defined(__CUDACC__) || defined(__HIPCC__)
#define HISA_FUNCTION __host__ __device__
#else
#define HISA_FUNCTION
#endif

/// 1 where exceptions are enabled, 0 under -fno-exceptions (see hisa/error.hpp).
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
#define HISA_HAS_EXCEPTIONS 1
#else
#define HISA_HAS_EXCEPTIONS 0
#endif

/// Everything lives in `hisa`, inside an inline namespace that names the version and the options
/// that change layouts or signatures. Two translation units that disagree fail to link instead of
/// sharing a symbol.
#if HISA_HAS_EXCEPTIONS
#define HISA_ABI_NAMESPACE v0_1
#else
#define HISA_ABI_NAMESPACE v0_1_noexcept
#endif

#define HISA_NAMESPACE_BEGIN                                                                       \
  namespace hisa {                                                                                 \
  inline namespace HISA_ABI_NAMESPACE {
#define HISA_NAMESPACE_END                                                                         \
  }                                                                                                \
  }

/// What depends on the host's vector instructions lives in an inline namespace that names them, so
/// that translation units compiled for several CPUs can be linked into one program. The contract
/// types do not depend on them.
#if defined(__AVX512F__)
#define HISA_HOST_ISA avx512
#elif defined(__AVX__) && defined(__FMA__)
#define HISA_HOST_ISA avx_fma
#elif defined(__AVX__)
#define HISA_HOST_ISA avx
#elif defined(__FMA__)
#define HISA_HOST_ISA fma
#else
#define HISA_HOST_ISA baseline
#endif
