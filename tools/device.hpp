// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A dump in device memory, and its keys pooled.
#pragma once

#include "dump.hpp"
#include "fidelity.hpp"

#include <hisa/hisa.hpp>

#include <algorithm>
#include <chrono>
#include <span>
#include <vector>

namespace hisa::tools {

using Exec = Kokkos::DefaultExecutionSpace;
template <class T>
using Memory = Kokkos::View<T*, Kokkos::LayoutRight, Exec::memory_space>;

template <class T>
Memory<T> to_device(std::span<const T> host) {
  Memory<T> const device(Kokkos::view_alloc(Kokkos::WithoutInitializing, "hisa-eval"), host.size());
  Kokkos::deep_copy(device, Kokkos::View<const T*, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(
                                host.data(), host.size()));
  return device;
}

/// Copies to `to`, which has room for it.
template <class T>
void to_host(const Memory<T>& from, T* to) {
  Kokkos::deep_copy(
      Kokkos::View<T*, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(to, from.extent(0)), from);
}

/// Queries of a call: few enough to show progress within seconds, else as many as are worth it.
inline std::int64_t queries_per_call(std::int64_t keys) {
  return std::clamp((std::int64_t(1) << 22) / keys, std::int64_t(4), std::int64_t(64));
}

/// Some rows of a dump in device memory.
struct Tensors {
  Memory<e4m3fn> q, k;
  Memory<float> w, k_scale;
  Memory<std::int32_t> ks, ke;
  Queries<e4m3fn> queries;
  ContiguousKeys<e4m3fn> keys;

  Tensors(const Dump& dump, const RowRange& rows)
      : q(to_device(dump.q)), k(to_device(dump.k)), w(to_device(dump.w)),
        k_scale(to_device(dump.k_scale)), ks("hisa-eval", std::size_t(rows.count())) {
    std::vector<std::int32_t> end;
    for (std::int32_t row = rows.first; row < rows.end; ++row)
      end.push_back(dump.pos[std::size_t(row)] + 1);
    ke = to_device(std::span<const std::int32_t>(end));
    std::int64_t const weights = std::int64_t(rows.first) * dump.heads;
    queries = {q.data() + weights * dump.head_dim, w.data() + weights, rows.count(), dump.heads,
               dump.head_dim};
    keys = {k.data(), k_scale.data(), dump.keys, dump.head_dim, 0};
  }

  /// `count` queries from the first-th on, and what they see.
  Queries<e4m3fn> some_queries(std::int64_t first, std::int64_t count) const {
    Queries<e4m3fn> some = queries;
    some.values += first * some.heads * some.head_dim;
    some.weights += first * some.heads;
    some.count = count;
    return some;
  }
  Ranges ranges(std::int64_t first) const { return {ks.data() + first, ke.data() + first}; }
};

/// One level of a dump's keys, pooled by a rule.
template <PoolingRule Rule>
struct PooledLevel {
  using Row = pooled_element<Rule, e4m3fn>;
  Memory<Row> values;
  Memory<float> scales;
  PooledKeys<Row> view;
  double seconds = 0; ///< that pooling took

  PooledLevel(const Exec& exec, const Tensors& tensors, int block_size) {
    std::int32_t const length = static_cast<std::int32_t>(tensors.keys.count);
    std::int64_t const blocks = length / block_size, rows = blocks * Rule::rows;
    values = Memory<Row>("hisa-eval", std::size_t(rows * tensors.keys.head_dim));
    scales = Memory<float>("hisa-eval", std::size_t(rows));
    view = {values.data(), scales.data(), blocks, block_size, tensors.keys.head_dim, nullptr};
    auto const lengths = to_device(std::span<const std::int32_t>(&length, 1));
    auto const start = std::chrono::steady_clock::now();
    pool_rebuild<Rule>(exec, tensors.keys, view, {.count = 1, .new_length = lengths.data()});
    exec.fence();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
};

} // namespace hisa::tools
