// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// HISA beside the flat indexer on e4m3 keys: pool once, score 64 blocks' worth of tokens instead of
// all, and see how much of flat's selection is kept.
#include <hisa/hisa.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

using Exec = Kokkos::DefaultExecutionSpace;

template <class T>
Kokkos::View<T*, Exec::memory_space> to_device(const std::vector<T>& host) {
  Kokkos::View<T*, Exec::memory_space> const device("data", host.size());
  Kokkos::deep_copy(device, Kokkos::View<const T*, Kokkos::HostSpace>(host.data(), host.size()));
  return device;
}

int main(int argc, char** argv) {
  Kokkos::ScopeGuard const kokkos(argc, argv);
  constexpr int M = 16, N = 1 << 15, H = 64, D = 128, B = 32, m = 256, k = 2048;
  Exec const exec;

  // 1. Keys that drift, as those of a text do: neighbours resemble each other.
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<hisa::e4m3fn> host_q, host_k;
  std::vector<float> host_w, drift(D);
  for (int i = 0; i < M * H * D; ++i)
    host_q.push_back(hisa::e4m3fn_from_float(normal(random)));
  for (int i = 0; i < M * H; ++i)
    host_w.push_back(std::abs(normal(random)));
  for (int s = 0; s < N; ++s)
    for (float& x : drift) {
      x = 0.98f * x + 0.2f * normal(random);
      host_k.push_back(hisa::e4m3fn_from_float(x + 0.3f * normal(random)));
    }
  auto const q = to_device(host_q), key_values = to_device(host_k);
  auto const w = to_device(host_w), scales = to_device(std::vector<float>(N, 0.01f));
  auto const ks = to_device(std::vector<std::int32_t>(M, 0));
  auto const ke = to_device(std::vector<std::int32_t>(M, N));
  hisa::Queries<hisa::e4m3fn> const queries{q.data(), w.data(), M, H, D};
  hisa::ContiguousKeys<hisa::e4m3fn> const keys{key_values.data(), scales.data(), N, D};

  // 2. One pooled row and one scale per block of B tokens.
  Kokkos::View<hisa::e4m3fn*, Exec::memory_space> const rows("rows", N / B * D);
  Kokkos::View<float*, Exec::memory_space> const row_scales("row scales", N / B);
  hisa::PooledKeys<hisa::e4m3fn> const pooled{rows.data(), row_scales.data(), N / B, B, D};
  auto const length = to_device(std::vector<std::int32_t>{N});
  hisa::pool_rebuild<hisa::MeanPool>(exec, keys, pooled, {.count = 1, .new_length = length.data()});

  // 3. Both indexers give the same kind of result.
  hisa::Shape<H, D> const shape{.max_queries = M, .max_keys = N};
  auto const flat = hisa::make_plan<hisa::Levels<>>(exec, shape, {.topk = k});
  auto const hierarchical =
      hisa::make_plan<hisa::Levels<B>, hisa::MeanPool>(exec, shape, {.keep = {m}, .topk = k});
  Kokkos::View<std::int32_t*, Exec::memory_space> const by_flat("flat", M * k);
  Kokkos::View<std::int32_t*, Exec::memory_space> const by_hisa("hierarchical", M * k);
  Kokkos::View<std::byte*, Exec::memory_space> const workspace(
      "workspace", std::max(flat.workspace_bytes(), hierarchical.workspace_bytes()));
  hisa::WorkspaceSpan const scratch{workspace.data(), workspace.size()};
  hisa::Ranges const ranges{ks.data(), ke.data()};

  Kokkos::Timer timer;
  flat(exec, queries, keys, ranges, {.indices = by_flat.data()}, scratch);
  exec.fence();
  double const flat_ms = 1e3 * timer.seconds();
  timer.reset();
  hierarchical(exec, queries, keys, pooled, ranges, {.indices = by_hisa.data()}, scratch);
  exec.fence();
  double const hisa_ms = 1e3 * timer.seconds();

  // 4. Rows are ascending, so sets compare by merging.
  auto const a = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), by_flat);
  auto const b = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), by_hisa);
  std::vector<std::int32_t> both;
  for (int t = 0; t < M; ++t)
    std::set_intersection(a.data() + t * k, a.data() + (t + 1) * k, b.data() + t * k,
                          b.data() + (t + 1) * k, std::back_inserter(both));
  std::printf("flat %.1f ms, hierarchical %.1f ms; %.1f %% of flat's tokens kept\n", flat_ms, hisa_ms,
              100.0 * double(both.size()) / (M * k));
}
