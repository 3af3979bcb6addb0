// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The flat indexer: the 8 best keys for each of 4 queries of a causal prefill, from Kokkos Views.
#include <hisa/hisa.hpp>

#include <Kokkos_Random.hpp>

#include <cstdio>

int main(int argc, char** argv) {
  Kokkos::ScopeGuard const kokkos(argc, argv);
  using Exec = Kokkos::DefaultExecutionSpace;
  using Memory = Exec::memory_space;
  constexpr int M = 4, N = 1000, H = 32, D = 64, k = 8;
  Exec const exec;

  // 1. Queries [M, H, D], head weights [M, H] and keys [N, D], here of floats.
  Kokkos::View<float***, Kokkos::LayoutRight, Memory> const q("q", M, H, D);
  Kokkos::View<float**, Kokkos::LayoutRight, Memory> const w("w", M, H), keys("keys", N, D);
  Kokkos::Random_XorShift64_Pool<Exec> const random(1);
  Kokkos::fill_random(exec, q, random, -1.0f, 1.0f);
  Kokkos::fill_random(exec, w, random, 0.0f, 1.0f);
  Kokkos::fill_random(exec, keys, random, -1.0f, 1.0f);

  // 2. Query t sees the keys [ks[t], ke[t]); causality is in ke.
  Kokkos::View<std::int32_t*, Memory> const ks("ks", M), ke("ke", M);
  Kokkos::parallel_for(
      "ranges", Kokkos::RangePolicy<Exec>(exec, 0, M),
      KOKKOS_LAMBDA(int t) { ke(t) = N - M + t + 1; });

  // 3. A plan is made once and serves every call of its shape.
  auto const plan =
      hisa::make_plan<hisa::Levels<>, hisa::MeanPool, hisa::RadixSelect,
                      hisa::ContiguousKeys<float>>(
          exec, hisa::Shape<>{.max_queries = M, .max_keys = N, .heads = H, .head_dim = D},
          {.topk = k});

  // 4. The caller owns all memory, the scratch too.
  Kokkos::View<std::int32_t**, Kokkos::LayoutRight, Memory> const indices("indices", M, k);
  Kokkos::View<std::byte*, Memory> const workspace("workspace", plan.workspace_bytes());

  // 5. Asynchronous on exec.
  plan(exec, hisa::make_queries(q, w), hisa::make_contiguous_keys(keys),
       hisa::Ranges{ks.data(), ke.data()}, hisa::Selection{.indices = indices.data()},
       {workspace.data(), workspace.size()});

  auto const host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), indices);
  std::printf("%s\n", plan.path().c_str());
  for (int t = 0; t < M; ++t) {
    std::printf("query %d:", t);
    for (int i = 0; i < k; ++i)
      std::printf(" %d", host(t, i));
    std::printf("\n");
  }
}
