// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How fast is the portable path, beside what the machine's FMA units can do? Every indexer's result is
// compared with the reference before it is timed.
#include <hisa/hisa.hpp>
#include <hisa/reference.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

namespace {

using Exec = Kokkos::DefaultHostExecutionSpace;
constexpr int M = 64, H = 64, D = 128, B = 128, keep = 64, topk = 2048;

/// Random queries and keys; query t sees all keys but the last M - t - 1, as at the end of a prefill.
template <class T>
struct Data {
  std::vector<T> q, k, rows;
  std::vector<float> w, k_scale, row_scales, logits;
  std::vector<std::int32_t> ks, ke, indices, counts, before, now;
  std::vector<std::uint64_t> workspace;
  hisa::Queries<T> queries;
  hisa::ContiguousKeys<T> keys;
  hisa::PooledKeys<T> pooled;
  hisa::Ranges ranges;
  hisa::Selection out;
  hisa::Sequences appended; ///< the chunk's own M keys are new

  explicit Data(std::int64_t N) {
    std::mt19937_64 random(static_cast<std::uint64_t>(N));
    std::normal_distribution<float> normal;
    auto const fill = [&](std::vector<T>& values, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i)
        values.push_back(hisa::Element<T>::from_float(normal(random)));
    };
    fill(q, std::int64_t(M) * H * D);
    fill(k, N * D);
    for (int i = 0; i < M * H; ++i)
      w.push_back(normal(random));
    for (std::int64_t i = 0; i < N; ++i)
      k_scale.push_back(std::exp(0.3f * normal(random)));
    for (int t = 0; t < M; ++t)
      ke.push_back(std::int32_t(N - M + t + 1));
    ks.assign(M, 0);
    indices.resize(std::size_t(M) * topk);
    counts.resize(M);
    logits.resize(std::size_t(M) * std::size_t(N));
    rows.resize(std::size_t(N / B * D));
    row_scales.resize(std::size_t(N / B));
    before = {std::int32_t(N - M)};
    now = {std::int32_t(N)};
    queries = {q.data(), w.data(), M, H, D};
    keys = {k.data(), k_scale.data(), N, D};
    pooled = {rows.data(), hisa::Element<T>::quantised ? row_scales.data() : nullptr, N / B, B, D};
    ranges = {ks.data(), ke.data()};
    out = {indices.data(), nullptr, counts.data()};
    appended = {1, before.data(), now.data()};
    hisa::pool_rebuild<hisa::MeanPool>(Exec(), keys, pooled, appended);
    Exec().fence();
  }
};

template <class T>
Data<T>& data(std::int64_t N) {
  static std::map<std::int64_t, Data<T>> all;
  return all.try_emplace(N, N).first->second;
}

template <class T, class LevelsT, class Backend = hisa::Portable<>>
auto make_plan(std::int64_t N) {
  hisa::Shape<> const shape{.max_queries = M, .max_keys = N, .heads = H, .head_dim = D};
  hisa::Budgets budgets{.topk = topk};
  if (LevelsT::count == 1)
    budgets.keep = {keep};
  return hisa::make_plan_on<Backend, LevelsT, hisa::MeanPool, hisa::RadixSelect,
                            hisa::ContiguousKeys<T>>(Exec(), shape, budgets);
}

/// Two rows of the result against the reference; a wrong result ends the program.
template <class T>
void check(const Data<T>& d, bool hierarchical) {
  for (std::int64_t t : {0, M - 1}) {
    hisa::Queries<T> const one{d.q.data() + t * H * D, d.w.data() + t * H, 1, H, D};
    hisa::Ranges const range{d.ks.data() + t, d.ke.data() + t};
    std::vector<hisa::reference::Level<T>> levels;
    if (hierarchical)
      levels.push_back({d.pooled, keep});
    auto const expected =
        hisa::reference::hierarchical(one, d.keys, levels, range, {.topk = topk});
    if (!std::equal(expected.indices.begin(), expected.indices.end(),
                    d.indices.begin() + t * topk)) {
      std::fprintf(stderr, "hisa-bench-portable: query %d differs from the reference\n", int(t));
      std::exit(1);
    }
  }
}

template <class T>
void flat(benchmark::State& state) {
  Data<T>& d = data<T>(state.range(0));
  auto const plan = make_plan<T, hisa::Levels<>>(state.range(0));
  d.workspace.resize(plan.workspace_bytes() / 8 + 1);
  hisa::WorkspaceSpan const workspace{d.workspace.data(), d.workspace.size() * 8};
  Exec const exec;
  auto const run = [&] {
    plan(exec, d.queries, d.keys, d.ranges, d.out, workspace);
    exec.fence();
  };
  run();
  check(d, false);
  for (auto _ : state)
    run();
}

/// The call and, before it, the pooling of the chunk's own keys.
template <class T>
void hierarchical(benchmark::State& state) {
  Data<T>& d = data<T>(state.range(0));
  auto const plan = make_plan<T, hisa::Levels<B>>(state.range(0));
  d.workspace.resize(plan.workspace_bytes() / 8 + 1);
  hisa::WorkspaceSpan const workspace{d.workspace.data(), d.workspace.size() * 8};
  Exec const exec;
  auto const run = [&] {
    hisa::pool_append<hisa::MeanPool>(exec, d.keys, d.pooled, d.appended);
    plan(exec, d.queries, d.keys, d.pooled, d.ranges, d.out, workspace);
    exec.fence();
  };
  run();
  check(d, true);
  for (auto _ : state)
    run();
}

/// Scores alone, written out.
template <class T>
void score(benchmark::State& state) {
  std::int64_t const N = state.range(0);
  Data<T>& d = data<T>(N);
  d.workspace.resize(hisa::score_workspace_bytes(H, D, M) / 8 + 1);
  Exec const exec;
  auto const run = [&] {
    hisa::score(exec, d.queries, d.keys, d.ranges, {d.logits.data(), N},
                {d.workspace.data(), d.workspace.size() * 8});
    exec.fence();
  };
  run();
  for (std::int64_t i : {std::int64_t(0), N / 2, N - M}) {
    float const expected = hisa::reference::score(d.queries, 1, d.keys.row({}, hisa::TokenIndex(i)));
    if (d.logits[std::size_t(N + i)] != expected)
      state.SkipWithError("a score differs from the reference");
  }
  for (auto _ : state)
    run();
  double const flop = 2.0 * M * H * D * (double(N) - (M - 1) / 2.0);
  state.counters["FLOP/s"] =
      benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
}

/// The selection of a flat call alone: its scores stay in the workspace from the call before.
struct SelectOnly : hisa::Portable<SelectOnly> {
  template <class E, class DescentType>
  static void score(const E&, const DescentType&, const hisa::GroupWorkspace&) {}
};

template <class T>
void select(benchmark::State& state) {
  Data<T>& d = data<T>(state.range(0));
  auto const whole = make_plan<T, hisa::Levels<>>(state.range(0));
  auto const plan = make_plan<T, hisa::Levels<>, SelectOnly>(state.range(0));
  d.workspace.resize(plan.workspace_bytes() / 8 + 1);
  hisa::WorkspaceSpan const workspace{d.workspace.data(), d.workspace.size() * 8};
  Exec const exec;
  whole(exec, d.queries, d.keys, d.ranges, d.out, workspace);
  auto const run = [&] {
    plan(exec, d.queries, d.keys, d.ranges, d.out, workspace);
    exec.fence();
  };
  run();
  check(d, false);
  for (auto _ : state)
    run();
}

/// What the FMA units can do: independent chains in registers on every thread.
void fma_peak(benchmark::State& state) {
  using Lanes = hisa::detail::Lanes<hisa::detail::host_lanes>;
  constexpr int chains = 12, steps = 1 << 22;
  Exec const exec;
  int const threads = exec.concurrency();
  std::vector<float> sink(std::size_t(threads) * hisa::detail::host_lanes);
  float* const out = sink.data();
  for (auto _ : state) {
    Kokkos::parallel_for(
        "fma_peak", Kokkos::RangePolicy<Exec>(exec, 0, threads), [=](int thread) {
          Lanes acc[chains], x = Lanes::zero();
          for (Lanes& a : acc)
            a = Lanes::zero();
          for (int i = 0; i < steps; ++i)
            for (Lanes& a : acc)
              a = fused_multiply_add(x, x, a);
          for (int c = 1; c < chains; ++c)
            acc[0] = fused_multiply_add(acc[c], x, acc[0]);
          acc[0].store(out + thread * hisa::detail::host_lanes);
        });
    exec.fence();
    benchmark::DoNotOptimize(out);
  }
  double const flop = 2.0 * chains * steps * hisa::detail::host_lanes * threads;
  state.counters["FLOP/s"] =
      benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
}

} // namespace

#define HISA_SIZES Arg(1 << 15)->Arg(1 << 17)->UseRealTime()->Unit(benchmark::kMillisecond)
BENCHMARK(fma_peak)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(score<float>)->HISA_SIZES;
BENCHMARK(score<hisa::e4m3fn>)->HISA_SIZES;
BENCHMARK(select<float>)->HISA_SIZES;
BENCHMARK(select<hisa::e4m3fn>)->HISA_SIZES;
BENCHMARK(flat<float>)->HISA_SIZES;
BENCHMARK(flat<hisa::e4m3fn>)->HISA_SIZES;
BENCHMARK(hierarchical<float>)->HISA_SIZES;
BENCHMARK(hierarchical<hisa::e4m3fn>)->HISA_SIZES;

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv))
    return 2;
  Kokkos::ScopeGuard const kokkos(
      Kokkos::InitializationSettings().set_disable_warnings(true));
  benchmark::RunSpecifiedBenchmarks();
}
