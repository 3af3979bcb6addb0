// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A plan of any levels with its workspace, and what its calls give.
#pragma once

#include "inputs.hpp"

#include <functional>
#include <limits>

namespace suite {

/// A call's outputs on the host.
struct Result {
  std::int64_t topk = 0;
  std::vector<std::int32_t> indices, counts;
  std::vector<float> scores;

  std::size_t at(std::int64_t t) const { return std::size_t(t * topk); }
};

/// Whether row i of `a` has the bits of row j of `b`.
inline bool same_row(const Result& a, std::int64_t i, const Result& b, std::int64_t j) {
  std::size_t const bytes = std::size_t(a.topk) * 4;
  return a.topk == b.topk && a.counts[std::size_t(i)] == b.counts[std::size_t(j)] &&
         std::memcmp(&a.indices[a.at(i)], &b.indices[b.at(j)], bytes) == 0 &&
         std::memcmp(&a.scores[a.at(i)], &b.scores[b.at(j)], bytes) == 0;
}

/// A call's outputs on the device.
struct Outputs {
  std::int64_t topk;
  Device<std::int32_t> indices, counts;
  Device<float> scores;

  Outputs(std::int64_t rows, std::int64_t k)
      : topk(k), indices(std::size_t(rows * k)), counts(std::size_t(rows)),
        scores(std::size_t(rows * k)) {}
  Selection view(bool with_scores = true) const {
    return {indices.data, with_scores ? scores.data : nullptr, counts.data};
  }
  void fill(int byte) { indices.fill(byte), counts.fill(byte), scores.fill(byte); }
  Result host() const { return {topk, indices.host(), counts.host(), scores.host()}; }
  /// Whether nothing was written behind the end.
  bool intact() const { return indices.intact() && counts.intact() && scores.intact(); }
};

/// The device as a case has it whose rows of scores are not stored.
inline void set_flat(cuda::Device& device, const Case& c) {
  device.processors = c.flat_ctas, device.flat_keys = c.flat_keys;
  device.few_rows = std::numeric_limits<std::int64_t>::max();
  device.sift_topk = c.sifts ? 2048 : 0;
}

/// A flat call that the flat kernel takes, or the sift kernel, with so many CTAs.
inline Case by_flat_kernel(Case c, int ctas, bool sifts = false) {
  cuda::Device device = cuda::Device::current();
  c.flat_ctas = ctas, c.sifts = sifts;
  set_flat(device, c);
  auto const plan = cuda::make_plan<Levels<>>(
      device, Shape<>{.max_queries = c.M, .max_keys = c.N, .heads = c.H, .head_dim = D},
      {.topk = c.topk});
  if (!device.suits_contenders(c.M, c.N, sifts) ||
      plan.path().find("contenders") == std::string::npos)
    throw std::logic_error(c.text() + ": by rows of scores");
  return c;
}
inline Case by_sift_kernel(const Case& c, int ctas) {
  return by_flat_kernel(c, ctas, true);
}

class Indexer {
public:
  /// For calls of up to `max_queries` and `max_keys`; by default the case's.
  explicit Indexer(const Case& c, std::int64_t max_queries = 0, std::int64_t max_keys = 0) {
    Shape<> const shape{.max_queries = std::max(max_queries, c.M),
                        .max_keys = std::max(max_keys, c.N),
                        .heads = c.H,
                        .head_dim = D};
    Budgets budgets;
    budgets.topk = c.topk;
    std::vector<std::int64_t> sizes;
    for (const auto& l : c.levels) {
      sizes.push_back(l.block_size);
      budgets.keep.push_back(int(l.keep)), budgets.block_size.push_back(int(l.block_size));
    }
    if (c.indexing == Indexing::block_sparse)
      --budgets.keep.count; // the finest level's follows
    Options options;
    options.boundary = c.boundary, options.index_base = c.base, options.workspace_limit = c.limit;
    options.arithmetic = c.arithmetic;
    indexing_ = c.indexing;
    if (c.flat_ctas > 0)
      set_flat(device_, c);
    if (c.pair_queries >= 0)
      device_.pair_queries = c.pair_queries;
    using Sizes = std::vector<std::int64_t>;
    if (sizes.empty())
      make<Levels<>>(shape, budgets, options);
    else if (sizes == Sizes{128})
      make<Levels<128>>(shape, budgets, options);
    else if (sizes == Sizes{64})
      make<Levels<64>>(shape, budgets, options);
    else if (sizes == Sizes{128, 16})
      make<Levels<128, 16>>(shape, budgets, options);
    else if (sizes.size() == 1)
      make<Levels<dynamic>>(shape, budgets, options);
    else if (sizes.size() == 2)
      make<Levels<dynamic, dynamic>>(shape, budgets, options);
    else
      make<Levels<dynamic, dynamic, dynamic>>(shape, budgets, options);
    topk_ = c.topk, text_ = c.text();
    workspace_ = Device<std::uint8_t>(bytes_);
  }

  /// Enqueues a call in a workspace of the caller's.
  void operator()(cudaStream_t stream, const Inputs& in, const Selection& out,
                  const Device<std::uint8_t>& workspace) const {
    call_(stream, in, out, {workspace.data, workspace.size}, {});
  }
  /// Enqueues a call.
  void operator()(cudaStream_t stream, const Inputs& in, const Selection& out,
                  const QueryRows& rows = {}) const {
    call_(stream, in, out, {workspace_.data, workspace_.size}, rows);
  }
  /// Makes a call and waits for it. Rows that it leaves alone hold bytes 0xa5. The same call
  /// without scores must agree, and nothing may be written behind outputs and workspace.
  Result select(const Inputs& in, const QueryRows& rows = {}) const {
    Outputs const out(in.M, topk_), short_of_scores(in.M, topk_);
    (*this)(nullptr, in, out.view(), rows);
    (*this)(nullptr, in, short_of_scores.view(false), rows);
    synchronize("plan");
    Result r = out.host();
    expect(short_of_scores.indices.host() == r.indices && short_of_scores.counts.host() == r.counts,
           text_ + ": the same indices and counts without scores");
    expect(out.intact() && short_of_scores.intact() && workspace_.intact(),
           text_ + ": nothing is written behind outputs and workspace");
    return r;
  }
  Device<std::uint8_t>& workspace() { return workspace_; }
  std::size_t workspace_bytes() const { return bytes_; }
  /// The plan's.
  const std::string& path() const { return path_; }

private:
  using Call = void(cudaStream_t, const Inputs&, const Selection&, const WorkspaceSpan&,
                    const QueryRows&);
  std::function<Call> call_;
  std::size_t bytes_ = 0;
  Device<std::uint8_t> workspace_;
  std::int64_t topk_ = 0;
  std::string text_, path_;
  Indexing indexing_ = Indexing::hierarchical;
  cuda::Device device_ = cuda::Device::current();

  template <class LevelsT>
  void make(const Shape<>& shape, const Budgets& budgets, const Options& options) {
    if constexpr (LevelsT::count > 0)
      if (indexing_ == Indexing::block_sparse)
        return adopt(cuda::make_block_sparse_plan<LevelsT>(shape, budgets, options),
                     levels_of<LevelsT>);
    if constexpr (LevelsT::count == 1)
      if (indexing_ == Indexing::refine)
        return adopt(cuda::make_plan<LevelsT, CallerBlocks>(shape, budgets, options),
                     [](const Inputs& in) { return in.block_lists(); });
    if (shape.heads == 32) // known when it is compiled
      adopt(cuda::make_plan<LevelsT>(
                device_, Shape<32, D>{.max_queries = shape.max_queries, .max_keys = shape.max_keys},
                budgets, options),
            levels_of<LevelsT>);
    else
      adopt(cuda::make_plan<LevelsT>(device_, shape, budgets, options), levels_of<LevelsT>);
  }
  /// @param blocks  blocks(inputs) is what the plan's calls take as such
  template <class Plan, class Blocks>
  void adopt(const Plan& plan, const Blocks& blocks) {
    bytes_ = plan.workspace_bytes(), path_ = plan.path();
    call_ = [plan, blocks](cudaStream_t stream, const Inputs& in, const Selection& out,
                           const WorkspaceSpan& workspace, const QueryRows& rows) {
      plan(stream, in.queries(), in.keys(), blocks(in), in.ranges(), out, workspace, rows);
    };
  }
  template <class LevelsT>
  static std::array<PooledKeys<const e4m3fn>, LevelsT::count> levels_of(const Inputs& in) {
    auto const pooled = in.pooled();
    std::array<PooledKeys<const e4m3fn>, LevelsT::count> levels;
    auto from = pooled.begin();
    for (auto& level : levels)
      level = *from++;
    return levels;
  }
};

} // namespace suite
