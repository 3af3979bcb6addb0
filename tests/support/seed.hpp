// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The seed of a random test: another one in each run, printed; HISA_SEED replays one.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace hisa_test {

inline std::uint64_t run_seed() {
  static std::uint64_t const seed = [] {
    const char* const given = std::getenv("HISA_SEED");
    std::uint64_t const chosen = given != nullptr ? std::strtoull(given, nullptr, 10)
                                                  : std::uint64_t(std::random_device()());
    std::printf("HISA_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return seed;
}

} // namespace hisa_test
