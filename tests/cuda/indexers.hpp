// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls of every shape, budget and option that the indexers have, each against the contract.
#pragma once

#include "contract.hpp"
#include "scale.hpp"

namespace suite {

/// Makes the calls of a list that the scale takes.
inline void run_all(const Scale& scale, const std::vector<Case>& cases) {
  std::int64_t i = 0;
  for (const Case& c : cases)
    if (++i; scale.takes(c.M * c.N, i))
      item(c.text(), [&] { run(c, unsigned(i)); });
}

/// Data that is hard to select from, and the boundary options.
inline std::vector<Case> adversarial_cases() {
  std::vector<Case> all;
  for (Data d : all_data) {
    all.push_back({.M = 13, .N = 3000, .topk = 257, .data = d});
    all.push_back({.M = 13, .N = 3000, .levels = {{128, 8}}, .topk = 257, .data = d});
    all.push_back({.M = 9, .N = 3000, .H = 32, .levels = {{16, 40}}, .topk = 257, .data = d});
    all.push_back({.M = 2, .N = 200, .levels = {{16, 5}}, .topk = 37, .data = d});
    for (int heads : {64, 32})
      all.push_back({.M = 6,
                     .N = 2000,
                     .H = heads,
                     .levels = {{128, 8}},
                     .topk = 257,
                     .data = d,
                     .arithmetic = Arithmetic::precise});
  }
  for (Boundary b : all_boundaries) {
    for (int size : {128, 64, 32, 16}) {
      int const m = 1536 / size;
      all.push_back(
          {.M = 37, .N = 2500, .levels = {{size, m}}, .topk = 500, .boundary = b, .first = 77});
      all.push_back({.M = 22,
                     .N = 2500,
                     .H = 32,
                     .levels = {{size, m}},
                     .topk = 500,
                     .boundary = b,
                     .first = 77,
                     .anchor = 40});
      all.push_back({.M = 22,
                     .N = 2500,
                     .levels = {{size, 512 / size}},
                     .topk = 300,
                     .boundary = b,
                     .packed = true});
      all.push_back({.M = 22,
                     .N = 2500,
                     .levels = {{size, 512 / size}},
                     .topk = 300,
                     .boundary = b,
                     .anchor = 0,
                     .packed = true});
    }
    all.push_back({.M = 3,
                   .N = 300,
                   .levels = {{16, 4}},
                   .topk = 50,
                   .boundary = b,
                   .first = 21,
                   .anchor = 10});
    all.push_back({.M = 2, .N = 400, .levels = {{128, 1}}, .topk = 60, .boundary = b});
    all.push_back(
        {.M = 4, .N = 250, .levels = {{64, 2}, {8, 7}}, .topk = 40, .boundary = b, .packed = true});
    all.push_back(
        {.M = 21, .N = 5000, .levels = {{512, 5}, {64, 20}, {8, 96}}, .topk = 701, .boundary = b});
  }
  return all;
}

/// Flat calls whose scores are not stored, but contenders among them.
inline std::vector<Case> flat_kernel_cases() {
  std::vector<Case> all;
  for (Data d : all_data) {
    all.push_back({.M = 4, .N = 12288, .topk = 1, .data = d, .flat_ctas = 1});
    // Of a reduced suite too: lists are reduced twice, the second time of any length.
    all.push_back({.M = 5, .N = 20001, .topk = 2048, .data = d, .flat_ctas = 2});
    for (int heads : {64, 32})
      for (Arithmetic a : {Arithmetic::native, Arithmetic::precise})
        all.push_back({.M = 8,
                       .N = 7000,
                       .H = heads,
                       .topk = 257,
                       .data = d,
                       .arithmetic = a,
                       .flat_ctas = 2});
  }
  all.push_back({.M = 16, .N = 60001, .topk = 2048, .flat_ctas = 4});
  all.push_back({.M = 4, .N = 30000, .topk = 4096, .flat_ctas = 1});
  all.push_back({.M = 8, .N = 9000, .topk = 500, .first = 77, .flat_ctas = 1});
  all.push_back({.M = 22, .N = 12000, .topk = 300, .packed = true, .flat_ctas = 2});
  all.push_back({.M = 12,
                 .N = 6000,
                 .topk = 300,
                 .first = 3001,
                 .base = IndexBase::absolute,
                 .stride = 144,
                 .flat_ctas = 1});
  all.push_back({.M = 8, .N = 7000, .topk = 300, .limit = 700'000, .flat_ctas = 1}); // in two steps
  all.push_back({.M = 20, .N = 20, .topk = 16, .flat_ctas = 5}); // some see fewer than k
  all.push_back({.M = 3, .N = 3, .topk = 2048, .flat_ctas = 1});
  return all;
}

/// Flat calls whose scores are listed where they reach a bound.
inline std::vector<Case> sift_kernel_cases() {
  std::vector<Case> all;
  for (Data d : all_data) {
    all.push_back({.M = 4, .N = 12288, .topk = 1, .data = d, .flat_ctas = 1});
    all.push_back({.M = 5, .N = 20001, .topk = 2048, .data = d, .flat_ctas = 2});
    for (int heads : {64, 32})
      for (Arithmetic a : {Arithmetic::native, Arithmetic::precise})
        all.push_back({.M = 17, // five groups, of which three CTAs share two
                       .N = 7000,
                       .H = heads,
                       .topk = 257,
                       .data = d,
                       .arithmetic = a,
                       .flat_ctas = 3});
  }
  all.push_back({.M = 22, .N = 150001, .topk = 2048, .flat_ctas = 4}); // more than a window
  all.push_back({.M = 8, .N = 9000, .topk = 500, .first = 77, .flat_ctas = 1});
  all.push_back({.M = 22, .N = 12000, .topk = 300, .packed = true, .flat_ctas = 5});
  all.push_back({.M = 12,
                 .N = 6000,
                 .topk = 300,
                 .first = 3001,
                 .base = IndexBase::absolute,
                 .stride = 144,
                 .flat_ctas = 2});
  all.push_back(
      {.M = 8, .N = 7000, .topk = 300, .limit = 1'200'000, .flat_ctas = 1}); // in two steps
  all.push_back({.M = 20, .N = 20, .topk = 16, .flat_ctas = 5}); // some see fewer than k
  all.push_back({.M = 3, .N = 3, .topk = 2048, .flat_ctas = 1});
  all.push_back({.M = 6, .N = 3000, .topk = 2048, .flat_ctas = 2}); // too few for a bound
  for (Case& c : all)
    c.sifts = true;
  return all;
}

/// What is small, tight or at an end.
inline std::vector<Case> odd_cases() {
  return {
      {.M = 40, .N = 9000, .levels = {{128, 20}, {16, 64}}, .topk = 777},
      {.M = 40,
       .N = 9000,
       .levels = {{128, 20}, {16, 64}},
       .topk = 777,
       .boundary = Boundary::extra,
       .first = 5},
      {.M = 40,
       .N = 9000,
       .H = 32,
       .levels = {{128, 20}, {16, 64}},
       .topk = 777,
       .data = Data::ties,
       .boundary = Boundary::none,
       .first = 5,
       .anchor = 3},
      {.M = 1, .N = 1, .levels = {{128, 1}}, .topk = 128},
      {.M = 1, .N = 200, .levels = {{128, 1}}, .topk = 100},
      {.M = 5, .N = 300, .levels = {{128, 2}}, .topk = 256},
      {.M = 8,
       .N = 200,
       .levels = {{64, 2}},
       .topk = 128,
       .boundary = Boundary::none,
       .first = 70,
       .anchor = 1}, // 128 keys in three blocks
      {.M = 200, .N = 200, .levels = {{64, 2}}, .topk = 128},
      {.M = 5, .N = 5, .topk = 2048}, // some see nothing but themselves
      {.M = 9, .N = 5, .topk = 3},    // some see nothing at all
      {.M = 64, .N = 70, .levels = {{128, 64}}, .topk = 2048},
      {.M = 3, .N = 333, .levels = {{24, 9}}, .topk = 101}, // pieces of 8
      {.M = 12, .N = 3333, .levels = {{48, 30}}, .topk = 401},
      {.M = 12, .N = 3333, .levels = {{256, 8}}, .topk = 401},
      {.M = 23, .N = 9000, .levels = {{1024, 4}, {128, 12}}, .topk = 777},
      {.M = 2, .N = 300, .topk = 33, .stride = 144},
      {.M = 21, .N = 20000, .levels = {{128, 64}}, .topk = 2048, .base = IndexBase::absolute},
      {.M = 21, .N = 20000, .levels = {{16, 512}}, .topk = 2048, .boundary = Boundary::extra},
      {.M = 21, .N = 20000, .levels = {{128, 64}}, .topk = 8000},
      {.M = 6, .N = 70000, .levels = {{16, 3968}}, .topk = 2048},  // the largest m
      {.M = 6, .N = 30000, .levels = {{128, 200}}, .topk = 14336}, // the largest k
      {.M = 6, .N = 20000, .levels = {{32, 900}}, .topk = 2048},   // some small m
      {.M = 21, .N = 20000, .topk = 2048, .first = 9, .limit = std::size_t(1) << 20},
  };
}

inline void flat_kernel(const Scale& scale) {
  run_all(scale, flat_kernel_cases());
  run_all(scale, sift_kernel_cases());
}
inline void adversarial(const Scale& scale) {
  run_all(scale, adversarial_cases());
}
inline void odd(const Scale& scale) {
  run_all(scale, odd_cases());
}

/// Every path with every k and every M, while the other properties go round.
class Rounds {
public:
  explicit Rounds(bool large) : large_(large) {}

  std::vector<Case> cases() {
    std::vector<Case> all;
    for (int path = 0; path < paths; ++path) {
      for (int k : {1, 2, 511, 512, 2047, 2048, 4096})
        all.push_back(next(path, 1 + 4 * (round_ % 2), k));
      for (std::int64_t M : {1, 2, 3, 4, 5, 17, 1023, 1024})
        if (large_ || M < 1000)
          all.push_back(next(path, M, M > 17 ? 63 : 15));
    }
    return all;
  }

private:
  static constexpr int paths = 6;
  bool large_;
  int round_ = 0;

  Case next(int path, std::int64_t M, int k) {
    constexpr int sizes[] = {0, 128, 64, 32, 16, 128};
    int const r = round_++;
    Case c{.M = M, .N = 2 * k + 1201 + M / 2 * 2, .H = r % 2 != 0 ? 32 : 64, .topk = k};
    if (k < 100)
      c.N = 151 + 14 * r % 50 * 2 + M;
    int const size = sizes[path], m = size == 0 ? 0 : (k + 100) / size + 2;
    if (path > 0)
      c.levels.push_back({size, m});
    if (path == 5)
      c.levels.push_back({16, k / 16 + 2});
    c.data = r % 4 == 3 ? all_data[std::size_t(r / 4) % all_data.size()] : Data::random;
    c.boundary = all_boundaries[std::size_t(r) % 3];
    c.base = r % 5 < 2 ? IndexBase::absolute : IndexBase::relative;
    c.first = r % 7 == 3 ? 51 : 0;
    c.anchor = r % 11 < 4 ? c.first * 2 / 3 : -1;
    c.packed = r % 3 == 1 && c.first == 0;
    c.stride = r % 4 == 2 ? D + 16 * (r % 9 + 1) : D;
    c.arithmetic = r % 5 == 3 ? Arithmetic::precise : Arithmetic::native;
    return c;
  }
};

inline void rounds(const Scale& scale) {
  run_all(scale, Rounds(scale.large).cases());
}

/// The calls that a server makes, up to a million keys.
inline void serving(const Scale& scale) {
  if (!scale.large)
    return skip("serving sizes: only at full scale");
  std::vector<Case> const cases = {
      {.M = 1024, .N = 65537, .levels = {{128, 64}}, .topk = 2048},
      {.M = 1024,
       .N = 65537,
       .levels = {{128, 64}},
       .topk = 2048,
       .arithmetic = Arithmetic::precise},
      {.M = 1023, .N = 131071, .levels = {{16, 512}}, .topk = 2048},
      {.M = 1024, .N = 131071, .topk = 2048, .packed = true},
      {.M = 1024, .N = 262145, .topk = 2048, .limit = std::size_t(131) << 20}, // the flat kernel
      {.M = 1024, .N = 1000003, .levels = {{128, 64}}, .topk = 2048},
      {.M = 17, .N = 1048575, .topk = 2047},
      {.M = 33,
       .N = 1048575,
       .H = 32,
       .levels = {{128, 512}, {16, 512}},
       .topk = 2048,
       .boundary = Boundary::extra},
      {.M = 8192, .N = 65537, .levels = {{128, 64}}, .topk = 2048, .base = IndexBase::absolute},
      {.M = 8192, .N = 32769, .levels = {{64, 128}}, .topk = 2048, .data = Data::ties},
      {.M = 8192, .N = 16385, .H = 32, .topk = 4096},
  };
  for (const Case& c : cases)
    item(c.text(), [&] { run(c); });
}

} // namespace suite
