// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What is known of the device, and CUDA's errors as exceptions.
#pragma once

#include <hisa/cuda/task.cuh>
#include <hisa/error.hpp>

#include <cuda_runtime.h>

#include <cstdint>
#include <limits>
#include <string>

HISA_NAMESPACE_BEGIN
namespace cuda {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    hisa::detail::fail<launch_error>(std::string("hisa::cuda: ") + what + ": " +
                                     cudaGetErrorString(error));
}

/// Says by its number of threads whether this program's code for the device was compiled for
/// sm_90a: code for plain sm_90 runs there too, but is without the tensor core's asynchronous
/// products.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HISA_COMPILED_FOR 96
#else
#define HISA_COMPILED_FOR 32
#endif
template <int = 0>
__global__ void __launch_bounds__(HISA_COMPILED_FOR) compiled_for() {}
#undef HISA_COMPILED_FOR

/// The most keys, or heads of queries, that the kernels count to.
inline constexpr std::int64_t max_rows = std::numeric_limits<std::int32_t>::max() - 256;

/// What the launches depend on.
struct Device {
  int architecture = 0; ///< 90 for sm_90
  int processors = 0;   ///< multiprocessors
  bool sm_90a = false;  ///< the program has code for sm_90a
  // Where the flat kernel is faster than rows of scores, as measured (bench/README.md): flat calls
  // whose rows are worked on so many at a time or fewer, with so many keys or more.
  std::int64_t few_rows = 0, flat_keys = std::int64_t(1) << 17;
  std::int32_t sift_topk = 2048; ///< flat calls of so many winners or fewer sift; 2048 at most
  // Queries of a call up to which keys stay and queries pass by (pairs.cuh). Measured faster for
  // 64, 128 and 512, on trained and random data, slower for 768 on trained data (bench/README.md).
  std::int64_t pair_queries = 512;

  static Device current() {
    Device d;
    int device = 0, major = 0, minor = 0;
    check(cudaGetDevice(&device), "no device");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "attribute");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "attribute");
    check(cudaDeviceGetAttribute(&d.processors, cudaDevAttrMultiProcessorCount, device),
          "attribute");
    d.architecture = 10 * major + minor;
    d.few_rows = d.processors;
    cudaFuncAttributes code = {};
    if (cudaFuncGetAttributes(&code, compiled_for<>) == cudaSuccess)
      d.sm_90a = code.maxThreadsPerBlock == 96;
    else
      cudaGetLastError(); // a program without code for the device is no error here
    return d;
  }

  /// Queries of a group for each multiprocessor.
  std::int64_t round() const { return std::int64_t(group_queries) * processors; }
  /// Whether a flat call may do without rows of scores: the buffer's keys are many, and hardly a
  /// multiprocessor is idle. The sift kernel divides groups of queries (sift.cuh), the flat kernel
  /// takes whole ones (flat.cuh).
  bool suits_contenders(std::int64_t queries, std::int64_t keys, bool sifts) const {
    std::int64_t const groups = (queries + group_queries - 1) / group_queries;
    std::int64_t const rounds = sifts ? 1 : (queries + round() - 1) / round();
    std::int64_t const places = rounds * processors;
    return keys >= flat_keys && (places - groups) * 32 <= places;
  }

  /// Why there are no kernels for the device: "ARGUMENT is FOUND, expected EXPECTED", or empty.
  std::string not_covered() const {
    using hisa::detail::unlike;
    if (architecture != 90)
      return unlike("the device's architecture", architecture, "90 (sm_90a)");
    if (!sm_90a)
      return unlike("the program's code for the device", "not for sm_90a",
                    "code of -gencode arch=compute_90a,code=sm_90a");
    return "";
  }
};

} // namespace cuda
HISA_NAMESPACE_END
