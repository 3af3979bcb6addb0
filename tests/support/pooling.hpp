// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Pooling on the device and by the reference, for contiguous keys and for pages.
#pragma once

#include "paged.hpp"

#include <catch2/catch_test_macros.hpp>

#include <optional>

namespace hisa_test {

using Ints = std::vector<std::int32_t>;

/// True when both hold the same bytes.
template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}
template <class T>
bool same_rows(const Pooled<T>& a, const Pooled<T>& b) {
  return same_bytes(a.values, b.values) && same_bytes(a.scales, b.scales);
}

/// Pools on the device into a copy of `before`: appends where there are old lengths, else rebuilds.
template <class Rule, class E, class Keys>
Pooled<E> pool_on_device(const Keys& keys, const Pooled<E>& before,
                         const std::optional<Ints>& old_length, const Ints& new_length,
                         const Ints& begin = {}, const Ints& first_blocks = {}) {
  DevicePooled<E> const pooled(before, first_blocks);
  Device<std::int32_t> const old_lengths(old_length.value_or(Ints())), new_lengths(new_length),
      begins(begin);
  hisa::Sequences sequences;
  sequences.count = std::int64_t(new_length.size());
  sequences.new_length = new_lengths.data();
  sequences.begin = begin.empty() ? nullptr : begins.data();
  Exec const exec;
  if (old_length) {
    sequences.old_length = old_lengths.data();
    hisa::pool_append<Rule>(exec, keys, pooled.view, sequences);
  } else {
    // A rebuild must not look at old lengths: these would make it skip everything.
    Device<std::int32_t> const misleading(Ints(new_length.size(), 1 << 30));
    sequences.old_length = misleading.data();
    hisa::pool_rebuild<Rule>(exec, keys, pooled.view, sequences);
    exec.fence();
  }
  exec.fence();
  Pooled<E> after = before;
  after.values = pooled.values.host();
  after.scales = pooled.scales.host();
  after.view.values = after.values.data();
  after.view.scales = after.scales.empty() ? nullptr : after.scales.data();
  return after;
}

/// One sequence of contiguous keys.
template <class Rule = hisa::MeanPool, class T, class E>
Pooled<E> rebuild(const Problem<T>& p, const Pooled<E>& before, std::int32_t length) {
  DeviceProblem<T> const d(p);
  return pool_on_device<Rule>(d.keys, before, std::nullopt, {length});
}
template <class Rule = hisa::MeanPool, class T, class E>
Pooled<E> append(const Problem<T>& p, const Pooled<E>& before, std::int32_t old_length,
                 std::int32_t new_length) {
  DeviceProblem<T> const d(p);
  return pool_on_device<Rule>(d.keys, before, Ints{old_length}, {new_length});
}

/// The specification's rows of the first `length` keys, in a buffer like `before`.
template <class Rule = hisa::MeanPool, class T, class E>
Pooled<E> specified(const Problem<T>& p, const Pooled<E>& before, std::int64_t length) {
  Pooled<E> pooled = before;
  hisa::reference::pool<Rule>(p.keys(), pooled.view, hisa::Visible{}, length);
  return pooled;
}

template <class Rule, class T>
void require_rebuilt(const Problem<T>& p, int block_size) {
  Pooled<hisa::pooled_element<Rule, T>> const before(p.N / block_size + 2, block_size, p.D,
                                                     Rule::rows);
  INFO("N = " << p.N << ", D = " << p.D << ", B = " << block_size);
  bool const equal =
      same_rows(rebuild<Rule>(p, before, std::int32_t(p.N)), specified<Rule>(p, before, p.N));
  REQUIRE(equal);
}

/// The rows that a paged cache's sequences make, by the specification.
template <class Rule = hisa::MeanPool, class T, class E>
Pooled<E> specified_pages(const PagedProblem<T>& p, const std::vector<std::byte>& bytes,
                          Pooled<E> pooled, const Ints& lengths) {
  for (std::int64_t s = 0; s < std::int64_t(lengths.size()); ++s) {
    hisa::Visible v;
    v.sequence = s;
    hisa::reference::pool<Rule>(p.keys(bytes.data(), p.table.data()), pooled.view, v,
                                lengths[std::size_t(s)]);
  }
  return pooled;
}

template <class Rule = hisa::MeanPool, class T>
auto paged_buffer(const PagedProblem<T>& p, int block_size, int rows = Rule::rows) {
  return Pooled<hisa::pooled_element<Rule, T>>(
      p.pages_in_cache * std::max(1, p.page_size / block_size), block_size, p.D, rows);
}

template <class Rule = hisa::MeanPool, class T, class E>
Pooled<E> pool_pages(const PagedProblem<T>& p, const std::vector<std::byte>& bytes,
                     const Pooled<E>& before, const std::optional<Ints>& old_length,
                     const Ints& new_length) {
  Device<std::byte> const cache(bytes);
  Device<std::int32_t> const table(p.table);
  return pool_on_device<Rule>(p.keys(cache.data(), table.data()), before, old_length, new_length);
}

} // namespace hisa_test
