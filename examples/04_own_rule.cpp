// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pooling rules of one's own, a row rule and a head rule, beside the library's: which of them still
// finds a fact of three tokens in blocks of 64?
#include <hisa/hisa.hpp>

#include <cstdio>
#include <random>
#include <vector>

using Exec = Kokkos::DefaultExecutionSpace;

/// A row rule: one ordinary row a block, each dimension folded over the block's values. This is the
/// mean of cubes, in which the largest values of either sign count most.
struct CubePool {
  static constexpr const char* name = "cube";
  static constexpr int rows = 1;
  static constexpr float identity = 0.0f;
  KOKKOS_FUNCTION static float fold(float sum, float value) {
    return hisa::multiply_add(value * value, value, sum);
  }
  KOKKOS_FUNCTION static float finish(float sum, int tokens) { return sum / float(tokens); }
};

/// A head rule: rows of fp32 and a formula for each head. A head counts the better one of the
/// block's mean and its last key.
struct MeanOrLast {
  static constexpr const char* name = "mean or last";
  static constexpr int rows = 2, sums = 2;
  struct Fold { // one dimension of a block
    float sum = 0, last = 0, count = 0;
    KOKKOS_FUNCTION void add(float value) { sum += value, last = value, count += 1; }
    KOKKOS_FUNCTION float row(int r) const { return r == 0 ? sum / count : last; }
  };
  KOKKOS_FUNCTION static void accumulate(float q, const float* row, float* sums) {
    for (int r = 0; r < rows; ++r)
      sums[r] = hisa::multiply_add(q, row[r], sums[r]);
  }
  KOKKOS_FUNCTION static float value(const float* sums, float) {
    return sums[0] > sums[1] ? sums[0] : sums[1];
  }
};

template <class T>
Kokkos::View<T*, Exec::memory_space> to_device(const std::vector<T>& host) {
  Kokkos::View<T*, Exec::memory_space> const device("data", host.size());
  Kokkos::deep_copy(device, Kokkos::View<const T*, Kokkos::HostSpace>(host.data(), host.size()));
  return device;
}

constexpr int N = 8192, H = 16, D = 64, B = 64, m = 8, k = 256;

/// Pools the keys by a rule, selects for the query, and counts the fact's tokens [begin, end) among
/// the selected.
template <hisa::PoolingRule Rule>
int found(const hisa::Queries<float>& query, const hisa::ContiguousKeys<float>& keys,
          std::int32_t begin, std::int32_t end) {
  Exec const exec;
  // 1. The rule says how many rows a block has; a head rule's are fp32 whatever the keys are.
  using Row = hisa::pooled_element<Rule, float>;
  Kokkos::View<Row*, Exec::memory_space> const rows("rows", N / B * Rule::rows * D);
  hisa::PooledKeys<Row> const pooled{rows.data(), nullptr, N / B, B, D};
  auto const length = to_device(std::vector<std::int32_t>{N});
  hisa::pool_rebuild<Rule>(exec, keys, pooled, {.count = 1, .new_length = length.data()});

  // 2. The plan takes the rule where it would take the library's own.
  auto const plan =
      hisa::make_plan<hisa::Levels<B>, Rule, hisa::RadixSelect, hisa::ContiguousKeys<float>>(
          exec, hisa::Shape<H, D>{.max_queries = 1, .max_keys = N}, {.keep = {m}, .topk = k});
  auto const ks = to_device(std::vector<std::int32_t>{0});
  Kokkos::View<std::int32_t*, Exec::memory_space> const tokens("tokens", k);
  Kokkos::View<std::byte*, Exec::memory_space> const workspace("workspace", plan.workspace_bytes());
  plan(exec, query, keys, pooled, hisa::Ranges{ks.data(), length.data()},
       {.indices = tokens.data()}, {workspace.data(), workspace.size()});

  auto const host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), tokens);
  int count = 0;
  for (int i = 0; i < k; ++i)
    count += host(i) >= begin && host(i) < end;
  return count;
}

int main(int argc, char** argv) {
  Kokkos::ScopeGuard const kokkos(argc, argv);

  // Noise, and a fact of three tokens that end a block and answer the query.
  constexpr std::int32_t begin = 50 * B - 3, end = 50 * B;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> q, w(H, 1.0f), k_values;
  for (int i = 0; i < H * D; ++i)
    q.push_back(normal(random));
  for (int i = 0; i < N * D; ++i)
    k_values.push_back(normal(random));
  for (std::int32_t s = begin; s < end; ++s)
    for (int d = 0; d < D; ++d)
      k_values[std::size_t(s * D + d)] += 1.5f * q[std::size_t(d)];

  auto const device_q = to_device(q), device_w = to_device(w), device_k = to_device(k_values);
  hisa::Queries<float> const query{device_q.data(), device_w.data(), 1, H, D};
  hisa::ContiguousKeys<float> const keys{device_k.data(), nullptr, N, D};
  std::printf("of the fact's 3 tokens, kept by blocks of %d:\n", B);
  std::printf("  mean          %d\n", found<hisa::MeanPool>(query, keys, begin, end));
  std::printf("  sub-mean<16>  %d\n", found<hisa::SubMeanPool<16>>(query, keys, begin, end));
  std::printf("  moments<1>    %d\n", found<hisa::MomentsPool<1>>(query, keys, begin, end));
  std::printf("  cube          %d\n", found<CubePool>(query, keys, begin, end));
  std::printf("  mean or last  %d\n", found<MeanOrLast>(query, keys, begin, end));
}
