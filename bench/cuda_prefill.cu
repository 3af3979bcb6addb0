// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Prefill on CUDA: the hierarchical and the flat indexer, the scoring kernel and the top-k alone,
// on a trained dump and on random data. Prints one JSON object a line. Results are checked as one
// more replay of the first of three copies leaves them: all rows of a selection against a plan that
// has keys stay instead of queries or the other way round, if it can, some exactly against the
// scores of the same kernels, of top-k against those given, some rows of scores to the bit
// against those of a query by itself, and these, some of them, against the contract's bound. A
// wrong one ends the program with exit code 1.
//
//   cuda_prefill DUMP [case ...]     case: hisa:M:L:B:m  two:M:L  flat:M:L  score:M:L  topk:M:L,
//                                    hisa:M:L:B:m:Q key-stationary for calls of up to Q queries,
//                                    each but topk also as precise-hisa:... for that arithmetic;
//                                    flat:M:L:MIB within so much workspace, rows:M:L:MIB the same
//                                    always by rows of scores
#include "cuda_support.hpp"

#include <hisa/reference.hpp>

#include <cmath>
#include <cstring>
#include <memory>
#include <set>
#include <sstream>

using namespace hisa;
using bench::Device;

namespace {

constexpr int heads = 64, topk = 2048, copies = 3;

/// One copy of a problem on the device.
struct Data {
  Device<e4m3fn> q, k;
  Device<float> w, scale;
  Device<std::int32_t> ks, ke;
  std::int64_t M, L;
  Arithmetic arithmetic = Arithmetic::native;
  Queries<e4m3fn> queries() const { return {q.data, w.data, M, heads, 128}; }
  ContiguousKeys<e4m3fn> keys() const { return {k.data, scale.data, L, 128, 0}; }
  Ranges ranges() const { return {ks.data, ke.data}; }
};

/// The dump's queries at the end of L keys; longer contexts repeat its keys with other scales.
Data from_dump(const std::string& dump, std::int64_t M, std::int64_t L, unsigned seed) {
  auto q0 = bench::tensor<e4m3fn>(dump, "q");
  auto w0 = bench::tensor<float>(dump, "w");
  auto k0 = bench::tensor<e4m3fn>(dump, "k");
  auto s0 = bench::tensor<float>(dump, "k_scale");
  std::int64_t const queries = std::int64_t(w0.size()) / heads, keys = std::int64_t(s0.size());
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<e4m3fn> q(std::size_t(M * heads * 128)), k(std::size_t(L * 128));
  std::vector<float> w(std::size_t(M * heads)), s(static_cast<std::size_t>(L));
  std::vector<std::int32_t> ks(std::size_t(M), 0), ke;
  for (std::int64_t t = 0; t < M; ++t) {
    std::int64_t const from = t % queries;
    std::copy_n(q0.begin() + from * heads * 128, heads * 128, q.begin() + t * heads * 128);
    for (int j = 0; j < heads; ++j)
      w[std::size_t(t * heads + j)] = w0[std::size_t(from * heads + j)] *
                                      (t < queries ? 1.0f : std::exp(0.05f * normal(random)));
    ke.push_back(std::int32_t(L - M + t + 1));
  }
  for (std::int64_t i = 0; i < L; ++i) { // the last keys of the dump end the context
    std::int64_t const from = keys - 1 - (L - 1 - i) % keys;
    std::copy_n(k0.begin() + from * 128, 128, k.begin() + i * 128);
    s[std::size_t(i)] =
        s0[std::size_t(from)] * (L - 1 - i < keys ? 1.0f : std::exp(0.05f * normal(random)));
  }
  return {Device(q), Device(k), Device(w), Device(s), Device(ks), Device(ke), M, L};
}

Data from_random(std::int64_t M, std::int64_t L, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> w, s;
  std::vector<std::int32_t> ks(std::size_t(M), 0), ke;
  for (std::int64_t i = 0; i < M * heads; ++i)
    w.push_back(normal(random));
  for (std::int64_t i = 0; i < L; ++i)
    s.push_back(std::exp(0.3f * normal(random)));
  for (std::int64_t t = 0; t < M; ++t)
    ke.push_back(std::int32_t(L - M + t + 1));
  return {Device(bench::random_values(std::size_t(M * heads * 128), seed)),
          Device(bench::random_values(std::size_t(L * 128), seed + 1)),
          Device(w),
          Device(s),
          Device(ks),
          Device(ke),
          M,
          L};
}

struct Pooled {
  Device<e4m3fn> values;
  Device<float> scales;
  PooledKeys<e4m3fn> view;
  Pooled(const Data& d, int size)
      : values(std::size_t(d.L / size * 128)), scales(std::size_t(d.L / size)) {
    view = {values.data, scales.data, d.L / size, size, 128, nullptr};
    Device<std::int32_t> length(std::vector<std::int32_t>{std::int32_t(d.L)});
    cuda::pool_rebuild<MeanPool>(nullptr, d.keys(), view, {1, nullptr, length.data, nullptr});
    cuda::check(cudaDeviceSynchronize(), "pool");
  }
};

void require_right(bool right, const std::string& what) {
  if (right)
    return;
  std::fprintf(stderr, "%s: a result is wrong\n", what.c_str());
  std::exit(1);
}

/// The scores of query t for n rows, from the device.
std::vector<float> device_scores(const Data& d, std::int64_t t, const e4m3fn* values,
                                 const float* scales, std::int64_t n) {
  Queries<e4m3fn> one = d.queries();
  one.values += t * heads * 128, one.weights += t * heads, one.count = 1;
  Device<std::int32_t> const ks(std::vector<std::int32_t>{0});
  Device<std::int32_t> const ke(std::vector<std::int32_t>{std::int32_t(n)});
  Device<float> const out{static_cast<std::size_t>(n)};
  cuda::score(nullptr, one, {values, scales, n, 128, 0}, {ks.data, ke.data}, out.data, n,
              d.arithmetic);
  cuda::check(cudaDeviceSynchronize(), "score");
  return out.host();
}

/// Scores of query t for all keys, some of them compared with the formula in double.
std::vector<float> checked_scores(const std::string& what, const Data& d, std::int64_t t,
                                  const std::vector<e4m3fn>& q, const std::vector<float>& w,
                                  const std::vector<e4m3fn>& k, const std::vector<float>& scale) {
  auto const scores = device_scores(d, t, d.k.data, d.scale.data, d.L);
  Queries<e4m3fn> const queries{q.data(), w.data(), d.M, heads, 128};
  for (std::int64_t i = 0; i < d.L; i += d.L / 50 + 1) {
    KeyRow<e4m3fn> const row{k.data() + i * 128, scale[std::size_t(i)]};
    double const error =
        std::abs(double(scores[std::size_t(i)]) - reference::score<double>(queries, t, row));
    double const bound = reference::tolerance(d.arithmetic, heads, 128);
    require_right(error <= bound * reference::magnitude(queries, t, row), what);
  }
  return scores;
}

using PooledLevels = std::vector<std::unique_ptr<Pooled>>;

/// Blocks of the last level that four neighbouring queries keep together, over those that one of
/// them keeps, of 16 such groups in all; 0 for fewer than four queries.
double union_of_lists(const Data& d, const std::vector<reference::LevelSize>& sizes,
                      const PooledLevels& pooled) {
  if (d.M < 4)
    return 0;
  std::size_t together = 0, each = 0;
  for (std::int64_t group = 0; group < 16; ++group) {
    std::set<std::int64_t> blocks;
    for (std::int64_t q = 0; q < 4; ++q) {
      Visible v;
      v.query = (d.M / 4 - 1) * group / 15 * 4 + q, v.end = d.L - d.M + v.query + 1;
      std::vector<std::int64_t> kept;
      for (std::size_t l = 0; l < sizes.size(); ++l) {
        auto const& rows = pooled[l]->view;
        auto const scores = device_scores(d, v.query, rows.values, rows.scales, rows.blocks);
        std::int64_t const size = sizes[l].block_size;
        kept = reference::keep_blocks(v, sizes[l],
                                      reference::children(v, size, l > 0 ? &kept : nullptr,
                                                          l > 0 ? sizes[l - 1].block_size : 1),
                                      Boundary::counted,
                                      [&](std::int64_t b) { return scores[std::size_t(b)]; });
      }
      each += kept.size();
      blocks.insert(kept.begin(), kept.end());
    }
    together += blocks.size();
  }
  return 4 * double(together) / double(each);
}

/// @param rate    name of the rate at which `work` is done, in 10^12 a second
/// @param united  union_of_lists, or 0
void print(const std::string& what, const char* data, const bench::Times& us, double work,
           const char* rate, double united = 0) {
  std::printf("{\"case\": \"%s\", \"data\": \"%s\", \"us\": %.1f, \"sustained_us\": %.1f, "
              "\"%s\": %.4g",
              what.c_str(), data, us.rested, us.sustained, rate, work / us.rested * 1e-6);
  if (united > 0)
    std::printf(", \"union\": %.2f", united);
  std::printf("}\n");
  std::fflush(stdout);
}
/// Of products of `pairs` queries and keys.
void print(const std::string& what, const char* data, const bench::Times& us, double pairs,
           double united = 0) {
  print(what, data, us, pairs * 2 * heads * 128, "tflops", united);
}

/// @param device  as the plan is to take it
/// @param limit   of the workspace, bytes
template <class LevelsT>
void run_index(const std::string& what, const char* name, const std::vector<Data>& data,
               const std::vector<int>& keep, const cuda::Device& device,
               std::size_t limit = Options().workspace_limit) {
  std::int64_t const M = data[0].M, L = data[0].L;
  Budgets budgets;
  budgets.topk = topk;
  for (int m : keep)
    budgets.keep.push_back(m);
  auto const make = [&](const cuda::Device& on) {
    return cuda::make_plan<LevelsT>(
        on, Shape<>{.max_queries = M, .max_keys = L, .heads = heads, .head_dim = 128}, budgets,
        {.arithmetic = data[0].arithmetic, .workspace_limit = limit});
  };
  auto const plan = make(device);
  std::vector<std::vector<std::unique_ptr<Pooled>>> pooled(data.size());
  Device<std::int32_t> out(std::size_t(M * topk));
  Device<std::uint8_t> workspace(plan.workspace_bytes());
  std::vector<std::function<void(cudaStream_t)>> calls;
  for (std::size_t i = 0; i < data.size(); ++i) {
    std::array<PooledKeys<const e4m3fn>, LevelsT::count> views;
    for (int l = 0; l < LevelsT::count; ++l) {
      pooled[i].push_back(std::make_unique<Pooled>(data[i], LevelsT::block_sizes()[l]));
      views[std::size_t(l)] = pooled[i].back()->view;
    }
    const Data& d = data[i];
    calls.push_back([&plan, &d, &out, &workspace, views](cudaStream_t stream) {
      plan(stream, d.queries(), d.keys(), views, d.ranges(), {out.data},
           {workspace.data, workspace.size});
    });
  }
  double pairs = 0;
  double rows = double(L);
  for (int l = 0; l < LevelsT::count; ++l) {
    double const size = LevelsT::block_sizes()[l];
    pairs += double(M) * std::min(rows, double(L) / size * 1.0);
    rows = keep[std::size_t(l)] * size;
    if (l + 1 < LevelsT::count)
      pairs += double(M) * rows / LevelsT::block_sizes()[l + 1] -
               double(M) * double(L) / LevelsT::block_sizes()[l + 1];
  }
  pairs += double(M) * rows;
  bench::Times const us = bench::time_graphs(calls, L * M > (std::int64_t(1) << 28) ? 12 : 30, out);

  const Data& d = data[0];
  auto const indices = out.host();
  auto const q = d.q.host(), k = d.k.host();
  auto const w = d.w.host(), scale = d.scale.host();
  std::vector<reference::LevelSize> sizes;
  for (int l = 0; l < LevelsT::count; ++l)
    sizes.push_back({LevelsT::block_sizes()[l], keep[std::size_t(l)]});
  for (std::int64_t t : {std::int64_t(0), M / 2 + 1, M - 1}) {
    Visible v;
    v.query = t, v.end = L - M + t + 1;
    auto const tokens = checked_scores(what, d, t, q, w, k, scale);
    std::vector<std::vector<float>> blocks;
    for (const auto& level : pooled[0])
      blocks.push_back(
          device_scores(d, t, level->view.values, level->view.scales, level->view.blocks));
    reference::Result row;
    reference::keep_row(
        d.keys(), v, sizes, {topk},
        [&](std::size_t l, std::int64_t b) { return blocks[l][std::size_t(b)]; },
        [&](std::int64_t i) { return tokens[std::size_t(i)]; }, row);
    require_right(std::equal(row.indices.begin(), row.indices.end(), indices.begin() + t * topk),
                  what);
  }
  // All rows, where keys stay instead of queries, or the other way round.
  cuda::Device other = device;
  other.pair_queries = M > device.pair_queries ? M : 0;
  auto const again = make(other);
  Device<std::uint8_t> others(again.workspace_bytes());
  std::array<PooledKeys<const e4m3fn>, LevelsT::count> views;
  for (int l = 0; l < LevelsT::count; ++l)
    views[std::size_t(l)] = pooled[0][std::size_t(l)]->view;
  Device<std::int32_t> same(std::size_t(M * topk));
  again(nullptr, d.queries(), d.keys(), views, d.ranges(), {same.data}, {others.data, others.size});
  cuda::check(cudaDeviceSynchronize(), "the other way");
  require_right(same.host() == indices, what);
  print(what, name, us, pairs, sizes.empty() ? 0 : union_of_lists(d, sizes, pooled[0]));
}

void run_score(const std::string& what, const char* name, const std::vector<Data>& data) {
  std::int64_t const M = data[0].M, L = data[0].L;
  Device<float> out(std::size_t(M * L));
  std::vector<std::function<void(cudaStream_t)>> calls;
  for (const Data& d : data)
    calls.push_back([&](cudaStream_t stream) {
      cuda::score(stream, d.queries(), d.keys(), d.ranges(), out.data, L, d.arithmetic);
    });
  bench::Times const us = bench::time_graphs(calls, 15, out);
  const Data& d = data[0];
  auto const q = d.q.host(), k = d.k.host();
  auto const w = d.w.host(), scale = d.scale.host();
  for (std::int64_t t : {std::int64_t(0), M - 1}) { // as the query by itself has them, to the bit
    auto const scores = checked_scores(what, d, t, q, w, k, scale);
    std::vector<float> row(static_cast<std::size_t>(L - M + t + 1));
    cuda::check(cudaMemcpy(row.data(), out.data + t * L, row.size() * 4, cudaMemcpyDefault),
                "copy");
    require_right(std::memcmp(row.data(), scores.data(), row.size() * 4) == 0, what);
  }
  print(what, name, us, double(M) * double(L));
}

void run_topk(const std::string& what, std::int64_t M, std::int64_t L) {
  std::vector<Device<float>> rows;
  Device<std::int32_t> out(std::size_t(M * topk));
  std::vector<std::function<void(cudaStream_t)>> calls;
  for (int i = 0; i < copies; ++i) {
    std::mt19937 random(unsigned(i) + 5u);
    std::normal_distribution<float> normal;
    std::vector<float> table(1 << 20), values(std::size_t(M * L));
    for (float& x : table)
      x = normal(random);
    for (float& x : values)
      x = table[random() >> 12];
    rows.emplace_back(values);
  }
  for (const auto& r : rows)
    calls.push_back([&](cudaStream_t stream) {
      cuda::topk(stream, {r.data, L, nullptr, L, topk, {out.data}}, M);
    });
  bench::Times const us = bench::time_graphs(calls, 20, out);
  auto const indices = out.host();
  for (std::int64_t t : {std::int64_t(0), M - 1}) {
    std::vector<float> row(static_cast<std::size_t>(L));
    cuda::check(cudaMemcpy(row.data(), rows[0].data + t * L, row.size() * 4, cudaMemcpyDefault),
                "copy");
    auto const best = reference::select(row, topk);
    require_right(std::equal(best.begin(), best.end(), indices.begin() + t * topk), what);
  }
  print(what, "random", us, double(M) * double(L) * 4, "tb_per_s");
}

} // namespace

int main(int argc, char** argv) {
  std::string const dump = argc > 1 ? argv[1] : "";
  for (int a = 2; a < argc; ++a) {
    std::string const what = argv[a];
    std::vector<std::string> part;
    std::stringstream stream(what);
    for (std::string s; std::getline(stream, s, ':');)
      part.push_back(s);
    std::int64_t const M = std::stoll(part[1]), L = std::stoll(part[2]);
    if (part[0] == "topk") {
      run_topk(what, M, L);
      continue;
    }
    for (bool const trained : {true, false}) {
      std::vector<Data> data;
      for (unsigned i = 0; i < copies; ++i)
        data.push_back(trained ? from_dump(dump, M, L, i) : from_random(M, L, 10 * i + 1));
      bool const precise = part[0].starts_with("precise-");
      std::string const kind = part[0].substr(precise ? 8 : 0);
      for (Data& d : data)
        d.arithmetic = precise ? Arithmetic::precise : Arithmetic::native;
      const char* const name = trained ? "trained" : "random";
      auto device = cuda::Device::current();
      if (kind == "rows")
        device.few_rows = 0, device.sift_topk = 0;
      if (kind == "hisa" && part.size() > 5)
        device.pair_queries = std::stoll(part[5]);
      if (kind == "score")
        run_score(what, name, data);
      else if (kind == "flat" || kind == "rows")
        run_index<Levels<>>(what, name, data, {}, device,
                            part.size() > 3 ? std::stoull(part[3]) << 20
                                            : Options().workspace_limit);
      else if (kind == "two")
        run_index<Levels<128, 16>>(what, name, data, {256, 512}, device);
      else if (part[3] == "128")
        run_index<Levels<128>>(what, name, data, {std::stoi(part[4])}, device);
      else if (part[3] == "16")
        run_index<Levels<16>>(what, name, data, {std::stoi(part[4])}, device);
    }
  }
}
