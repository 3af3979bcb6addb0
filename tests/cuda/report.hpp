// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the device suite says: each check goes through `expect`, each test is an `item` of a
// section.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <string>

namespace suite {

struct Tally {
  long checks = 0, failures = 0, items = 0, skipped = 0;
  Tally since(const Tally& before) const {
    return {checks - before.checks, failures - before.failures, items - before.items,
            skipped - before.skipped};
  }
};
inline Tally tally;

/// One check. Says `what` of the first few that fail.
inline void expect(bool ok, const std::string& what) {
  ++tally.checks;
  if (!ok && ++tally.failures <= 40)
    std::printf("FAILED  %s\n", what.c_str());
}

/// Says that the running item, or a part of it, was left out.
inline void skip(const std::string& why) {
  ++tally.skipped;
  std::printf("skipped %s\n", why.c_str());
}

/// After an exception: ends the program where the device answers no more.
inline void require_device(const std::string& what) {
  if (cudaGetLastError() == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess)
    return;
  std::printf("FAILED  the device is lost at: %s\n", what.c_str());
  std::exit(1);
}

/// Runs a test and prints its line. A test that checks nothing and skips nothing has failed.
template <class Test>
void item(const std::string& name, const Test& test) {
  Tally const before = tally;
  ++tally.items;
  try {
    test();
  } catch (const std::exception& e) {
    expect(false, name + ": " + e.what());
    require_device(name);
  }
  Tally const now = tally.since(before);
  if (now.checks == 0 && now.skipped == 0)
    expect(false, name + ": nothing was checked");
  if (now.checks > 0)
    std::printf("%-7s %s: %ld checks\n", now.failures == 0 ? "ok" : "FAILED", name.c_str(),
                now.checks);
  std::fflush(stdout);
}

/// Runs a section and prints its counts and its time.
template <class Items>
void section(const char* name, const Items& items) {
  std::printf("\n-- %s\n", name);
  Tally const before = tally;
  auto const begin = std::chrono::steady_clock::now();
  items();
  std::chrono::duration<double> const time = std::chrono::steady_clock::now() - begin;
  Tally const now = tally.since(before);
  std::printf("== %s: %ld tests, %ld checks, %ld failures, %ld skipped, %.1f s\n", name, now.items,
              now.checks, now.failures, now.skipped, time.count());
}

/// How often each value of each property of a call was met.
struct Numerically {
  bool operator()(const std::string& a, const std::string& b) const {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  }
};
inline std::map<std::string, std::map<std::string, long, Numerically>> covered;

inline void cover(const std::string& property, const std::string& value) {
  ++covered[property][value];
}
inline void cover(const std::string& property, long long value) {
  cover(property, std::to_string(value));
}

inline void print_covered() {
  std::printf("\n-- covered by calls that were compared with the contract: value (calls)\n");
  for (const auto& [property, values] : covered) {
    std::printf("%s:", property.c_str());
    for (const auto& [value, calls] : values)
      std::printf("  %s (%ld)", value.c_str(), calls);
    std::printf("\n");
  }
}

} // namespace suite
