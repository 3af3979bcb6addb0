// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What plans and calls refuse, with their sentences; nothing is launched then.
#pragma once

#include "indexer.hpp"

namespace suite {

template <class Act>
void refuses(const std::string& sentence, const Act& act) {
  try {
    act();
    expect(false, "not refused: " + sentence);
  } catch (const precondition_error& e) {
    expect(e.what() == sentence, std::string("said: ") + e.what() + "\n        for:  " + sentence);
  }
}

/// Refuses to make a plan.
template <class LevelsT>
void refuses_plan(const std::string& why, const Shape<>& shape, const Budgets& budgets,
                  const Options& options = {}) {
  refuses("hisa::cuda::make_plan: " + why,
          [&] { cuda::make_plan<LevelsT>(shape, budgets, options); });
}

inline void refused_plans() {
  Shape<> const good{.max_queries = 16, .max_keys = 4096, .heads = 64, .head_dim = D};
  Shape<> few_heads = good, short_heads = good, no_queries = good, many_queries = good,
          long_buffer = good;
  many_queries.max_queries = 33554428; // 2^31 - 257 heads and some
  few_heads.heads = 16, short_heads.head_dim = 64, no_queries.max_queries = 0;
  long_buffer.max_keys = std::numeric_limits<std::int32_t>::max();
  Options reported, physical;
  reported.report_clamped = true, physical.index_base = IndexBase::physical;
  Budgets const flat{.topk = 512};
  refuses_plan<Levels<>>("options.report_clamped is true, expected false: plans on Kokkos report",
                         good, flat, reported);
  refuses_plan<Levels<>>(
      "options.index_base is physical, expected relative or absolute: contiguous "
      "keys have no cache slots",
      good, flat, physical);
  refuses_plan<Levels<>>("shape.heads is 16, expected 64 or 32", few_heads, flat);
  refuses_plan<Levels<>>("shape.head_dim is 64, expected 128", short_heads, flat);
  refuses_plan<Levels<>>("shape.max_queries is 0, expected 1 .. 2147483391", no_queries, flat);
  refuses_plan<Levels<>>("shape.max_queries is 33554428, expected at most 33554427", many_queries,
                         flat);
  refuses_plan<Levels<>>("shape.max_keys is 2147483647, expected 1 .. 2147483391", long_buffer,
                         flat);
  refuses_plan<Levels<>>("budgets.topk is 14337, expected at most 14336", good, {.topk = 14337});
  refuses_plan<Levels<>>("budgets.topk is 0, expected at least 1", good, {.topk = 0});
  refuses_plan<Levels<20>>("block size is 20, expected a multiple of 8", good,
                           {.keep = {64}, .topk = 512});
  refuses_plan<Levels<64, 16>>("block size is 64, expected a multiple of 128", good,
                               {.keep = {64, 64}, .topk = 512});
  refuses_plan<Levels<16>>("budgets.keep is 3969, expected at most 3968", good,
                           {.keep = {3969}, .topk = 512});
  refuses_plan<Levels<128>>("budgets.topk is 512, expected at most 384, the tokens of the kept "
                            "blocks",
                            good, {.keep = {3}, .topk = 512});
  refuses_plan<Levels<128>>("budgets.keep is 0, expected 1 values, one per level", good,
                            {.topk = 512});
}

inline void refused_block_sparse_plans() {
  auto const refuses_block_sparse = [](const std::string& why, const Budgets& budgets,
                                       const Options& options = {}) {
    refuses("hisa::cuda::make_block_sparse_plan: " + why, [&] {
      cuda::make_block_sparse_plan<Levels<dynamic>>(
          Shape<>{.max_queries = 16, .max_keys = 4096, .heads = 64, .head_dim = D}, budgets,
          options);
    });
  };
  refuses_block_sparse("budgets.topk is 500, expected a multiple of the block size 128",
                       {.topk = 500, .block_size = {128}});
  refuses_block_sparse("budgets.topk is 0, expected a multiple of the block size 128",
                       {.topk = 0, .block_size = {128}});
  refuses_block_sparse("block size is 0, expected at least 1", {.topk = 512});
  refuses_block_sparse("budgets.keep is 1, expected 0 values, one per level above the finest",
                       {.keep = {4}, .topk = 512, .block_size = {128}});
  refuses_block_sparse("options.boundary is extra, expected counted or none: the blocks must fit "
                       "topk",
                       {.topk = 512, .block_size = {128}}, {.boundary = Boundary::extra});
  refuses("hisa::cuda::make_plan: shape.heads is 16, expected 64 or 32", [] {
    cuda::make_block_sparse_plan<Levels<128>>(
        Shape<>{.max_queries = 16, .max_keys = 4096, .heads = 16, .head_dim = D}, {.topk = 512});
  });
}

/// Heads that are known when a plan or a call is compiled.
inline void refused_static_heads() {
  refuses("hisa::cuda::make_plan: shape.heads is 16, expected 64 or 32", [] {
    cuda::make_plan<Levels<>>(Shape<16, D>{.max_queries = 16, .max_keys = 4096}, {.topk = 512});
  });
  Case const c{.M = 3, .N = 20, .topk = 5};
  Inputs const in(Problem(c, 85), {});
  Device<float> const values{std::size_t(c.M * c.N)};
  refuses("hisa::cuda::score: queries.heads is 64, expected 32", [&] {
    cuda::score<32>(nullptr, in.queries(), in.keys(), in.ranges(), values.data, c.N);
  });
}

/// What a call with block lists refuses of them.
inline void refused_lists() {
  Case const c{.M = 3, .N = 200, .levels = {{16, 4}}, .topk = 100, .indexing = Indexing::refine};
  Inputs const in(Problem(c, 83), c.levels);
  auto const plan = cuda::make_plan<Levels<16>, CallerBlocks>(
      Shape<>{.max_queries = c.M, .max_keys = c.N, .heads = c.H, .head_dim = D},
      {.keep = {4}, .topk = c.topk});
  Device<std::uint8_t> const workspace(plan.workspace_bytes());
  Outputs const out(c.M, c.topk);
  auto const refused = [&](const std::string& why, const BlockLists& lists) {
    refuses("hisa::cuda::Plan: " + why, [&] {
      plan(nullptr, in.queries(), in.keys(), lists, in.ranges(), out.view(),
           {workspace.data, workspace.size});
    });
  };
  refused("lists.blocks is null, expected a pointer to data", {nullptr, 4});
  refused("lists.capacity is 0, expected 1 .. 4", {in.lists.data, 0});
  refused("lists.capacity is 5, expected 1 .. 4", {in.lists.data, 5});
  refuses("hisa::cuda::make_plan: budgets.keep is 3969, expected at most 3968", [&] {
    cuda::make_plan<Levels<16>, CallerBlocks>(
        Shape<>{.max_queries = c.M, .max_keys = c.N, .heads = c.H, .head_dim = D},
        {.keep = {3969}, .topk = c.topk});
  });
}

/// Refuses a call, and writes nothing.
inline void refused_calls() {
  Case const c{.M = 3, .N = 200, .levels = {{128, 1}}, .topk = 64};
  Problem const p(c, 81);
  Inputs const in(p, c.levels);
  auto const plan = cuda::make_plan<Levels<128>>(
      Shape<>{.max_queries = c.M, .max_keys = c.N, .heads = c.H, .head_dim = D},
      {.keep = {1}, .topk = c.topk});
  Device<std::uint8_t> const workspace(plan.workspace_bytes());
  Outputs const out(c.M, c.topk);
  struct Arguments {
    Queries<e4m3fn> q;
    ContiguousKeys<e4m3fn> k;
    PooledKeys<const e4m3fn> pooled;
    Ranges ranges;
    Selection out;
    WorkspaceSpan workspace;
    QueryRows rows = {};
  };
  Arguments const good{in.queries(), in.keys(),  in.pooled()[0],
                       in.ranges(),  out.view(), {workspace.data, workspace.size}};
  auto const refused = [&](const std::string& why, const auto& change) {
    refuses("hisa::cuda::Plan: " + why, [&] {
      Arguments a = good;
      change(a);
      plan(nullptr, a.q, a.k, a.pooled, a.ranges, a.out, a.workspace, a.rows);
    });
  };
  std::string const bytes = std::to_string(workspace.size);
  refused("queries.count is 4, expected 0 .. 3", [](Arguments& a) { a.q.count = 4; });
  refused("queries.heads is 32, expected 64", [](Arguments& a) { a.q.heads = 32; });
  refused("keys.count is 201, expected 0 .. 200", [](Arguments& a) { a.k.count = 201; });
  refused("keys.values is misaligned, expected an address that is a multiple of 16",
          [](Arguments& a) { ++a.k.values; });
  refused("keys.scales is null, expected a pointer to data",
          [](Arguments& a) { a.k.scales = nullptr; });
  refused("keys.row_stride is 136, expected a multiple of 16",
          [](Arguments& a) { a.k.row_stride = 136; });
  refused("keys.row_stride is 64, expected 0 or at least 128",
          [](Arguments& a) { a.k.row_stride = 64; });
  refused("pooled.block_size is 64, expected 128", [](Arguments& a) { a.pooled.block_size = 64; });
  refused("pooled.blocks is 0, expected at least 1", [](Arguments& a) { a.pooled.blocks = 0; });
  refused("ranges.ke is null, expected a pointer to data",
          [](Arguments& a) { a.ranges.ke = nullptr; });
  refused("out.indices is null, expected a pointer to data",
          [](Arguments& a) { a.out.indices = nullptr; });
  refused("workspace.bytes is " + std::to_string(workspace.size - 1) + ", expected at least " +
              bytes,
          [](Arguments& a) { --a.workspace.bytes; });
  refused("workspace.data is misaligned, expected an address that is a multiple of 16",
          [](Arguments& a) { a.workspace.data = static_cast<char*>(a.workspace.data) + 4; });
  refused("rows.end is 4, expected 0 .. 3", [](Arguments& a) { a.rows.end = 4; });
  refused("rows.first is -1, expected 0 .. 3", [](Arguments& a) { a.rows.first = -1; });
  synchronize("refused calls");
  auto const blank = [](const auto& array) {
    return array == std::vector(array.size(),
                                std::bit_cast<typename std::decay_t<decltype(array)>::value_type>(
                                    0xa5a5a5a5u));
  };
  expect(blank(out.indices.host()) && blank(out.counts.host()) && blank(out.scores.host()),
         "a refused call writes nothing");
  auto const scratch = workspace.host();
  expect(std::all_of(scratch.begin(), scratch.end(), [](std::uint8_t b) { return b == 0xa5; }),
         "a refused call leaves the workspace alone");
}

/// No kernels: nothing is launched, whatever the arguments are.
inline void refused_devices() {
  Shape<> const shape{.max_queries = 16, .max_keys = 4096, .heads = 64, .head_dim = D};
  cuda::Device device = cuda::Device::current();
  for (int architecture : {80, 89, 120}) {
    device.architecture = architecture;
    std::string const why =
        "the device's architecture is " + std::to_string(architecture) + ", expected 90 (sm_90a)";
    refuses("hisa::cuda::make_plan: " + why,
            [&] { cuda::make_plan<Levels<>>(device, shape, {.topk = 512}); });
    refuses("hisa::cuda::make_plan: " + why,
            [&] { cuda::make_plan<Levels<128>>(device, shape, {.keep = {8}, .topk = 512}); });
    refuses("hisa::cuda::score: " + why,
            [&] { cuda::score(device, nullptr, {}, {}, {}, nullptr, 0); });
    refuses("hisa::cuda::topk: the device's architecture is " + std::to_string(architecture) +
                ", expected 90 (sm_90, sm_90a)",
            [&] { cuda::topk(device, nullptr, {}, 1); });
  }
  device.architecture = 90, device.sm_90a = false;
  refuses("hisa::cuda::score: the program's code for the device is not for sm_90a, expected code "
          "of -gencode arch=compute_90a,code=sm_90a",
          [&] { cuda::score(device, nullptr, {}, {}, {}, nullptr, 0); });
}

inline void refused_parts() {
  Device<float> const scores{std::size_t(64)};
  Device<std::int32_t> const indices{std::size_t(64)};
  auto const odd = [](auto* pointer) { // an address within an element
    return reinterpret_cast<decltype(pointer)>(reinterpret_cast<std::uintptr_t>(pointer) + 2);
  };
  auto const topk = [&](const std::string& why, const cuda::TopkTask& task, std::int64_t rows) {
    refuses("hisa::cuda::topk: " + why, [&] { cuda::topk(nullptr, task, rows); });
  };
  topk("topk is 0, expected at least 1", {scores.data, 8, nullptr, 8, 0, {indices.data}}, 2);
  topk("row_stride is 7, expected at least 8", {scores.data, 7, nullptr, 8, 4, {indices.data}}, 2);
  topk("columns is -1, expected 0 .. 2^31 - 257", {scores.data, 8, nullptr, -1, 4, {indices.data}},
       2);
  for (std::int64_t rows : {std::int64_t(-1), std::int64_t(2147483392), std::int64_t(1) << 32})
    topk("rows is " + std::to_string(rows) + ", expected 0 .. 2^31 - 257",
         {scores.data, 8, nullptr, 8, 4, {indices.data}}, rows);
  topk("columns is 2147483392, expected 0 .. 2^31 - 257",
       {scores.data, 2147483392, nullptr, 2147483392, 4, {indices.data}}, 2);
  topk("scores is null, expected a pointer to data", {nullptr, 8, nullptr, 8, 4, {indices.data}},
       2);
  topk("scores is misaligned, expected an address that is a multiple of 4",
       {odd(scores.data), 8, nullptr, 8, 4, {indices.data}}, 2);
  topk("lengths is misaligned, expected an address that is a multiple of 4",
       {scores.data, 8, odd(indices.data), 8, 4, {indices.data}}, 2);
  topk("out.scores is misaligned, expected an address that is a multiple of 4",
       {scores.data, 8, nullptr, 8, 4, {indices.data, odd(scores.data)}}, 2);
  topk("out.indices is null, expected a pointer to data", {scores.data, 8, nullptr, 8, 4, {}}, 2);

  Case const c{.M = 2, .N = 50};
  Inputs const in(Problem(c, 82), {});
  Device<float> const out{std::size_t(c.M * c.N)};
  auto const score = [&](const std::string& why, const Queries<e4m3fn>& q, std::int64_t stride) {
    refuses("hisa::cuda::score: " + why,
            [&] { cuda::score(nullptr, q, in.keys(), in.ranges(), out.data, stride); });
  };
  Queries<e4m3fn> few_heads = in.queries();
  few_heads.heads = 16;
  score("queries.heads is 16, expected 64 or 32", few_heads, c.N);
  Queries<e4m3fn> many = in.queries();
  many.count = 33554428;
  score("queries.count is 33554428, expected 0 .. 33554427", many, c.N);
  score("row_stride is 49, expected at least 50", in.queries(), c.N - 1);
  ContiguousKeys<e4m3fn> far = in.keys();
  far.row_stride = std::int64_t(1) << 40;
  refuses("hisa::cuda::score: keys.row_stride is 1099511627776, expected less than 2^40",
          [&] { cuda::score(nullptr, in.queries(), far, in.ranges(), out.data, c.N); });
  refuses("hisa::cuda::pool_append: sequences.old_length is null, expected a pointer to data",
          [&] { cuda::pool_append<MeanPool>(nullptr, in.keys(), {}, {1}); });
}

inline void refusals() {
  item("what make_plan refuses", refused_plans);
  item("what make_block_sparse_plan refuses", refused_block_sparse_plans);
  item("what a call refuses", refused_calls);
  item("devices that have no kernels", refused_devices);
  item("what a call refuses of block lists", refused_lists);
  item("heads that are known when they are compiled", refused_static_heads);
  item("what top-k, score and pooling refuse", refused_parts);
}

} // namespace suite
