// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scores by themselves, of what each query sees: the bits that they have among all keys, in their
// places, and nothing else written.
#pragma once

#include "contract.hpp"

namespace suite {

inline void score_ranges(const Case& c) {
  Problem const p(c, 61);
  Inputs const in(p, {});
  std::int64_t const stride = c.N + 5;
  Device<float> const out(std::size_t(c.M * stride));
  cuda::score(nullptr, in.queries(), in.keys(), in.ranges(), out.data, stride, c.arithmetic);
  synchronize("score");
  auto const got = out.host();
  ScoreTable const all(in, {0, c.M}, in.keys(), c.arithmetic);
  check_scores(c, p, all);
  for (std::int64_t t = 0; t < c.M; ++t) {
    Visible const v = p.ranges().visible(t, c.N);
    bool right = true;
    for (std::int64_t i = 0; i < stride; ++i) {
      auto const bits = std::bit_cast<std::uint32_t>(got[std::size_t(t * stride + i)]);
      right = right && bits == (i < v.count() ? std::bit_cast<std::uint32_t>(all.of(t, v.begin + i))
                                              : 0xa5a5a5a5u);
    }
    expect(right, "scores of " + c.text() + ": query " + std::to_string(t));
  }
  expect(out.intact(), "scores of " + c.text() + ": nothing is written behind them");
}

inline void score() {
  for (int heads : {64, 32})
    for (Arithmetic a : {Arithmetic::native, Arithmetic::precise})
      for (Case c : {Case{.M = 9, .N = 700}, Case{.M = 9, .N = 700, .first = 77},
                     Case{.M = 7, .N = 500, .first = 13, .anchor = 5},
                     Case{.M = 10, .N = 900, .packed = true, .stride = 144},
                     Case{.M = 6, .N = 400, .data = Data::nan_values, .first = 131}}) {
        c.H = heads, c.arithmetic = a;
        item("scores of " + c.text(), [&] { score_ranges(c); });
      }
}

} // namespace suite
