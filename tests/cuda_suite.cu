// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CUDA indexers on a device: scores within the contract's bound, selections exact against the
// kernel's own score bits, repeats to the bit. Prints what it covered; returns the number of
// failures.
#include <hisa/cuda.hpp>
#include <hisa/reference.hpp>

#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

using namespace hisa;

namespace {

int failures = 0, checks = 0;

void expect(bool ok, const std::string& what) {
  ++checks;
  if (ok)
    return;
  if (++failures <= 20)
    std::printf("FAILED %s\n", what.c_str());
}

template <class T>
struct Device {
  T* data = nullptr;
  std::size_t size = 0;
  Device() = default;
  explicit Device(std::size_t n) : size(n) {
    cuda::check(cudaMalloc(&data, std::max<std::size_t>(n, 1) * sizeof(T)), "malloc");
    cuda::check(cudaMemset(data, 0xa5, n * sizeof(T)), "memset");
  }
  explicit Device(const std::vector<T>& host) : Device(host.size()) {
    cuda::check(cudaMemcpy(data, host.data(), size * sizeof(T), cudaMemcpyDefault), "copy");
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device() { cudaFree(data); }
  std::vector<T> host() const {
    std::vector<T> h(size);
    cuda::check(cudaMemcpy(h.data(), data, size * sizeof(T), cudaMemcpyDefault), "copy");
    return h;
  }
};

/// What the keys look like.
enum class Data { random, ties, zeros, nan_scales, one_bin, infinite_scales };
const char* name(Data d) {
  constexpr const char* names[] = {"random",     "ties",    "zeros",
                                   "nan scales", "one bin", "infinite scales"};
  return names[int(d)];
}

struct Case {
  std::int64_t M, N;
  int H;
  std::vector<int> sizes, keep;
  int topk;
  Data data = Data::random;
  Boundary boundary = Boundary::counted;
  std::int32_t first = 0;   ///< ks of every query
  std::int32_t anchor = -1; ///< -1: none
  bool packed = false;      ///< two sequences
  IndexBase base = IndexBase::relative;
  std::size_t limit = std::size_t(1) << 28;
  std::string text() const {
    std::string s = "M=" + std::to_string(M) + " N=" + std::to_string(N) +
                    " H=" + std::to_string(H) + " k=" + std::to_string(topk) + " " + name(data);
    for (std::size_t l = 0; l < sizes.size(); ++l)
      s += " B" + std::to_string(sizes[l]) + ":" + std::to_string(keep[l]);
    return s + (first ? " first" : "") + (packed ? " packed" : "") + " boundary " +
           std::to_string(int(boundary));
  }
};

struct Problem {
  std::vector<e4m3fn> q, k;
  std::vector<float> w, scale;
  std::vector<std::int32_t> ks, ke, anchor;

  Problem(const Case& c, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < c.M * c.H * 128; ++i)
      q.push_back(e4m3fn_from_float(normal(random)));
    for (std::int64_t i = 0; i < c.N * 128; ++i)
      k.push_back(e4m3fn_from_float(normal(random)));
    for (std::int64_t i = 0; i < c.M * c.H; ++i)
      w.push_back(normal(random) * 0.01f);
    for (std::int64_t i = 0; i < c.N; ++i)
      scale.push_back(std::exp(0.3f * normal(random)));
    for (std::int64_t i = 0; i < c.N; ++i) {
      auto const row = k.begin() + i * 128;
      if (c.data == Data::ties && i % 5 != 0)
        std::copy(k.begin(), k.begin() + 128, row), scale[std::size_t(i)] = scale[0];
      if (c.data == Data::zeros && i % 3 != 0)
        std::fill(row, row + 128, e4m3fn{std::uint8_t(i % 2 ? 0x80 : 0)});
      if (c.data == Data::nan_scales && i % 4 == 0)
        scale[std::size_t(i)] = std::numeric_limits<float>::quiet_NaN();
      if (c.data == Data::infinite_scales && i % 4 == 0)
        scale[std::size_t(i)] = std::numeric_limits<float>::infinity();
      if (c.data == Data::one_bin) {
        std::copy(k.begin(), k.begin() + 128, row);
        scale[std::size_t(i)] = 1.0f + float(random() % 4096) * 0x1p-20f;
      }
    }
    for (std::int64_t t = 0; t < c.M; ++t) {
      bool const second = c.packed && t >= c.M / 2;
      std::int32_t const begin = second ? std::int32_t(c.N / 3) : c.first;
      std::int32_t const end = c.packed && !second ? std::int32_t(c.N / 3 - c.M / 2 + t + 1)
                                                   : std::int32_t(c.N - c.M + t + 1);
      ks.push_back(begin), ke.push_back(end);
      anchor.push_back(c.anchor);
    }
  }
};

/// One pooled level on host and device.
struct PooledLevel {
  std::vector<e4m3fn> values;
  std::vector<float> scales;
  PooledKeys<e4m3fn> host;
  std::vector<std::int32_t> begin;
  std::unique_ptr<Device<e4m3fn>> d_values;
  std::unique_ptr<Device<float>> d_scales;
  std::unique_ptr<Device<std::int32_t>> d_begin;

  PooledLevel(const Case& c, const Problem& p, int size) {
    ContiguousKeys<e4m3fn> const keys{p.k.data(), p.scale.data(), c.N, 128, 0};
    std::vector<std::pair<std::int64_t, std::int64_t>> sequences; // first key, length
    auto const start = [&](std::int32_t ks) { return c.anchor >= 0 ? c.anchor : ks; };
    if (c.packed) {
      sequences = {{start(c.first), c.N / 3 - start(c.first)}, {c.N / 3, c.N - c.N / 3}};
    } else {
      sequences = {{start(c.first), c.N - start(c.first)}};
    }
    std::int64_t blocks = 0;
    std::vector<std::int32_t> sequence_begin;
    for (auto [first, length] : sequences)
      sequence_begin.push_back(std::int32_t(blocks)), blocks += (length + size - 1) / size;
    blocks = std::max(blocks, c.N / size);
    values.assign(std::size_t(blocks * 128), Element<e4m3fn>::nan());
    scales.assign(std::size_t(blocks), 3.0f);
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      Visible v;
      v.anchor = v.begin = sequences[s].first;
      v.query = std::int64_t(s);
      host = {values.data(), scales.data(), blocks, size, 128, sequence_begin.data()};
      reference::pool(keys, host, v, sequences[s].second);
    }
    for (std::int64_t t = 0; t < c.M; ++t)
      begin.push_back(sequence_begin[c.packed && t >= c.M / 2]);
    host.begin = begin.data();
    d_values = std::make_unique<Device<e4m3fn>>(values);
    d_scales = std::make_unique<Device<float>>(scales);
    d_begin = std::make_unique<Device<std::int32_t>>(begin);
  }
  PooledKeys<const e4m3fn> device() const {
    return {d_values->data, d_scales->data, host.blocks, host.block_size, 128, d_begin->data};
  }
};

/// The scores of all rows for each query, from the device, by way of cuda::score.
std::vector<float> device_scores(const Queries<e4m3fn>& queries, const e4m3fn* values,
                                 const float* scales, std::int64_t n) {
  std::vector<std::int32_t> const ks(std::size_t(queries.count), 0),
      ke(std::size_t(queries.count), std::int32_t(n));
  Device<std::int32_t> d_ks(ks), d_ke(ke);
  Device<float> out(std::size_t(queries.count * n));
  cuda::score(nullptr, queries, {values, scales, n, 128, 0}, {d_ks.data, d_ke.data}, out.data, n);
  cuda::check(cudaDeviceSynchronize(), "score");
  return out.host();
}

double worst_ratio = 0; ///< error of a score over its bound's sum

void check_scores(const Case& c, const Queries<e4m3fn>& q, const e4m3fn* values,
                  const float* scales, std::int64_t n, const std::vector<float>& got) {
  std::mt19937 random(7);
  for (int i = 0; i < 400; ++i) {
    std::int64_t const t = random() % unsigned(q.count), s = random() % unsigned(n);
    KeyRow<e4m3fn> const row{values + s * 128, scales[s]};
    double const exact = reference::score<double>(q, t, row), sum = reference::magnitude(q, t, row);
    double const error = std::abs(double(got[std::size_t(t * n + s)]) - exact);
    if (!std::isfinite(exact) || !std::isfinite(sum))
      continue;
    worst_ratio = sum > 0 ? std::max(worst_ratio, error / sum) : worst_ratio;
    expect(error <= sum * 0x1p-9, c.text() + ": score within the bound");
  }
}

template <class LevelsT>
void run(const Case& c, unsigned seed) {
  Problem const p(c, seed);
  Device<e4m3fn> q(p.q), k(p.k);
  Device<float> w(p.w), scale(p.scale);
  Device<std::int32_t> ks(p.ks), ke(p.ke), anchor(p.anchor);
  Queries<e4m3fn> const queries{q.data, w.data, c.M, c.H, 128};
  Queries<e4m3fn> const host_queries{p.q.data(), p.w.data(), c.M, c.H, 128};
  ContiguousKeys<e4m3fn> const keys{k.data, scale.data, c.N, 128, 0};
  Ranges const ranges{ks.data, ke.data, c.anchor >= 0 ? anchor.data : nullptr};
  Ranges const host_ranges{p.ks.data(), p.ke.data(), c.anchor >= 0 ? p.anchor.data() : nullptr};

  // 1. Scores, and their bound.
  std::vector<float> const token_scores = device_scores(queries, k.data, scale.data, c.N);
  check_scores(c, host_queries, p.k.data(), p.scale.data(), c.N, token_scores);
  std::vector<PooledLevel> levels;
  std::vector<std::vector<float>> block_scores;
  for (int size : c.sizes) {
    levels.emplace_back(c, p, size);
    auto const d = levels.back().device();
    block_scores.push_back(device_scores(queries, d.values, d.scales, d.blocks));
  }

  // 2. The indexer, three times.
  Options options;
  options.boundary = c.boundary, options.index_base = c.base, options.workspace_limit = c.limit;
  Budgets budgets;
  budgets.topk = c.topk;
  for (std::size_t l = 0; l < c.sizes.size(); ++l)
    budgets.keep.push_back(c.keep[l]);
  auto const plan = cuda::make_plan<LevelsT>(
      Shape<>{.max_queries = c.M, .max_keys = c.N, .heads = c.H, .head_dim = 128}, budgets,
      options);
  Device<std::uint8_t> workspace(plan.workspace_bytes());
  std::vector<std::int32_t> indices, counts;
  std::vector<float> scores;
  for (int repeat = 0; repeat < 3; ++repeat) {
    Device<std::int32_t> d_indices(std::size_t(c.M * c.topk)), d_counts(std::size_t(c.M));
    Device<float> d_scores(std::size_t(c.M * c.topk));
    std::array<PooledKeys<const e4m3fn>, LevelsT::count> pooled;
    for (std::size_t l = 0; l < c.sizes.size(); ++l)
      pooled[l] = levels[l].device();
    bool const with_scores = repeat != 1;
    plan(nullptr, queries, keys, pooled, ranges,
         {d_indices.data, with_scores ? d_scores.data : nullptr, d_counts.data},
         {workspace.data, workspace.size});
    cuda::check(cudaDeviceSynchronize(), "plan");
    if (repeat > 0)
      expect(indices == d_indices.host(), c.text() + ": the same indices again");
    indices = d_indices.host(), counts = d_counts.host();
    if (with_scores)
      scores = d_scores.host();
  }

  // 3. What the contract says, from the scores of step 1.
  std::vector<reference::LevelSize> sizes;
  for (std::size_t l = 0; l < c.sizes.size(); ++l)
    sizes.push_back({c.sizes[l], c.keep[l]});
  reference::Choice const choice{c.topk, c.boundary, c.base};
  for (std::int64_t t = 0; t < c.M; ++t) {
    Visible const v = host_ranges.visible(t, c.N);
    auto const block_score = [&](std::size_t l, std::int64_t b) {
      std::int64_t const row = levels[l].begin[std::size_t(t)] + b;
      return block_scores[l][std::size_t(t * levels[l].host.blocks + row)];
    };
    auto const token_score = [&](std::int64_t i) {
      return token_scores[std::size_t(t * c.N + v.anchor + i)];
    };
    reference::Result row;
    reference::keep_row(keys, v, sizes, choice, block_score, token_score, row);
    std::size_t const at = std::size_t(t * c.topk), bytes = std::size_t(c.topk) * 4;
    expect(counts[std::size_t(t)] == row.counts[0] &&
               std::memcmp(&indices[at], row.indices.data(), bytes) == 0 &&
               std::memcmp(&scores[at], row.scores.data(), bytes) == 0,
           c.text() + ": query " + std::to_string(t));
  }
}

void dispatch(const Case& c, unsigned seed) {
  if (c.sizes.empty())
    run<Levels<>>(c, seed);
  else if (c.sizes == std::vector<int>{128})
    run<Levels<128>>(c, seed);
  else if (c.sizes == std::vector<int>{64})
    run<Levels<64>>(c, seed);
  else if (c.sizes == std::vector<int>{32})
    run<Levels<32>>(c, seed);
  else if (c.sizes == std::vector<int>{16})
    run<Levels<16>>(c, seed);
  else
    run<Levels<128, 16>>(c, seed);
}

/// Rows pooled at once and in steps equal the reference's, bit for bit; other rows are left alone.
void pooling() {
  Case c{1, 3000, 64, {}, {}, 1};
  for (Data data : {Data::random, Data::zeros, Data::nan_scales})
    for (int size : {128, 64, 32, 16}) {
      c.data = data;
      Problem const p(c, 11);
      std::vector<std::int32_t> const first{0, 1200}, half{500, 1}, length{1100, 1790};
      std::int64_t const blocks = 2 * (c.N / size + 1);
      std::vector<std::int32_t> const begin{0, std::int32_t(blocks / 2)};
      std::vector<e4m3fn> values(std::size_t(blocks * 128), e4m3fn{0xa5});
      std::vector<float> scales(std::size_t(blocks), std::bit_cast<float>(0xa5a5a5a5u));
      PooledKeys<e4m3fn> const host{values.data(), scales.data(), blocks, size, 128, begin.data()};
      for (std::int64_t s = 0; s < 2; ++s) {
        Visible v;
        v.query = s, v.anchor = v.begin = first[std::size_t(s)];
        reference::pool(ContiguousKeys<e4m3fn>{p.k.data(), p.scale.data(), c.N, 128, 0}, host, v,
                        length[std::size_t(s)]);
      }
      Device<e4m3fn> k(p.k);
      Device<float> scale(p.scale);
      Device<std::int32_t> d_first(first), d_half(half), d_length(length), d_begin(begin);
      for (bool const append : {false, true}) {
        Device<e4m3fn> d_values(values.size());
        Device<float> d_scales(scales.size());
        ContiguousKeys<e4m3fn> const keys{k.data, scale.data, c.N, 128, 0};
        PooledKeys<e4m3fn> const rows{d_values.data, d_scales.data, blocks,
                                      size,          128,           d_begin.data};
        if (append) {
          cuda::pool_rebuild<MeanPool>(nullptr, keys, rows,
                                       {2, nullptr, d_half.data, d_first.data});
          cuda::pool_append<MeanPool>(nullptr, keys, rows,
                                      {2, d_half.data, d_length.data, d_first.data});
        } else {
          cuda::pool_rebuild<MeanPool>(nullptr, keys, rows,
                                       {2, nullptr, d_length.data, d_first.data});
        }
        cuda::check(cudaDeviceSynchronize(), "pool");
        auto const v = d_values.host();
        auto const sc = d_scales.host();
        expect(std::memcmp(v.data(), values.data(), v.size()) == 0 &&
                   std::memcmp(sc.data(), scales.data(), sc.size() * 4) == 0,
               std::string("pooling ") + name(data) + " B=" + std::to_string(size));
      }
    }
}

void topk_alone(std::int64_t longest) {
  std::mt19937 random(3);
  for (std::int64_t n :
       {1, 5, 100, 2047, 2048, 2049, 4095, 8189, 8192, 8193, 16384, 16385, 40000, 100001}) {
    if (n > longest)
      continue;
    std::int64_t const rows = 8, stride = n + 3;
    std::vector<float> scores;
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < rows * stride; ++i) {
      std::int64_t const r = i / stride, p = i % stride;
      float x = normal(random);
      if (r == 1)
        x = float(p); // ascending
      if (r == 2)
        x = p % 2 ? 0.0f : -0.0f;
      if (r == 3)
        x = std::bit_cast<float>(0x3f800000u + unsigned(p * 7919 % 1024)); // one bin
      if (r == 4 && p % 3)
        x = std::numeric_limits<float>::quiet_NaN();
      if (r == 6 && p < n / 50)
        x += 9; // most winners in one place
      if (r == 7 && p % (n / 512 / 8 * 8 + (n < 4096)) < 8)
        x += 9; // large scores exactly where a seed is looked for
      scores.push_back(x);
    }
    std::vector<std::int32_t> lengths;
    for (std::int64_t r = 0; r < rows; ++r)
      lengths.push_back(std::int32_t(r == 5 ? n / 2 - 1 : n));
    Device<float> d(scores);
    Device<std::int32_t> d_lengths(lengths);
    for (int k : {1, 511, 2048, 9000, 20000}) {
      Device<std::int32_t> indices(std::size_t(rows * k));
      cuda::topk(nullptr, {d.data, stride, d_lengths.data, n, k, {indices.data}}, rows);
      cuda::check(cudaDeviceSynchronize(), "topk");
      auto const got = indices.host();
      for (std::int64_t r = 0; r < rows; ++r) {
        std::size_t const length = std::size_t(std::max(0, lengths[std::size_t(r)]));
        auto expected = reference::select({scores.data() + r * stride, length}, k);
        expected.resize(std::size_t(k), -1);
        bool const right = std::equal(expected.begin(), expected.end(), got.begin() + r * k);
        expect(right, "topk n=" + std::to_string(n) + " k=" + std::to_string(k) + " row " +
                          std::to_string(r));
      }
    }
  }
}

} // namespace

int main(int argc, char**) {
  bool const reduced = argc > 1; // for the sanitizers

  std::vector<Case> cases;
  for (Data d : {Data::random, Data::ties, Data::zeros, Data::nan_scales, Data::one_bin,
                 Data::infinite_scales}) {
    cases.push_back({13, 3000, 64, {}, {}, 257, d});
    cases.push_back({13, 3000, 64, {128}, {8}, 257, d});
    cases.push_back({9, 3000, 32, {16}, {40}, 257, d});
  }
  for (Boundary b : {Boundary::counted, Boundary::extra, Boundary::none})
    for (int size : {128, 64, 32, 16}) {
      cases.push_back({37, 2500, 64, {size}, {1536 / size}, 500, Data::random, b, 77});
      cases.push_back({22, 2500, 32, {size}, {1536 / size}, 500, Data::random, b, 77, 40});
      cases.push_back({22, 2500, 64, {size}, {512 / size}, 300, Data::random, b, 0, -1, true});
    }
  cases.push_back({40, 9000, 64, {128, 16}, {20, 64}, 777});
  cases.push_back({40, 9000, 64, {128, 16}, {20, 64}, 777, Data::random, Boundary::extra, 5});
  cases.push_back({40, 9000, 32, {128, 16}, {20, 64}, 777, Data::ties, Boundary::none, 5, 3});
  cases.push_back({1, 1, 64, {128}, {1}, 128});
  cases.push_back({1, 200, 64, {128}, {1}, 100});
  cases.push_back({5, 300, 64, {128}, {2}, 256});
  cases.push_back({8, 200, 64, {64}, {2}, 128, Data::random, Boundary::none, 70, 1}); // 128 in 3
  cases.push_back({200, 200, 64, {64}, {2}, 128, Data::random, Boundary::counted, 0, -1});
  cases.push_back({5, 5, 64, {}, {}, 2048}); // some see nothing but themselves
  cases.push_back({64, 70, 64, {128}, {64}, 2048});
  cases.push_back({21,
                   20000,
                   64,
                   {128},
                   {64},
                   2048,
                   Data::random,
                   Boundary::counted,
                   0,
                   -1,
                   false,
                   IndexBase::absolute});
  cases.push_back({21, 20000, 64, {16}, {512}, 2048, Data::random, Boundary::extra});
  cases.push_back({21, 20000, 64, {128}, {64}, 8000});
  cases.push_back({21,
                   20000,
                   64,
                   {},
                   {},
                   2048,
                   Data::random,
                   Boundary::counted,
                   9,
                   -1,
                   false,
                   IndexBase::relative,
                   std::size_t(1) << 20}); // several groups of queries
  unsigned seed = 1;
  for (const Case& c : cases) {
    if (reduced && c.M * c.N > 10000 && seed % 8 != 0 && ++seed)
      continue;
    int const before = failures;
    try {
      dispatch(c, seed++);
    } catch (const std::exception& e) {
      expect(false, c.text() + ": " + e.what());
      if (cudaGetLastError() != cudaSuccess || cudaDeviceSynchronize() != cudaSuccess) {
        std::printf("device lost at %s\n", c.text().c_str());
        return 1;
      }
    }
    std::printf("%s %s\n", failures == before ? "ok    " : "FAILED", c.text().c_str());
    std::fflush(stdout);
  }
  pooling();
  topk_alone(reduced ? 5000 : 200000);
  std::printf("%d checks, %d failures; worst score error %.3g of the bound's sum (2^-9 = %.3g)\n",
              checks, failures, worst_ratio, 0x1p-9);
  return failures != 0;
}
