// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How much the device suite does: all of it; a part that is bearable under compute-sanitizer; or
// what an emulation of the device gets done.
#pragma once

#include "device.hpp"
#include "report.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace suite {

struct Scale {
  std::string name;
  std::int64_t all;    ///< calls of up to so many query-key pairs are all made;
  std::int64_t most;   ///< calls of more than so many are left out;
  std::int64_t thin;   ///< of those between, one in so many is made
  std::int64_t M, N;   ///< the call of the sections that look at one call in many ways,
  int topk;            ///< and its k
  std::int64_t row;    ///< the longest row of scores
  int repeats;         ///< of a call that must give the same bits
  std::size_t memory;  ///< device bytes that a test may take
  bool large = false;  ///< the calls of serving sizes are made
  bool threads = true; ///< several threads of the host may call at the same time

  /// Whether call number `i` of a list is made.
  bool takes(std::int64_t pairs, std::int64_t i) const {
    return pairs <= all || (pairs <= most && i % thin == 0);
  }
};

inline Scale full() {
  Scale s{"full", 1 << 24, 1 << 24, 1, 1024, 6000, 512, 1 << 21, 1000, std::size_t(10) << 30};
  s.large = true;
  return s;
}
inline Scale reduced() {
  return {"reduced", 2500, 120000, 8, 22, 1500, 100, 20000, 4, std::size_t(1) << 28};
}
inline Scale tiny() {
  Scale s{"tiny", 400, 2500, 6, 6, 300, 40, 2049, 2, std::size_t(1) << 24};
  s.threads = false;
  return s;
}

/// Whether the test may take so much device memory, and gets it. Says why not.
inline bool affordable(const Scale& scale, std::size_t bytes) {
  std::string const size = std::to_string(bytes >> 20) + " MiB of device memory";
  if (bytes > scale.memory)
    return skip("needs " + size), false;
  void* memory = nullptr;
  bool const there = cudaMalloc(&memory, bytes) == cudaSuccess;
  if (there)
    cudaFree(memory);
  else
    cudaGetLastError(), skip("there are no " + size);
  return there;
}

} // namespace suite
