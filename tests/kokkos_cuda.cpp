// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kokkos::Cuda end to end: which path a plan takes and why, and that both paths keep the contract.
// The portable pipeline is held against the reference bit for bit; the dispatched one against the
// scores that hisa::score writes, and against the CUDA backend called without Kokkos. Prints what
// it covered; the exit code is 1 after a failure.
#include "support/paged.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

using namespace hisa_test;
using hisa::CallerBlocks, hisa::ContiguousKeys, hisa::e4m3fn, hisa::Levels, hisa::MeanPool,
    hisa::PagedKeys, hisa::RadixSelect, hisa::reference::Result;

namespace {

int checks = 0, failures = 0;

void expect(bool ok, const std::string& what) {
  ++checks;
  if (ok)
    return;
  ++failures;
  std::printf("FAILED %s\n", what.c_str());
}

/// One line of what was covered, after its checks.
void done(const std::string& what) {
  static int before = 0;
  std::printf("%s %s\n", failures == before ? "ok    " : "FAILED", what.c_str());
  std::fflush(stdout);
  before = failures;
}

// ---------------------------------------------------------------------------------------------
// Paths.

template <class LevelsT, class Source = MeanPool, class Keys = ContiguousKeys<e4m3fn>>
std::string path(int heads, int head_dim, const hisa::Budgets& budgets,
                 std::int64_t max_keys = 1 << 17) {
  hisa::Shape<> const shape{1024, max_keys, heads, head_dim};
  return hisa::make_plan<LevelsT, Source, RadixSelect, Keys>(Exec(), shape, budgets).path();
}

void paths(bool sm_90a) {
  auto const starts = [](const std::string& text, const char* with) {
    expect(text.rfind(with, 0) == 0,
           "a path that starts with \"" + std::string(with) + "\": " + text);
  };
  hisa::Budgets const one{.keep = {64}, .topk = 2048};
  if (sm_90a) {
    starts(path<Levels<>>(64, 128, {.topk = 2048}), "cuda pipeline on Cuda: sm_90a");
    starts(path<Levels<128>>(32, 128, one), "cuda pipeline on Cuda: sm_90a");
    starts(path<Levels<128>>(16, 128, one), "portable pipeline on Cuda: shape.heads is 16,");
    starts(path<Levels<128>>(64, 64, one), "portable pipeline on Cuda: shape.head_dim is 64,");
    starts(path<Levels<>>(64, 128, {.topk = 20000}), "portable pipeline on Cuda: budgets.topk is");
    starts(path<Levels<2>>(64, 128, {.keep = {2000}, .topk = 100}),
           "portable pipeline on Cuda: block size is 2,");
    starts(path<Levels<16>>(64, 128, {.keep = {5000}, .topk = 100}),
           "portable pipeline on Cuda: budgets.keep is 5000,");
    starts(path<Levels<128>, CallerBlocks>(64, 128, one), "cuda pipeline on Cuda: sm_90a");
    starts(path<Levels<16>, CallerBlocks>(64, 128, {.keep = {5000}, .topk = 100}),
           "portable pipeline on Cuda: budgets.keep is 5000,");
    starts(path<Levels<>>(64, 128, {.topk = 2048}, (std::int64_t(1) << 31) - 1),
           "portable pipeline on Cuda: shape.max_keys is");
  } else {
    starts(path<Levels<128>>(64, 128, one), "portable pipeline on Cuda: the ");
  }
  starts(path<Levels<128>, MeanPool, PagedKeys<e4m3fn>>(64, 128, one),
         "portable pipeline on Cuda: the keys");
  starts(path<Levels<128>, MeanPool, ContiguousKeys<float>>(64, 128, one),
         "portable pipeline on Cuda: the keys");
  done("paths: " + path<Levels<128>>(64, 128, one));
}

// ---------------------------------------------------------------------------------------------
// The portable pipeline.

template <class T>
void portable(const char* type) {
  for (auto [heads, head_dim] : {std::pair(16, 32), std::pair(3, 20), std::pair(64, 128)}) {
    if (heads == 64 && std::is_same_v<T, e4m3fn>)
      continue; // dispatched
    auto p = Problem<T>::random(5, 19, 1500, heads, head_dim);
    for (bool const ties : {false, true}) {
      if (ties)
        for (std::int64_t i = 0; i < p.N; ++i) { // seven keys again and again
          std::copy_n(p.k.begin() + i % 7 * head_dim, head_dim, p.k.begin() + i * head_dim);
          if (!p.k_scale.empty())
            p.k_scale[std::size_t(i)] = p.k_scale[std::size_t(i % 7)];
        }
      for (Setting const& setting :
           {Setting{{}, 100}, Setting{{{32, 9}}, 200}, Setting{{{64, 7}, {16, 12}}, 150}}) {
        std::vector<Pooled<T>> pooled;
        for (auto [size, keep] : setting.levels)
          pooled.push_back(pool_reference(p, size));
        expect(same(run(p, setting, pooled), run_reference(p, setting, pooled)),
               std::string(type) + ", " + std::to_string(setting.levels.size()) + " levels, H " +
                   std::to_string(heads) + (ties ? ", ties" : ""));
      }
    }
  }
  PagedProblem<T> paged(51, {700, 64, 1, 333, 0, 128}, 64, 8, 32, 2);
  paged.shuffle_pages(52);
  for (Setting setting : {Setting{{}, 100}, Setting{{{64, 3}, {16, 8}}, 60}}) {
    setting.options.index_base = hisa::IndexBase::physical;
    expect(same(paged.run(setting), paged.run_reference(setting)), std::string(type) + ", paged");
  }
  done(std::string("portable pipeline, ") + type +
       ": flat, one and two levels, ties, paged, equal to the reference bit for bit");
}

struct ListProblem {
  Problem<e4m3fn> p = Problem<e4m3fn>::random(41, 9, 1000, 64, 128);
  std::vector<std::int32_t> lists;
  hisa::Shape<64, 128> shape{.max_queries = 9, .max_keys = 1000};

  ListProblem() {
    for (int i = 0; i < 9 * 12; ++i)
      lists.push_back(i % 5 == 3 ? -1 : i * 37 % 64);
  }
  template <class Plan>
  Result run(const Plan& plan) const {
    DeviceProblem<e4m3fn> const d(p);
    Device<std::int32_t> const blocks(lists);
    Exec const exec;
    auto const workspace = make_workspace(plan.workspace_bytes());
    DeviceSelection out(9, 50);
    plan(exec, d.queries, d.keys, hisa::BlockLists{blocks.data(), 12}, d.ranges, out.view(),
         span(workspace, plan.workspace_bytes()));
    exec.fence();
    return out.result();
  }
};

/// A portable plan of the caller's block lists at sizes that are dispatched.
void refine() {
  ListProblem const x;
  auto const plan = hisa::make_plan_on<hisa::Portable<>, Levels<16>, CallerBlocks>(
      Exec(), x.shape, {.keep = {12}, .topk = 50});
  expect(same(x.run(plan), hisa::reference::refine(x.p.queries(), x.p.keys(), {x.lists.data(), 12},
                                                   16, x.p.ranges(), hisa::reference::Choice{50})),
         "refine");
  done("portable pipeline, e4m3, block lists of the caller at H 64, D 128");
}

// ---------------------------------------------------------------------------------------------
// Pooling: one result on both paths.

template <class T>
void pooling(const char* type, int head_dim) {
  auto const p = Problem<T>::random(8, 1, 1100, 1, head_dim);
  DeviceProblem<T> const d(p);
  for (int size : {128, 16}) {
    auto const expected = pool_reference(p, size);
    DevicePooled<T> const rows(Pooled<T>(p.N / size, size, head_dim));
    Device<std::int32_t> const none(std::vector<std::int32_t>{0}),
        half(std::vector<std::int32_t>{517}), all(std::vector<std::int32_t>{std::int32_t(p.N)});
    Exec const exec;
    hisa::pool_append<MeanPool>(exec, d.keys, rows.view, {1, half.data(), all.data(), nullptr});
    exec.fence();
    auto const later = rows.values.host();
    expect(std::all_of(later.begin(), later.begin() + 517 / size * head_dim,
                       [](T x) { return hisa::Element<T>::to_float(x) == 7.0f; }),
           std::string("appending leaves old rows alone, ") + type);
    hisa::pool_append<MeanPool>(exec, d.keys, rows.view, {1, none.data(), half.data(), nullptr});
    exec.fence();
    auto const values = rows.values.host();
    expect(std::memcmp(values.data(), expected.values.data(), values.size() * sizeof(T)) == 0 &&
               rows.scales.host() == expected.scales,
           std::string("pooling ") + type + ", B " + std::to_string(size));
  }
  done(std::string("pooling, ") + type + ", D " + std::to_string(head_dim));
}

// ---------------------------------------------------------------------------------------------
// The dispatched path.

/// What hisa::score writes, in groups of `group` queries, over rows of -7.
std::vector<float> scores_of(const hisa::Queries<e4m3fn>& queries,
                             const ContiguousKeys<e4m3fn>& keys, const hisa::Ranges& ranges,
                             std::int64_t group) {
  Device<float> const out(std::vector<float>(std::size_t(queries.count * keys.count), -7.0f));
  std::size_t const bytes = hisa::score_workspace_bytes(queries.heads, queries.head_dim, group);
  auto const workspace = make_workspace(bytes);
  Exec const exec;
  hisa::score(exec, queries, keys, ranges, hisa::Logits{out.data(), keys.count},
              span(workspace, bytes));
  exec.fence();
  return out.host();
}

/// The same for all keys, whatever a query sees.
std::vector<float> all_scores(const hisa::Queries<e4m3fn>& queries,
                              const ContiguousKeys<e4m3fn>& keys) {
  Device<std::int32_t> const ks(std::vector<std::int32_t>(std::size_t(queries.count), 0)),
      ke(std::vector<std::int32_t>(std::size_t(queries.count), std::int32_t(keys.count)));
  return scores_of(queries, keys, {ks.data(), ke.data()}, 64);
}

/// Scores of what each query sees, moved to its first key, and nothing else.
bool equal_seen(const Problem<e4m3fn>& p, const std::vector<float>& seen,
                const std::vector<float>& all) {
  for (std::int64_t t = 0; t < p.M; ++t) {
    auto const v = p.ranges().visible(t, p.N);
    for (std::int64_t i = 0; i < p.N; ++i) {
      float const expected = i < v.count() ? all[std::size_t(t * p.N + v.begin + i)] : -7.0f;
      if (!same_score(seen[std::size_t(t * p.N + i)], expected))
        return false;
    }
  }
  return true;
}

bool within_bound(const Problem<e4m3fn>& p, const std::vector<float>& scores) {
  for (std::int64_t i = 0; i < p.M * p.N; i += 41) {
    hisa::KeyRow<e4m3fn> const row = p.keys().row({}, hisa::TokenIndex(i % p.N));
    double const exact = hisa::reference::score<double>(p.queries(), i / p.N, row);
    if (std::abs(double(scores[std::size_t(i)]) - exact) >
        hisa::reference::tolerance(hisa::Arithmetic::native, p.H, p.D) *
            hisa::reference::magnitude(p.queries(), i / p.N, row))
      return false;
  }
  return true;
}

/// Plans of LevelsT on the default instance, on another one, in a graph, and without Kokkos.
template <class LevelsT>
void dispatched(int heads, const std::vector<int>& keep, int topk, std::int32_t first) {
  std::string const what = std::to_string(LevelsT::count) + " levels, H " + std::to_string(heads);
  auto p = Problem<e4m3fn>::random(unsigned(heads + topk), 37, 6007, heads, 128);
  p.causal(first);
  p.anchor = p.ks;
  for (std::size_t t = 0; t < 37; t += 2) // half of the ranges start inside a block
    p.ks[t] += std::int32_t(t);
  p.ke[3] = p.ks[3] + 5; // one query that sees little
  DeviceProblem<e4m3fn> const d(p);
  auto const token_scores = all_scores(d.queries, d.keys);
  expect(within_bound(p, token_scores), what + ": scores within the bound");
  expect(equal_seen(p, scores_of(d.queries, d.keys, d.ranges, 16), token_scores),
         what + ": scores of ranges, in groups of queries");

  hisa::Budgets budgets{.topk = topk};
  std::vector<hisa::reference::LevelSize> sizes;
  std::vector<DevicePooled<e4m3fn>> pooled;
  std::vector<std::vector<float>> block_scores;
  std::array<hisa::PooledKeys<const e4m3fn>, LevelsT::count> views;
  pooled.reserve(LevelsT::count);
  for (int l = 0; l < LevelsT::count; ++l) {
    int const size = LevelsT::block_sizes()[l];
    budgets.keep.push_back(keep[std::size_t(l)]);
    sizes.push_back({size, keep[std::size_t(l)]});
    pooled.emplace_back(pool_reference(p, size, first));
    hisa::PooledKeys<const e4m3fn> const rows = views[std::size_t(l)] = pooled.back().view;
    block_scores.push_back(all_scores(d.queries, {rows.values, rows.scales, rows.blocks, 128, 0}));
  }
  hisa::Shape<> const shape{p.M, p.N, heads, 128};
  Exec const exec;
  auto const plan = hisa::make_plan<LevelsT>(exec, shape, budgets);
  auto const workspace = make_workspace(plan.workspace_bytes());
  auto const ws = span(workspace, plan.workspace_bytes());
  expect(plan.path().rfind("cuda pipeline", 0) == 0, what + ": " + plan.path());

  DeviceSelection out(p.M, topk);
  plan(exec, d.queries, d.keys, views, d.ranges, out.view(), ws);
  exec.fence();
  auto const result = out.result();

  // 1. What the contract says, from the scores that hisa::score wrote.
  Result expected;
  expected.topk = topk;
  for (std::int64_t t = 0; t < p.M; ++t) {
    auto const v = p.ranges().visible(t, p.N);
    hisa::reference::keep_row(
        p.keys(), v, sizes, {topk},
        [&](std::size_t l, std::int64_t b) {
          return block_scores[l][std::size_t(t * views[l].blocks + b)];
        },
        [&](std::int64_t i) { return token_scores[std::size_t(t * p.N + v.anchor + i)]; },
        expected);
  }
  expect(same(result, expected), what + ": the selection of hisa::score's bits");

  // 2. The backend without Kokkos.
  auto const without = hisa::cuda::make_plan<LevelsT>(shape, budgets);
  expect(without.workspace_bytes() == plan.workspace_bytes(), what + ": workspace");
  DeviceSelection same_out(p.M, topk);
  without(exec.cuda_stream(), d.queries, d.keys, views, d.ranges, same_out.view(), ws);
  exec.fence();
  expect(same(same_out.result(), result), what + ": hisa/cuda.hpp");

  // 3. Another instance, and a graph captured on it.
  auto const other = Kokkos::Experimental::partition_space(exec, 1, 1)[1];
  DeviceSelection other_out(p.M, topk), graph_out(p.M, topk);
  plan(other, d.queries, d.keys, views, d.ranges, other_out.view(), ws);
  other.fence();
  expect(same(other_out.result(), result), what + ": another instance");
  cudaGraph_t graph;
  cudaGraphExec_t ready;
  bool captured =
      cudaStreamBeginCapture(other.cuda_stream(), cudaStreamCaptureModeThreadLocal) == cudaSuccess;
  plan(other, d.queries, d.keys, views, d.ranges, graph_out.view(), ws);
  captured = captured && cudaStreamEndCapture(other.cuda_stream(), &graph) == cudaSuccess &&
             cudaGraphInstantiate(&ready, graph, 0) == cudaSuccess &&
             cudaGraphLaunch(ready, other.cuda_stream()) == cudaSuccess;
  other.fence();
  expect(captured && same(graph_out.result(), result), what + ": in a graph");
  if (captured)
    cudaGraphExecDestroy(ready), cudaGraphDestroy(graph);

  // 4. Misaligned rows are refused: the path was chosen without them.
  bool refused = false;
  hisa::Queries<e4m3fn> odd = d.queries;
  odd.values += 8;
  try {
    plan(exec, odd, d.keys, views, d.ranges, out.view(), ws);
  } catch (const hisa::precondition_error&) {
    refused = true;
  }
  expect(refused, what + ": misaligned queries");
  done("dispatched, e4m3, " + what +
       ": equal to hisa::score's selection and to hisa/cuda.hpp; instances, graph");
}

/// The same plan on the default backend, by the scores that hisa::score writes.
void dispatched_refine() {
  ListProblem const x;
  auto const plan =
      hisa::make_plan<Levels<16>, CallerBlocks>(Exec(), x.shape, {.keep = {12}, .topk = 50});
  expect(plan.path().rfind("cuda pipeline", 0) == 0, "refine: " + plan.path());
  DeviceProblem<e4m3fn> const d(x.p);
  auto const scores = all_scores(d.queries, d.keys);
  Result expected;
  expected.topk = 50;
  for (std::int64_t t = 0; t < x.p.M; ++t) {
    auto const v = x.p.ranges().visible(t, x.p.N);
    std::vector<std::int64_t> list(x.lists.begin() + t * 12, x.lists.begin() + (t + 1) * 12);
    std::sort(list.begin(), list.end());
    hisa::reference::keep_tokens(
        x.p.keys(), v, hisa::reference::children(v, 1, &list, 16), {50},
        [&](std::int64_t i) { return scores[std::size_t(t * x.p.N + v.anchor + i)]; }, expected);
  }
  expect(same(x.run(plan), expected), "refine: the selection of hisa::score's bits");
  done("dispatched, e4m3, block lists of the caller");
}

} // namespace

int main(int argc, char** argv) {
  Kokkos::ScopeGuard const kokkos(argc, argv);
  static_assert(std::is_same_v<Exec, Kokkos::Cuda>);
  std::printf("Kokkos %d on %s\n", KOKKOS_VERSION, Exec::name());
  auto const device = hisa::cuda::Device::current();
  paths(device.not_covered().empty());
  portable<e4m3fn>("e4m3");
  portable<hisa::bf16>("bf16");
  portable<hisa::fp16>("fp16");
  portable<float>("fp32");
  refine();
  pooling<e4m3fn>("e4m3", 128);
  pooling<e4m3fn>("e4m3", 64);
  pooling<float>("fp32", 128);
  if (device.not_covered().empty()) {
    dispatched_refine();
    for (int heads : {64, 32}) {
      dispatched<Levels<>>(heads, {}, 500, 0);
      dispatched<Levels<128>>(heads, {20}, 512, 0);
      dispatched<Levels<128>>(heads, {20}, 512, 77);
      dispatched<Levels<128>>(heads, {4}, 512, 0); // block-sparse
      dispatched<Levels<16>>(heads, {100}, 400, 0);
      dispatched<Levels<128, 16>>(heads, {20, 64}, 777, 5);
    }
  } else {
    std::printf("not covered: the dispatched path, as %s\n", device.not_covered().c_str());
  }
  std::printf("%d checks, %d failures\n", checks, failures);
  return failures != 0;
}
