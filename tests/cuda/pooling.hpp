// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pooled rows equal the reference's to the bit, made at once, in steps, and after a part was taken
// back; no other row is written.
#pragma once

#include "inputs.hpp"
#include "scale.hpp"

namespace suite {

/// Two sequences of a buffer and their rows.
template <class Rule>
class PoolingTest {
public:
  PoolingTest(std::int64_t N, Data data, int size, std::int64_t stride)
      : what_(std::string(Rule::name) + " pooling, " + name(data) + ", B=" + std::to_string(size) +
              ", N=" + std::to_string(N) + ", stride " + std::to_string(stride)),
        p_({.M = 1, .N = N, .data = data, .stride = stride}, 11), k_(p_.k), scale_(p_.scale),
        size_(size), blocks_(2 * (N / size + 1)), begin_{0, std::int32_t(blocks_ / 2)},
        first_{0, std::int32_t(N * 2 / 5)}, d_begin_(begin_), d_first_(first_) {}

  void run() {
    std::int64_t const N = p_.N;
    Lengths const none{0, 0}, some{std::int32_t(N / 6), 1},
        all{std::int32_t(N / 3), std::int32_t(N * 3 / 5 - 10)};
    check("at once", all, [&](const Rows& rows) { rebuild(rows, all); });
    check("in steps", all, [&](const Rows& rows) {
      append(rows, none, some);
      append(rows, some, all);
    });
    check("lengths beyond the buffer", {all[0], std::int32_t(N) - first_[1]},
          [&](const Rows& rows) {
            rebuild(rows, {all[0], std::int32_t(N) + 999});
          });
    check("a rejected draft overwrites no committed row", all, [&](const Rows& rows) {
      Problem const draft({.M = 1, .N = N, .stride = p_.stride}, 12);
      auto mixed = p_.k;
      for (int s = 0; s < 2; ++s) {
        std::int64_t const from = (first_[std::size_t(s)] + some[std::size_t(s)]) * p_.stride;
        std::int64_t const to = (first_[std::size_t(s)] + all[std::size_t(s)]) * p_.stride;
        std::copy(draft.k.begin() + from, draft.k.begin() + to, mixed.begin() + from);
      }
      k_.set(mixed);
      append(rows, none, all); // the draft
      k_.set(p_.k);
      append(rows, some, all); // other tokens in its place
    });
  }

private:
  using Lengths = std::vector<std::int32_t>;
  using Rows = PooledKeys<e4m3fn>;
  std::string what_;
  Problem p_;
  Device<e4m3fn> k_;
  Device<float> scale_;
  int size_;
  std::int64_t blocks_;
  std::vector<std::int32_t> begin_, first_;
  Device<std::int32_t> d_begin_, d_first_;

  ContiguousKeys<e4m3fn> keys() const { return {k_.data, scale_.data, p_.N, D, p_.stride}; }

  void rebuild(const Rows& rows, const Lengths& to) const {
    Device<std::int32_t> const length(to);
    cuda::pool_rebuild<Rule>(nullptr, keys(), rows, {2, nullptr, length.data, d_first_.data});
    synchronize("pool");
  }
  void append(const Rows& rows, const Lengths& from, const Lengths& to) const {
    Device<std::int32_t> const old_length(from), length(to);
    cuda::pool_append<Rule>(nullptr, keys(), rows,
                            {2, old_length.data, length.data, d_first_.data});
    synchronize("pool");
  }

  template <class Pool>
  void check(const char* how, const Lengths& length, const Pool& pool) const {
    std::vector<e4m3fn> values(std::size_t(blocks_ * Rule::rows * D), e4m3fn{0xa5});
    std::vector<float> scales(std::size_t(blocks_ * Rule::rows), std::bit_cast<float>(0xa5a5a5a5u));
    for (std::int64_t s = 0; s < 2; ++s) {
      Visible v;
      v.query = s, v.anchor = v.begin = first_[std::size_t(s)];
      reference::pool<Rule>(p_.keys(),
                            Rows{values.data(), scales.data(), blocks_, size_, D, begin_.data()}, v,
                            length[std::size_t(s)]);
    }
    Device<e4m3fn> const d_values(values.size());
    Device<float> const d_scales(scales.size());
    pool(Rows{d_values.data, d_scales.data, blocks_, size_, D, d_begin_.data});
    auto const v = d_values.host();
    auto const sc = d_scales.host();
    expect(std::memcmp(v.data(), values.data(), v.size()) == 0 &&
               std::memcmp(sc.data(), scales.data(), sc.size() * 4) == 0 && d_values.intact() &&
               d_scales.intact(),
           what_ + ": " + how);
  }
};

inline void pooling(const Scale& scale) {
  for (Data data :
       {Data::random, Data::zeros, Data::nan_scales, Data::nan_values, Data::infinite_scales})
    item(std::string("pooling, ") + name(data), [&] {
      for (int size : {128, 64, 32, 16, 24})
        PoolingTest<MeanPool>(2 * scale.N + 1, data, size, size == 64 ? 160 : D).run();
      PoolingTest<MaxPool>(2 * scale.N, data, 64, D).run();
      PoolingTest<SubMeanPool<4>>(2 * scale.N, data, 64, D).run();
    });
}

} // namespace suite
