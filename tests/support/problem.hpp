// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Problems on the host (queries, keys, visibility, pooled levels), their copies on the device, and
/// one call that runs an indexer on a problem and brings the result back.
#pragma once

#include "device.hpp"

#include <hisa/hisa.hpp>
#include <hisa/reference.hpp>

#include <bit>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

namespace hisa_test {

using Random = std::mt19937_64;

/// A random element: unit normal values, rounded to the type.
template <class T>
T random_element(Random& random, float deviation = 1.0f) {
  std::normal_distribution<float> normal(0.0f, deviation);
  return hisa::Element<T>::from_float(normal(random));
}

/// Queries, contiguous keys and ranges in host memory.
template <class T>
struct Problem {
  std::int64_t M = 0, N = 0;
  int H = 0, D = 0;
  std::vector<T> q, k;
  std::vector<float> w, k_scale;
  std::vector<std::int32_t> ks, ke, anchor, begin; ///< anchor, begin: empty means null

  static Problem random(std::uint64_t seed, std::int64_t M, std::int64_t N, int H, int D) {
    Random random(seed);
    Problem p;
    p.M = M, p.N = N, p.H = H, p.D = D;
    for (std::int64_t i = 0; i < M * H * D; ++i)
      p.q.push_back(random_element<T>(random));
    for (std::int64_t i = 0; i < N * D; ++i)
      p.k.push_back(random_element<T>(random));
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < M * H; ++i)
      p.w.push_back(normal(random));
    if (hisa::Element<T>::quantised)
      for (std::int64_t i = 0; i < N; ++i)
        p.k_scale.push_back(std::exp(0.3f * normal(random)));
    p.causal(0);
    return p;
  }

  /// Query t sees the keys [first, N - M + t + 1), as in a prefill chunk at the end of a prefix.
  void causal(std::int32_t first) {
    ks.assign(std::size_t(M), first);
    ke.resize(std::size_t(M));
    for (std::int64_t t = 0; t < M; ++t)
      ke[std::size_t(t)] = std::int32_t(N - M + t + 1);
  }

  hisa::Queries<T> queries() const { return {q.data(), w.data(), M, H, D}; }
  hisa::ContiguousKeys<T> keys() const {
    return {k.data(), k_scale.empty() ? nullptr : k_scale.data(), N, D, 0};
  }
  hisa::Ranges ranges() const {
    return {ks.data(), ke.data(), anchor.empty() ? nullptr : anchor.data()};
  }
};

/// The pooled rows of one level in host memory.
template <class T>
struct Pooled {
  std::vector<T> values;
  std::vector<float> scales;
  hisa::PooledKeys<T> view;

  Pooled() = default;
  Pooled(std::int64_t blocks, int block_size, int head_dim, int rows = 1)
      : values(std::size_t(blocks * rows * head_dim), hisa::Element<T>::from_float(7.0f)) {
    if (hisa::Element<T>::quantised)
      scales.assign(std::size_t(blocks * rows), 3.0f);
    view.blocks = blocks;
    view.block_size = block_size;
    view.head_dim = head_dim;
    view.values = values.data();
    view.scales = scales.empty() ? nullptr : scales.data();
  }
  Pooled(const Pooled& other) { *this = other; }
  Pooled& operator=(const Pooled& other) {
    values = other.values, scales = other.scales, view = other.view;
    view.values = values.data();
    view.scales = scales.empty() ? nullptr : scales.data();
    return *this;
  }
};

/// Pools the sequence of the problem's keys that starts at `anchor`, by the reference.
template <class T, class Rule = hisa::MeanPool>
auto pool_reference(const Problem<T>& p, int block_size, std::int64_t anchor = 0) {
  Pooled<hisa::pooled_element<Rule, T>> pooled((p.N - anchor) / block_size, block_size, p.D,
                                               Rule::rows);
  hisa::Visible v;
  v.anchor = v.begin = anchor;
  hisa::reference::pool<Rule>(p.keys(), pooled.view, v, p.N - anchor);
  return pooled;
}

/// Device memory for the outputs of a call, filled with values that no call writes.
struct DeviceSelection {
  Device<std::int32_t> indices, counts;
  Device<float> scores;
  std::int64_t topk;

  DeviceSelection(std::int64_t M, int k)
      : indices(std::vector<std::int32_t>(std::size_t(M * k), -77)),
        counts(std::vector<std::int32_t>(std::size_t(M), -77)),
        scores(std::vector<float>(std::size_t(M * k), -77.0f)), topk(k) {}
  hisa::Selection view(bool with_scores = true) const {
    return {indices.data(), with_scores ? scores.data() : nullptr, counts.data()};
  }
  hisa::reference::Result result() const {
    return {topk, indices.host(), scores.host(), counts.host()};
  }
};

/// A workspace of exactly the plan's size, filled with garbage.
inline Device<std::uint64_t> make_workspace(std::size_t bytes) {
  return Device<std::uint64_t>(
      std::vector<std::uint64_t>((bytes + 7) / 8, std::uint64_t(0xabcdef0123456789)));
}
inline hisa::WorkspaceSpan span(const Device<std::uint64_t>& workspace, std::size_t bytes) {
  return {workspace.data(), bytes};
}

/// A problem's tensors on the device.
template <class T>
struct DeviceProblem {
  Device<T> q, k;
  Device<float> w, k_scale;
  Device<std::int32_t> ks, ke, anchor;
  hisa::Queries<T> queries;
  hisa::ContiguousKeys<T> keys;
  hisa::Ranges ranges;

  explicit DeviceProblem(const Problem<T>& p)
      : q(p.q), k(p.k), w(p.w), k_scale(p.k_scale), ks(p.ks), ke(p.ke), anchor(p.anchor) {
    queries = {q.data(), w.data(), p.M, p.H, p.D};
    keys = {k.data(), p.k_scale.empty() ? nullptr : k_scale.data(), p.N, p.D, 0};
    ranges = {ks.data(), ke.data(), p.anchor.empty() ? nullptr : anchor.data()};
  }
};

/// Pooled rows on the device.
template <class T>
struct DevicePooled {
  Device<T> values;
  Device<float> scales;
  Device<std::int32_t> begin;
  hisa::PooledKeys<T> view;

  DevicePooled() = default;
  DevicePooled(const Pooled<T>& host, const std::vector<std::int32_t>& first_blocks = {})
      : values(host.values), scales(host.scales), begin(first_blocks), view(host.view) {
    view.values = values.data();
    view.scales = host.scales.empty() ? nullptr : scales.data();
    view.begin = first_blocks.empty() ? nullptr : begin.data();
  }
};

/// What the tests vary in a hierarchy: levels as (block size, keep), coarse to fine.
struct Setting {
  std::vector<std::pair<int, int>> levels;
  int topk = 0;
  hisa::Options options = {};

  hisa::Budgets budgets() const {
    hisa::Budgets b;
    b.topk = topk;
    for (auto [size, keep] : levels)
      b.block_size.push_back(size), b.keep.push_back(keep);
    return b;
  }
  hisa::reference::Choice choice() const { return {topk, options.boundary, options.index_base}; }
};

/// Runs a plan of dynamic levels on tensors that are on the device already.
template <class Rule, class Strategy, int Levels, class T, class Keys, class E = T,
          class Visibility>
hisa::reference::Result
run_levels(const Exec& exec, const Setting& setting, const hisa::Queries<T>& queries,
           const Keys& keys, const std::vector<hisa::PooledKeys<const E>>& pooled,
           const Visibility& visibility, bool with_scores, const hisa::QueryRows& rows) {
  using hisa::dynamic;
  using LevelsT = std::conditional_t<
      Levels == 0, hisa::Levels<>,
      std::conditional_t<Levels == 1, hisa::Levels<dynamic>,
                         std::conditional_t<Levels == 2, hisa::Levels<dynamic, dynamic>,
                                            hisa::Levels<dynamic, dynamic, dynamic>>>>;
  hisa::Shape<> const shape{.max_queries = queries.count,
                            .max_keys = std::max<std::int64_t>(keys.capacity(), 1),
                            .heads = queries.heads,
                            .head_dim = queries.head_dim};
  auto const plan = hisa::make_plan<LevelsT, Rule, Strategy, Keys>(exec, shape, setting.budgets(),
                                                                   setting.options);
  auto const workspace = make_workspace(plan.workspace_bytes());
  DeviceSelection out(queries.count, setting.topk);
  auto const ws = span(workspace, plan.workspace_bytes());
  if constexpr (Levels == 0) {
    plan(exec, queries, keys, visibility, out.view(with_scores), ws, rows);
  } else {
    std::array<hisa::PooledKeys<const E>, Levels> all;
    std::copy(pooled.begin(), pooled.end(), all.begin());
    plan(exec, queries, keys, all, visibility, out.view(with_scores), ws, rows);
  }
  exec.fence();
  return out.result();
}

/// The same for 0 to 3 levels.
template <class Rule = hisa::MeanPool, class Strategy = hisa::RadixSelect, class T, class Keys,
          class E = T, class Visibility>
hisa::reference::Result run_on_device(const Exec& exec, const Setting& setting,
                                      const hisa::Queries<T>& queries, const Keys& keys,
                                      const std::vector<hisa::PooledKeys<const E>>& pooled,
                                      const Visibility& visibility, bool with_scores = true,
                                      const hisa::QueryRows& rows = {}) {
  switch (setting.levels.size()) {
  case 0:
    return run_levels<Rule, Strategy, 0>(exec, setting, queries, keys, pooled, visibility,
                                         with_scores, rows);
  case 1:
    return run_levels<Rule, Strategy, 1>(exec, setting, queries, keys, pooled, visibility,
                                         with_scores, rows);
  case 2:
    return run_levels<Rule, Strategy, 2>(exec, setting, queries, keys, pooled, visibility,
                                         with_scores, rows);
  default:
    return run_levels<Rule, Strategy, 3>(exec, setting, queries, keys, pooled, visibility,
                                         with_scores, rows);
  }
}

/// Runs a problem on contiguous keys through the library; pooled rows come from the reference.
template <class Rule = hisa::MeanPool, class T, class E = hisa::pooled_element<Rule, T>>
hisa::reference::Result run(const Problem<T>& p, const Setting& setting,
                            const std::vector<Pooled<E>>& pooled = {}, bool with_scores = true) {
  DeviceProblem<T> const device(p);
  std::vector<DevicePooled<E>> levels;
  std::vector<hisa::PooledKeys<const E>> views;
  for (const Pooled<E>& level : pooled)
    levels.emplace_back(level, p.begin);
  for (const DevicePooled<E>& level : levels)
    views.push_back(level.view);
  return run_on_device<Rule>(Exec(), setting, device.queries, device.keys, views, device.ranges,
                             with_scores);
}

/// The same by the reference.
template <class Rule = hisa::MeanPool, class T, class E = hisa::pooled_element<Rule, T>>
hisa::reference::Result run_reference(const Problem<T>& p, const Setting& setting,
                                      const std::vector<Pooled<E>>& pooled = {}) {
  std::vector<hisa::reference::Level<E>> levels;
  for (std::size_t l = 0; l < pooled.size(); ++l) {
    hisa::PooledKeys<const E> view = pooled[l].view;
    view.begin = p.begin.empty() ? nullptr : p.begin.data();
    levels.push_back({view, setting.levels[l].second});
  }
  return hisa::reference::hierarchical<Rule>(p.queries(), p.keys(), levels, p.ranges(),
                                             setting.choice());
}

/// True when two floats have the same bits, any NaN being equal to any other.
inline bool same_score(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (a != a && b != b);
}

/// True when two results agree in indices, counts and, bit for bit, scores.
inline bool same(const hisa::reference::Result& a, const hisa::reference::Result& b) {
  return a.topk == b.topk && a.indices == b.indices && a.counts == b.counts &&
         a.scores.size() == b.scores.size() &&
         std::equal(a.scores.begin(), a.scores.end(), b.scores.begin(), same_score);
}

} // namespace hisa_test
