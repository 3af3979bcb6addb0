// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Every public entry refuses what breaks its contract with one sentence, before anything is
// launched or written, and accepts every legal edge. The refusals of views are in views.cpp.
#include "support/paged.hpp"
#include "support/tools.hpp"

#include <catch2/catch_test_macros.hpp>

#include <limits>
#include <string>

using namespace hisa_test;
using hisa::bf16, hisa::dynamic, hisa::e4m3fn, hisa::Levels, hisa::MeanPool;

namespace {

/// The sentence with which a call refuses; empty where it accepts. A refusal launches, allocates,
/// copies and waits for nothing.
template <class Call>
std::string refusal(const Call& call) {
  Recorder const recorder;
  try {
    call();
  } catch (const hisa::precondition_error& error) {
    CHECK(recorder.seen().nothing());
    return error.what();
  }
  return {};
}

/// Two rows for each block of an even size.
struct Halves : MeanPool {
  static constexpr int rows = 2;
};

hisa::Shape<> shape(std::int64_t queries = 4, std::int64_t keys = 300, int heads = 3,
                    int head_dim = 8) {
  return {.max_queries = queries, .max_keys = keys, .heads = heads, .head_dim = head_dim};
}

template <class LevelsT, class Source = MeanPool, class ShapeT = hisa::Shape<>>
std::string plan_refusal(const ShapeT& s, const hisa::Budgets& budgets,
                         const hisa::Options& options = {}) {
  return refusal([&] { (void)hisa::make_plan<LevelsT, Source>(Exec(), s, budgets, options); });
}

std::string plan_refusal_of(const std::string& rest) {
  return "hisa::make_plan: " + rest;
}

/// The arguments of any call of a plan, valid until a test changes one.
template <class KeysT, class Visibility>
struct Arguments {
  using T = typename KeysT::element_type;
  hisa::Queries<T> queries;
  KeysT keys;
  std::array<hisa::PooledKeys<const T>, 2> pooled;
  hisa::BlockLists lists;
  Visibility visibility;
  hisa::Selection out;
  hisa::WorkspaceSpan workspace;
};

/// 4 queries with 3 heads of dimension 8 over 256 keys, of plans that allow 4 and 300; pooled
/// levels of 32 and 16; lists of 5 blocks of 32.
struct Contiguous {
  using KeysT = hisa::ContiguousKeys<e4m3fn>;
  static constexpr int topk = 20;
  Exec exec;
  Problem<e4m3fn> p = Problem<e4m3fn>::random(70, 4, 256, 3, 8);
  DeviceProblem<e4m3fn> device{p};
  DevicePooled<e4m3fn> coarse{pool_reference(p, 32)}, fine{pool_reference(p, 16)};
  Device<std::int32_t> lists{std::vector<std::int32_t>(4 * 5, 1)};
  DeviceSelection out{4, topk};
  Device<std::uint64_t> memory = make_workspace(1 << 20);

  decltype(hisa::make_plan<Levels<>>(exec, shape(), {.topk = topk})) flat =
      hisa::make_plan<Levels<>>(exec, shape(), {.topk = topk});
  decltype(hisa::make_plan<Levels<32>>(exec, shape(), {})) one =
      hisa::make_plan<Levels<32>>(exec, shape(), {.keep = {3}, .topk = topk});
  decltype(hisa::make_plan<Levels<32, 16>>(exec, shape(), {})) two =
      hisa::make_plan<Levels<32, 16>>(exec, shape(), {.keep = {3, 4}, .topk = topk});
  decltype(hisa::make_plan<Levels<32>, hisa::CallerBlocks>(exec, shape(), {})) refine =
      hisa::make_plan<Levels<32>, hisa::CallerBlocks>(exec, shape(), {.keep = {5}, .topk = topk});

  Arguments<KeysT, hisa::Ranges> arguments() const {
    return {device.queries, device.keys, {coarse.view, fine.view}, {lists.data(), 5},
            device.ranges,  out.view(),  {memory.data(), 1 << 20}};
  }
  void call_flat(const Arguments<KeysT, hisa::Ranges>& a) const {
    flat(exec, a.queries, a.keys, a.visibility, a.out, a.workspace);
  }
  void call_one(const Arguments<KeysT, hisa::Ranges>& a) const {
    one(exec, a.queries, a.keys, a.pooled[0], a.visibility, a.out, a.workspace);
  }
  void call_two(const Arguments<KeysT, hisa::Ranges>& a) const {
    two(exec, a.queries, a.keys, a.pooled, a.visibility, a.out, a.workspace);
  }
  void call_refine(const Arguments<KeysT, hisa::Ranges>& a) const {
    refine(exec, a.queries, a.keys, a.lists, a.visibility, a.out, a.workspace);
  }
  void require_untouched() const {
    REQUIRE(out.indices.host() == std::vector<std::int32_t>(4 * topk, -77));
    REQUIRE(out.counts.host() == std::vector<std::int32_t>(4, -77));
    REQUIRE(out.scores.host() == std::vector<float>(4 * topk, -77.0f));
  }
  /// Each call form refuses the changed arguments with `sentence`.
  template <class Change>
  void refuse_everywhere(const std::string& sentence, const Change& change) const {
    auto a = arguments();
    change(a);
    CHECK(refusal([&] { call_flat(a); }) == sentence);
    CHECK(refusal([&] { call_one(a); }) == sentence);
    CHECK(refusal([&] { call_two(a); }) == sentence);
    CHECK(refusal([&] { call_refine(a); }) == sentence);
    require_untouched();
  }
};

/// 3 sequences of up to 5 pages of 16 tokens and 2 queries each, of plans that allow 6 and 80.
struct Paged {
  using KeysT = hisa::PagedKeys<e4m3fn>;
  static constexpr int topk = 20;
  Exec exec;
  PagedProblem<e4m3fn> p{71, {60, 33, 64}, 16, 3, 8, 2};
  std::vector<std::byte> bytes = p.pages();
  Problem<e4m3fn> all = p.all_queries();
  Device<e4m3fn> q{all.q};
  Device<float> w{all.w};
  Device<std::byte> cache{bytes};
  Device<std::int32_t> table{p.table}, lengths{p.lengths};
  Device<std::int32_t> zeros{std::vector<std::int32_t>(3, 0)};
  DevicePooled<e4m3fn> coarse{p.pool(bytes, 32)}, fine{p.pool(bytes, 8)};
  DeviceSelection out{6, topk};
  Device<std::uint64_t> memory = make_workspace(1 << 20);

  decltype(hisa::make_plan<Levels<32, 8>, MeanPool, hisa::RadixSelect, KeysT>(exec, shape(),
                                                                              {})) plan =
      hisa::make_plan<Levels<32, 8>, MeanPool, hisa::RadixSelect, KeysT>(
          exec, shape(6, 80), {.keep = {2, 4}, .topk = topk});

  Arguments<KeysT, hisa::Lengths> arguments() const {
    return {{q.data(), w.data(), 6, 3, 8},
            p.keys(cache.data(), table.data()),
            {coarse.view, fine.view},
            {},
            {lengths.data(), 3, 2, hisa::LengthsForm::per_sequence},
            out.view(),
            {memory.data(), 1 << 20}};
  }
  void call(const Arguments<KeysT, hisa::Lengths>& a) const {
    plan(exec, a.queries, a.keys, a.pooled, a.visibility, a.out, a.workspace);
  }
  template <class Change>
  void refuse(const std::string& sentence, const Change& change) const {
    auto a = arguments();
    change(a);
    CHECK(refusal([&] { call(a); }) == sentence);
    REQUIRE(out.indices.host() == std::vector<std::int32_t>(6 * topk, -77));
    REQUIRE(out.counts.host() == std::vector<std::int32_t>(6, -77));
  }
};

/// A pointer one byte past an aligned one.
template <class T>
T* off_by_one(T* pointer) {
  return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(pointer) + 1);
}

} // namespace

TEST_CASE("make_plan refuses extents out of range") {
  std::string const range = "expected 1 .. 2147483647";
  for (std::int64_t bad : {std::int64_t(0), std::int64_t(-3), std::int64_t(1) << 31}) {
    CHECK(plan_refusal<Levels<>>(shape(bad), {.topk = 1}) ==
          plan_refusal_of("shape.max_queries is " + std::to_string(bad) + ", " + range));
    CHECK(plan_refusal<Levels<>>(shape(1, bad), {.topk = 1}) ==
          plan_refusal_of("shape.max_keys is " + std::to_string(bad) + ", " + range));
  }
  CHECK(plan_refusal<Levels<>>(shape(1, 1, 0), {.topk = 1}) ==
        plan_refusal_of("shape.heads is 0, expected 1 .. 65536"));
  CHECK(plan_refusal<Levels<>>(shape(1, 1, 1, -8), {.topk = 1}) ==
        plan_refusal_of("shape.head_dim is -8, expected 1 .. 65536"));
  hisa::Shape<64, 128> const other_heads{.max_queries = 1, .max_keys = 1, .heads = 32};
  CHECK(plan_refusal<Levels<>>(other_heads, {.topk = 1}) ==
        plan_refusal_of("shape.heads is 32, expected 64, its static value"));
  hisa::Shape<dynamic, 128> const other_dim{
      .max_queries = 1, .max_keys = 1, .heads = 1, .head_dim = 64};
  CHECK(plan_refusal<Levels<>>(other_dim, {.topk = 1}) ==
        plan_refusal_of("shape.head_dim is 64, expected 128, its static value"));
}

TEST_CASE("make_plan refuses budgets that contradict the levels") {
  auto const s = shape();
  for (int topk : {0, -1})
    CHECK(plan_refusal<Levels<>>(s, {.topk = topk}) ==
          plan_refusal_of("budgets.topk is " + std::to_string(topk) + ", expected at least 1"));
  CHECK(plan_refusal<Levels<128>>(s, {.topk = 1}) ==
        plan_refusal_of("budgets.keep is 0, expected 1 values, one per level"));
  CHECK(plan_refusal<Levels<>>(s, {.keep = {1}, .topk = 1}) ==
        plan_refusal_of("budgets.keep is 1, expected 0 values, one per level"));
  CHECK(plan_refusal<Levels<128>>(s, {.keep = {1, 1, 1, 1, 1, 1, 1, 1}, .topk = 1}) ==
        plan_refusal_of("budgets.keep is 8, expected 1 values, one per level"));
  CHECK(plan_refusal<Levels<128>>(s, {.keep = {0}, .topk = 1}) ==
        plan_refusal_of("budgets.keep is 0, expected at least 1"));
  CHECK(
      plan_refusal<Levels<128, 16>>(s, {.keep = {2, 17}, .topk = 1}) ==
      plan_refusal_of("budgets.keep is 17, expected at most 16, the blocks of the coarser level's "
                      "budget"));
  CHECK(plan_refusal<Levels<128, 16>>(s, {.keep = {2, 4}, .topk = 65}) ==
        plan_refusal_of("budgets.topk is 65, expected at most 64, the tokens of the kept blocks"));
  CHECK(
      plan_refusal<Levels<128>>(s, {.keep = {2}, .topk = 257}) ==
      plan_refusal_of("budgets.topk is 257, expected at most 256, the tokens of the kept blocks"));
}

TEST_CASE("make_plan refuses block sizes that contradict the levels, each other or the rule") {
  auto const s = shape();
  using Two = Levels<dynamic, dynamic>;
  CHECK(plan_refusal<Levels<dynamic>>(s, {.keep = {1}, .topk = 1}) ==
        plan_refusal_of("budgets.block_size is empty, expected the sizes of the dynamic levels"));
  CHECK(plan_refusal<Two>(s, {.keep = {1, 1}, .topk = 1, .block_size = {32}}) ==
        plan_refusal_of("budgets.block_size is 1, expected 2 values, one per level"));
  CHECK(plan_refusal<Levels<>>(s, {.topk = 1, .block_size = {32}}) ==
        plan_refusal_of("budgets.block_size is 1, expected 0 values, one per level"));
  CHECK(plan_refusal<Levels<128>>(s, {.keep = {1}, .topk = 1, .block_size = {64}}) ==
        plan_refusal_of("budgets.block_size is 64, expected 128, its static value"));
  for (int bad : {0, -16})
    CHECK(plan_refusal<Levels<dynamic>>(s, {.keep = {1}, .topk = 1, .block_size = {bad}}) ==
          plan_refusal_of("block size is " + std::to_string(bad) + ", expected at least 1"));
  for (int bad : {24, 32, 64})
    CHECK(plan_refusal<Two>(s, {.keep = {1, 1}, .topk = 1, .block_size = {32, bad}}) ==
          plan_refusal_of("block size is " + std::to_string(bad) +
                          ", expected a proper divisor of the coarser level's 32"));
  CHECK(plan_refusal<Levels<15>, Halves>(s, {.keep = {1}, .topk = 1}) ==
        plan_refusal_of("block size is 15, expected a multiple of the rule's 2 rows"));
}

TEST_CASE("make_plan refuses physical indices of contiguous keys") {
  CHECK(plan_refusal<Levels<>>(shape(), {.topk = 1}, {.index_base = hisa::IndexBase::physical}) ==
        plan_refusal_of("options.index_base is physical, expected relative or absolute: contiguous "
                        "keys have no cache slots"));
}

TEST_CASE("make_block_sparse_plan refuses what does not fit topk") {
  auto const refused = [](hisa::Budgets const& budgets, hisa::Options const& options = {}) {
    return refusal([&] {
      (void)hisa::make_block_sparse_plan<Levels<dynamic>>(Exec(), shape(), budgets, options);
    });
  };
  std::string const start = "hisa::make_block_sparse_plan: ";
  CHECK(refused({.topk = 32}) == start + "block size is 0, expected at least 1");
  CHECK(refused({.topk = 100, .block_size = {32}}) ==
        start + "budgets.topk is 100, expected a multiple of the block size 32");
  for (int topk : {16, 0, -32})
    CHECK(refused({.topk = topk, .block_size = {32}}) ==
          start + "budgets.topk is " + std::to_string(topk) +
              ", expected a multiple of the block size 32");
  CHECK(refused({.topk = 64, .block_size = {32}}, {.boundary = hisa::Boundary::extra}) ==
        start + "options.boundary is extra, expected counted or none: the blocks must fit topk");
  CHECK(refused({.keep = {2}, .topk = 64, .block_size = {32}}) ==
        start + "budgets.keep is 1, expected 0 values, one per level above the finest");
  CHECK(refused({.topk = 64, .block_size = {32}}).empty());
  CHECK(refused({.topk = 64, .block_size = {32}}, {.boundary = hisa::Boundary::none}).empty());
  auto const two = [](hisa::Budgets const& budgets) {
    return refusal(
        [&] { (void)hisa::make_block_sparse_plan<Levels<128, 16>>(Exec(), shape(), budgets); });
  };
  CHECK(two({.topk = 64}) ==
        start + "budgets.keep is 0, expected 1 values, one per level above the finest");
  CHECK(two({.keep = {2}, .topk = 100}) ==
        start + "budgets.topk is 100, expected a multiple of the block size 16");
  CHECK(
      two({.keep = {2}, .topk = 272}) ==
      plan_refusal_of("budgets.keep is 17, expected at most 16, the blocks of the coarser level's "
                      "budget"));
  CHECK(two({.keep = {2}, .topk = 256}).empty());
}

TEST_CASE("a plan refuses queries that do not fit it, whatever its levels") {
  Contiguous const c;
  c.refuse_everywhere("hisa::Plan: queries.count is 5, expected 0 .. 4",
                      [](auto& a) { a.queries.count = 5; });
  c.refuse_everywhere("hisa::Plan: queries.count is -1, expected 0 .. 4",
                      [](auto& a) { a.queries.count = -1; });
  c.refuse_everywhere("hisa::Plan: queries.heads is 4, expected 3",
                      [](auto& a) { a.queries.heads = 4; });
  c.refuse_everywhere("hisa::Plan: queries.head_dim is 16, expected 8",
                      [](auto& a) { a.queries.head_dim = 16; });
  c.refuse_everywhere("hisa::Plan: queries.values is null, expected a pointer to data",
                      [](auto& a) { a.queries.values = nullptr; });
  c.refuse_everywhere("hisa::Plan: queries.weights is null, expected a pointer to data",
                      [](auto& a) { a.queries.weights = nullptr; });
}

TEST_CASE("a plan refuses contiguous keys and ranges that do not fit it, whatever its levels") {
  Contiguous const c;
  c.refuse_everywhere("hisa::Plan: keys.count is 301, expected 0 .. 300",
                      [](auto& a) { a.keys.count = 301; });
  c.refuse_everywhere("hisa::Plan: keys.count is -1, expected 0 .. 300",
                      [](auto& a) { a.keys.count = -1; });
  c.refuse_everywhere("hisa::Plan: keys.head_dim is 7, expected 8",
                      [](auto& a) { a.keys.head_dim = 7; });
  for (int bad : {7, -8})
    c.refuse_everywhere("hisa::Plan: keys.row_stride is " + std::to_string(bad) +
                            ", expected 0 or at least 8",
                        [&](auto& a) { a.keys.row_stride = bad; });
  c.refuse_everywhere("hisa::Plan: keys.values is null, expected a pointer to data",
                      [](auto& a) { a.keys.values = nullptr; });
  c.refuse_everywhere("hisa::Plan: keys.scales is null, expected a pointer to data",
                      [](auto& a) { a.keys.scales = nullptr; });
  c.refuse_everywhere("hisa::Plan: ranges.ks is null, expected a pointer to data",
                      [](auto& a) { a.visibility.ks = nullptr; });
  c.refuse_everywhere("hisa::Plan: ranges.ke is null, expected a pointer to data",
                      [](auto& a) { a.visibility.ke = nullptr; });
}

TEST_CASE("a plan refuses a missing output and an unfit workspace, whatever its levels") {
  Contiguous const c;
  c.refuse_everywhere("hisa::Plan: out.indices is null, expected a pointer to data",
                      [](auto& a) { a.out.indices = nullptr; });
  c.refuse_everywhere("hisa::Plan: workspace.data is null, expected a pointer to data",
                      [](auto& a) { a.workspace.data = nullptr; });
  c.refuse_everywhere(
      "hisa::Plan: workspace.data is misaligned, expected an address that is a multiple of 16",
      [](auto& a) { a.workspace.data = static_cast<char*>(a.workspace.data) + 8; });
  auto a = c.arguments();
  std::size_t const needed = c.two.workspace_bytes();
  a.workspace.bytes = needed - 1;
  CHECK(refusal([&] { c.call_two(a); }) == "hisa::Plan: workspace.bytes is " +
                                               std::to_string(needed - 1) + ", expected at least " +
                                               std::to_string(needed));
  c.require_untouched();
  a.workspace.bytes = needed;
  CHECK(refusal([&] { c.call_two(a); }).empty());
}

TEST_CASE("a plan refuses pooled keys that do not fit the level") {
  Contiguous const c;
  auto const refuse = [&](const std::string& sentence, auto const& change) {
    for (std::size_t level : {0, 1}) { // the first of one, and both of two
      auto a = c.arguments();
      change(a.pooled[level]);
      std::string full = "hisa::Plan: " + sentence;
      if (std::size_t const at = full.find("$SIZE"); at != std::string::npos)
        full.replace(at, 5, level == 0 ? "32" : "16");
      if (std::size_t const at = full.find("$BLOCKS"); at != std::string::npos)
        full.replace(at, 7, level == 0 ? "8" : "16");
      CHECK(refusal([&] { c.call_two(a); }) == full);
      if (level == 0)
        CHECK(refusal([&] { c.call_one(a); }) == full);
    }
    c.require_untouched();
  };
  refuse("pooled.block_size is 64, expected $SIZE", [](auto& p) { p.block_size = 64; });
  refuse("pooled.block_size is 0, expected $SIZE", [](auto& p) { p.block_size = 0; });
  refuse("pooled.head_dim is 9, expected 8", [](auto& p) { p.head_dim = 9; });
  refuse("pooled.blocks is 7, expected at least $BLOCKS", [](auto& p) { p.blocks = 7; });
  refuse("pooled.values is null, expected a pointer to data", [](auto& p) { p.values = nullptr; });
  refuse("pooled.scales is null, expected a pointer to data", [](auto& p) { p.scales = nullptr; });
}

TEST_CASE("a plan refuses block lists that do not fit its budget") {
  Contiguous const c;
  auto const refuse = [&](const std::string& sentence, auto const& change) {
    auto a = c.arguments();
    change(a.lists);
    CHECK(refusal([&] { c.call_refine(a); }) == "hisa::Plan: " + sentence);
    c.require_untouched();
  };
  refuse("lists.blocks is null, expected a pointer to data", [](auto& l) { l.blocks = nullptr; });
  for (int bad : {0, -1, 6})
    refuse("lists.capacity is " + std::to_string(bad) + ", expected 1 .. 5",
           [&](auto& l) { l.capacity = bad; });
}

TEST_CASE("every entry refuses paged keys that are not a cache") {
  Paged const c;
  Device<float> const logits(std::vector<float>(6 * 80, -77.0f));
  Pooled<e4m3fn> const garbage(36, 8, 8);
  DevicePooled<e4m3fn> const rows(garbage);
  auto const refuse = [&](const std::string& rest, auto const& change) {
    auto a = c.arguments();
    change(a.keys);
    hisa::Sequences const sequences{3, c.zeros.data(), c.lengths.data(), nullptr};
    CHECK(refusal([&] { c.call(a); }) == "hisa::Plan: " + rest);
    CHECK(refusal([&] {
            hisa::score(c.exec, a.queries, a.keys, a.visibility, {logits.data(), 80}, a.workspace);
          }) == "hisa::score: " + rest);
    CHECK(refusal([&] { hisa::pool_append<MeanPool>(c.exec, a.keys, rows.view, sequences); }) ==
          "hisa::pool_append: " + rest);
    CHECK(refusal([&] { hisa::pool_rebuild<MeanPool>(c.exec, a.keys, rows.view, sequences); }) ==
          "hisa::pool_rebuild: " + rest);
    REQUIRE(c.out.indices.host() == std::vector<std::int32_t>(6 * Paged::topk, -77));
    REQUIRE(logits.host() == std::vector<float>(6 * 80, -77.0f));
    REQUIRE(rows.scales.host() == garbage.scales);
  };
  std::string const null = " is null, expected a pointer to data";
  refuse("keys.page_size is 0, expected at least 1", [](auto& k) { k.page_size = 0; });
  refuse("keys.batch is -1, expected 0 .. 2147483647", [](auto& k) { k.batch = -1; });
  refuse("keys.max_pages is -1, expected at least 0", [](auto& k) { k.max_pages = -1; });
  refuse("keys.page_stride is 191, expected 0 or at least 192",
         [](auto& k) { k.page_stride = 191; });
  refuse("keys.page_stride is 254, expected a multiple of 4", [](auto& k) { k.page_stride = 254; });
  refuse("keys.pages" + null, [](auto& k) { k.pages = nullptr; });
  refuse("keys.pages is misaligned, expected an address that is a multiple of 4",
         [](auto& k) { k.pages += 2; });
  refuse("keys.page_table" + null, [](auto& k) { k.page_table = nullptr; });
}

TEST_CASE("every entry refuses pages whose scales would not be aligned") {
  Paged const c;
  auto const odd = shape(6, 80, 3, 7); // 3 tokens of 7 values
  auto const plan = hisa::make_plan<Levels<>, MeanPool, hisa::RadixSelect, Paged::KeysT>(
      c.exec, odd, {.topk = Paged::topk});
  auto a = c.arguments();
  a.queries.head_dim = a.keys.head_dim = 7;
  a.keys.page_size = 3;
  std::string const rest =
      "keys.page_size * keys.head_dim is 21, expected a multiple of 4, so that "
      "a page's scales are aligned";
  CHECK(refusal([&] { plan(c.exec, a.queries, a.keys, a.visibility, a.out, a.workspace); }) ==
        "hisa::Plan: " + rest);
  CHECK(refusal([&] {
          hisa::score(c.exec, a.queries, a.keys, a.visibility, hisa::Logits{}, a.workspace);
        }) == "hisa::score: " + rest);
  CHECK(refusal([&] { hisa::pool_rebuild<MeanPool>(c.exec, a.keys, c.coarse.view, {}); }) ==
        "hisa::pool_rebuild: " + rest);
}

TEST_CASE("a plan refuses paged keys that it was not made for") {
  Paged const c;
  c.refuse("hisa::Plan: keys.head_dim is 16, expected 8", [](auto& a) { a.keys.head_dim = 16; });
  c.refuse("hisa::Plan: keys.max_pages is 6, expected at most 5",
           [](auto& a) { a.keys.max_pages = 6; });
}

TEST_CASE("misaligned values are refused by every entry") {
  auto const p = Problem<bf16>::random(75, 2, 64, 2, 4);
  DeviceProblem<bf16> const d(p);
  DevicePooled<bf16> const rows(pool_reference(p, 16));
  DeviceSelection out(2, 4);
  auto const memory = make_workspace(1 << 20);
  hisa::WorkspaceSpan const workspace{memory.data(), 1 << 20};
  auto const plan =
      hisa::make_plan<Levels<>, MeanPool, hisa::RadixSelect, hisa::ContiguousKeys<bf16>>(
          Exec(), shape(2, 64, 2, 4), {.topk = 4});
  std::string const rest = "values is misaligned, expected an address that is a multiple of 2";
  auto queries = d.queries;
  auto keys = d.keys;
  Device<float> const logits(std::vector<float>(2 * 64));
  Device<std::int32_t> const length(std::vector<std::int32_t>{64});
  auto const selects = [&] {
    return refusal([&] { plan(Exec(), queries, keys, d.ranges, out.view(), workspace); });
  };
  auto const scores = [&] {
    return refusal([&] {
      hisa::score(Exec(), queries, keys, d.ranges, {logits.data(), 64}, workspace);
    });
  };
  auto const pools = [&](const hisa::PooledKeys<bf16>& pooled) {
    return refusal([&] {
      hisa::pool_rebuild<MeanPool>(Exec(), keys, pooled, {1, nullptr, length.data(), nullptr});
    });
  };
  queries.values = off_by_one(d.queries.values);
  CHECK(selects() == "hisa::Plan: queries." + rest);
  CHECK(scores() == "hisa::score: queries." + rest);
  queries = d.queries;
  keys.values = off_by_one(d.keys.values);
  CHECK(selects() == "hisa::Plan: keys." + rest);
  CHECK(scores() == "hisa::score: keys." + rest);
  CHECK(pools(rows.view) == "hisa::pool_rebuild: keys." + rest);
  keys = d.keys;
  auto odd = rows.view;
  odd.values = off_by_one(rows.view.values);
  CHECK(pools(odd) == "hisa::pool_rebuild: pooled." + rest);
}

TEST_CASE("ragged calls that do not fit the pages, and rows beyond the call, are refused") {
  Paged const c;
  auto const a = c.arguments();
  hisa::Ragged const good{c.zeros.data(), c.lengths.data(), 3};
  std::size_t const bytes = hisa::score_workspace_bytes(3, 8, 1);
  Device<std::uint64_t> const memory = make_workspace(bytes);
  Device<float> const logits(std::vector<float>(6 * 80, -77.0f));
  auto const refuse = [&](const std::string& rest, const hisa::Ragged& ragged,
                          const hisa::QueryRows& rows = {}) {
    CHECK(refusal([&] {
            c.plan(c.exec, a.queries, a.keys, a.pooled, ragged, a.out, a.workspace, rows);
          }) == "hisa::Plan: " + rest);
    CHECK(refusal([&] {
            hisa::score(c.exec, a.queries, a.keys, ragged, {logits.data(), 80}, span(memory, bytes),
                        rows);
          }) == "hisa::score: " + rest);
    REQUIRE(c.out.indices.host() == std::vector<std::int32_t>(6 * Paged::topk, -77));
    REQUIRE(logits.host() == std::vector<float>(6 * 80, -77.0f));
  };
  auto bad = good;
  bad.batch = 2;
  refuse("ragged.batch is 2, expected 3, the rows of the page table", bad);
  bad = good, bad.row_seq = nullptr;
  refuse("ragged.row_seq is null, expected a pointer to data", bad);
  bad = good, bad.row_visible = nullptr;
  refuse("ragged.row_visible is null, expected a pointer to data", bad);
  refuse("rows.first is -1, expected 0 .. 6", good, {-1, 2});
  refuse("rows.first is 7, expected 0 .. 6", good, {7, 7});
  refuse("rows.end is 1, expected 2 .. 6", good, {2, 1});
  refuse("rows.end is 7, expected 2 .. 6", good, {2, 7});
  refuse("rows.end is -2, expected 0 .. 6", good, {0, -2});
}

TEST_CASE("a plan refuses lengths and pooled buffers that do not fit the pages") {
  Paged const c;
  c.refuse("hisa::Plan: lengths.next_n is 0, expected at least 1",
           [](auto& a) { a.visibility.next_n = 0; });
  c.refuse("hisa::Plan: lengths.batch is 2, expected 3, the rows of the page table",
           [](auto& a) { a.visibility.batch = 2; });
  c.refuse("hisa::Plan: lengths.batch * lengths.next_n is 9, expected 6, the number of queries",
           [](auto& a) { a.visibility.next_n = 3; });
  c.refuse("hisa::Plan: lengths.lengths is null, expected a pointer to data",
           [](auto& a) { a.visibility.lengths = nullptr; });
  c.refuse("hisa::Plan: pooled.blocks is 17, expected at least 18",
           [](auto& a) { a.pooled[0].blocks = 17; });
  c.refuse("hisa::Plan: pooled.blocks is 35, expected at least 36",
           [](auto& a) { a.pooled[1].blocks = 35; });
  c.refuse("hisa::Plan: pooled.block_size is 32, expected a multiple or a divisor of the page size "
           "20",
           [](auto& a) { a.keys.page_size = 20, a.keys.page_stride = 0, a.keys.max_pages = 4; });
}

TEST_CASE("score refuses what breaks its contract and writes nothing") {
  Contiguous const c;
  Device<float> const logits(std::vector<float>(4 * 256, -77.0f));
  hisa::Logits const valid{logits.data(), 256};
  auto const refuse = [&](const std::string& sentence, auto const& change) {
    auto a = c.arguments();
    auto out = valid;
    change(a, out);
    CHECK(refusal([&] {
            hisa::score(c.exec, a.queries, a.keys, a.visibility, out, a.workspace);
          }) == "hisa::score: " + sentence);
    REQUIRE(logits.host() == std::vector<float>(4 * 256, -77.0f));
  };
  std::string const null = " is null, expected a pointer to data";
  refuse("queries.heads is 0, expected 1 .. 65536", [](auto& a, auto&) { a.queries.heads = 0; });
  refuse("queries.head_dim is 0, expected 1 .. 65536",
         [](auto& a, auto&) { a.queries.head_dim = 0; });
  refuse("queries.count is -1, expected 0 .. 2147483647",
         [](auto& a, auto&) { a.queries.count = -1; });
  refuse("queries.values" + null, [](auto& a, auto&) { a.queries.values = nullptr; });
  refuse("queries.weights" + null, [](auto& a, auto&) { a.queries.weights = nullptr; });
  refuse("keys.count is -1, expected 0 .. 2147483647", [](auto& a, auto&) { a.keys.count = -1; });
  refuse("keys.head_dim is 4, expected 8", [](auto& a, auto&) { a.keys.head_dim = 4; });
  refuse("keys.row_stride is 4, expected 0 or at least 8",
         [](auto& a, auto&) { a.keys.row_stride = 4; });
  refuse("keys.values" + null, [](auto& a, auto&) { a.keys.values = nullptr; });
  refuse("keys.scales" + null, [](auto& a, auto&) { a.keys.scales = nullptr; });
  refuse("ranges.ks" + null, [](auto& a, auto&) { a.visibility.ks = nullptr; });
  refuse("ranges.ke" + null, [](auto& a, auto&) { a.visibility.ke = nullptr; });
  refuse("out.values" + null, [](auto&, auto& out) { out.values = nullptr; });
  refuse("out.row_stride is 255, expected at least 256",
         [](auto&, auto& out) { out.row_stride = 255; });
  std::size_t const needed = hisa::score_workspace_bytes(3, 8, 1);
  refuse("workspace.bytes is " + std::to_string(needed - 1) + ", expected at least " +
             std::to_string(needed),
         [&](auto& a, auto&) { a.workspace.bytes = needed - 1; });
  refuse("workspace.data" + null, [](auto& a, auto&) { a.workspace.data = nullptr; });
  refuse(
      "workspace.data is misaligned, expected an address that is a multiple of 16",
      [](auto& a, auto&) { a.workspace.data = off_by_one(static_cast<char*>(a.workspace.data)); });
}

TEST_CASE("score refuses paged keys that do not fit the queries") {
  Paged const c;
  Device<float> const logits(std::vector<float>(6 * 80, -77.0f));
  auto const refuse = [&](const std::string& sentence, auto const& change) {
    auto a = c.arguments();
    change(a);
    CHECK(refusal([&] {
            hisa::score(c.exec, a.queries, a.keys, a.visibility, {logits.data(), 80}, a.workspace);
          }) == "hisa::score: " + sentence);
    REQUIRE(logits.host() == std::vector<float>(6 * 80, -77.0f));
  };
  refuse("lengths.next_n is 0, expected at least 1", [](auto& a) { a.visibility.next_n = 0; });
  refuse("lengths.batch is 6, expected 3, the rows of the page table",
         [](auto& a) { a.visibility.batch = 6, a.visibility.next_n = 1; });
  refuse("lengths.batch * lengths.next_n is 9, expected 6, the number of queries",
         [](auto& a) { a.visibility.next_n = 3; });
  refuse("lengths.lengths is null, expected a pointer to data",
         [](auto& a) { a.visibility.lengths = nullptr; });
  refuse("keys.max_pages is 134217729, expected at most 134217727",
         [](auto& a) { a.keys.max_pages = (std::int64_t(1) << 31) / 16 + 1; });
  refuse("out.row_stride is 80, expected at least 96", [](auto& a) { a.keys.max_pages = 6; });
}

TEST_CASE("pool_append and pool_rebuild refuse what breaks their contract and write nothing") {
  Contiguous const c;
  Pooled<e4m3fn> const garbage(8, 32, 8);
  DevicePooled<e4m3fn> const rows(garbage);
  Device<std::int32_t> const zero(std::vector<std::int32_t>{0}), full({256});
  struct All {
    hisa::ContiguousKeys<e4m3fn> keys;
    hisa::PooledKeys<e4m3fn> pooled;
    hisa::Sequences sequences;
  } const valid{c.device.keys, rows.view, {1, zero.data(), full.data(), nullptr}};
  auto const refuse = [&](const std::string& sentence, auto const& change) {
    All a = valid;
    change(a);
    CHECK(refusal([&] { hisa::pool_append<MeanPool>(c.exec, a.keys, a.pooled, a.sequences); }) ==
          "hisa::pool_append: " + sentence);
    CHECK(refusal([&] { hisa::pool_rebuild<MeanPool>(c.exec, a.keys, a.pooled, a.sequences); }) ==
          "hisa::pool_rebuild: " + sentence);
    REQUIRE(std::memcmp(rows.values.host().data(), garbage.values.data(), garbage.values.size()) ==
            0);
    REQUIRE(rows.scales.host() == garbage.scales);
  };
  std::string const null = " is null, expected a pointer to data";
  refuse("keys.head_dim is 0, expected at least 1", [](All& a) { a.keys.head_dim = 0; });
  refuse("keys.count is -5, expected 0 .. 2147483647", [](All& a) { a.keys.count = -5; });
  refuse("keys.row_stride is 7, expected 0 or at least 8", [](All& a) { a.keys.row_stride = 7; });
  refuse("keys.values" + null, [](All& a) { a.keys.values = nullptr; });
  refuse("keys.scales" + null, [](All& a) { a.keys.scales = nullptr; });
  for (int bad : {0, -32})
    refuse("pooled.block_size is " + std::to_string(bad) + ", expected at least 1",
           [&](All& a) { a.pooled.block_size = bad; });
  refuse("pooled.head_dim is 16, expected 8", [](All& a) { a.pooled.head_dim = 16; });
  refuse("pooled.blocks is 7, expected at least 8", [](All& a) { a.pooled.blocks = 7; });
  refuse("pooled.values" + null, [](All& a) { a.pooled.values = nullptr; });
  refuse("pooled.scales" + null, [](All& a) { a.pooled.scales = nullptr; });
  refuse("sequences.count is -1, expected 0 .. 2147483647", [](All& a) { a.sequences.count = -1; });
  refuse("sequences.new_length" + null, [](All& a) { a.sequences.new_length = nullptr; });

  CHECK(refusal([&] {
          hisa::pool_append<MeanPool>(c.exec, valid.keys, valid.pooled,
                                      {1, nullptr, full.data(), nullptr});
        }) == "hisa::pool_append: sequences.old_length" + null);
  All odd = valid;
  odd.pooled.block_size = 33;
  std::string const rows_of_rule =
      "pooled.block_size is 33, expected a multiple of the rule's 2 rows";
  CHECK(refusal([&] { hisa::pool_append<Halves>(c.exec, odd.keys, odd.pooled, odd.sequences); }) ==
        "hisa::pool_append: " + rows_of_rule);
  CHECK(refusal([&] { hisa::pool_rebuild<Halves>(c.exec, odd.keys, odd.pooled, odd.sequences); }) ==
        "hisa::pool_rebuild: " + rows_of_rule);

  Paged const paged;
  auto const a = paged.arguments();
  CHECK(refusal([&] {
          hisa::pool_rebuild<MeanPool>(paged.exec, a.keys, paged.coarse.view,
                                       {4, nullptr, paged.lengths.data(), nullptr});
        }) == "hisa::pool_rebuild: sequences.count is 4, expected at most 3");
  auto uneven = paged.coarse.view;
  uneven.block_size = 24;
  CHECK(refusal([&] {
          hisa::pool_rebuild<MeanPool>(paged.exec, a.keys, uneven,
                                       {3, nullptr, paged.lengths.data(), nullptr});
        }) ==
        "hisa::pool_rebuild: pooled.block_size is 24, expected a multiple or a divisor of the "
        "page size 16");
}

TEST_CASE("a call without queries is legal, needs no pointer and launches nothing") {
  Contiguous const c;
  auto const nothing = [&](auto const& call) {
    Recording const seen = record(call);
    CHECK(seen.nothing());
  };
  Arguments<Contiguous::KeysT, hisa::Ranges> empty;
  empty.queries = {nullptr, nullptr, 0, 3, 8};
  empty.keys.head_dim = 8;
  nothing([&] { c.call_flat(empty); });
  nothing([&] { c.call_one(empty); });
  nothing([&] { c.call_two(empty); });
  nothing([&] { c.call_refine(empty); });
  nothing([&] {
    hisa::score(c.exec, empty.queries, empty.keys, empty.visibility, hisa::Logits{},
                hisa::WorkspaceSpan{});
  });
  nothing([&] {
    hisa::PooledKeys<e4m3fn> pooled;
    pooled.block_size = 32, pooled.head_dim = 8;
    hisa::pool_append<MeanPool>(c.exec, empty.keys, pooled, {});
    hisa::pool_rebuild<MeanPool>(c.exec, empty.keys, pooled, {});
  });
  Paged const paged;
  Arguments<Paged::KeysT, hisa::Lengths> no_batch;
  no_batch.queries = {nullptr, nullptr, 0, 3, 8};
  no_batch.keys.page_size = 16, no_batch.keys.head_dim = 8;
  nothing([&] { paged.call(no_batch); });
}

TEST_CASE("a call without keys is legal and gives rows of -1") {
  Contiguous const c;
  auto a = c.arguments();
  a.keys = {nullptr, nullptr, 0, 8, 0};
  for (auto& level : a.pooled)
    level.values = nullptr, level.scales = nullptr, level.blocks = 0;
  auto const all_absent = [&] {
    c.exec.fence();
    REQUIRE(c.out.indices.host() == std::vector<std::int32_t>(4 * Contiguous::topk, -1));
    REQUIRE(c.out.counts.host() == std::vector<std::int32_t>(4, 0));
    for (float score : c.out.scores.host())
      REQUIRE(score == -std::numeric_limits<float>::infinity());
  };
  c.call_flat(a), all_absent();
  c.call_one(a), all_absent();
  c.call_two(a), all_absent();
  c.call_refine(a), all_absent();
  Device<float> const logits(std::vector<float>{-77.0f});
  hisa::score(c.exec, a.queries, a.keys, a.visibility, {logits.data(), 0}, a.workspace);
  c.exec.fence();
  REQUIRE(logits.host() == std::vector<float>{-77.0f});
}

TEST_CASE("pages without a page and blocks without a complete one are legal") {
  Paged const c;
  auto a = c.arguments();
  a.keys.max_pages = 0, a.keys.page_table = nullptr, a.keys.pages = nullptr, a.keys.page_count = 0;
  for (auto& level : a.pooled)
    level.values = nullptr, level.scales = nullptr, level.blocks = 0;
  c.call(a);
  c.exec.fence();
  REQUIRE(c.out.indices.host() == std::vector<std::int32_t>(6 * Paged::topk, -1));

  auto const p = Problem<e4m3fn>::random(72, 2, 31, 3, 8); // a block of 32 never completes
  Pooled<e4m3fn> none(0, 32, 8);
  REQUIRE(same(run(p, {{{32, 1}}, 20}, {none}), run_reference(p, {{}, 20})));
  DeviceProblem<e4m3fn> const device(p);
  Device<std::int32_t> const length(std::vector<std::int32_t>{31});
  hisa::PooledKeys<e4m3fn> rows;
  rows.block_size = 32, rows.head_dim = 8;
  hisa::pool_rebuild<MeanPool>(c.exec, device.keys, rows, {1, nullptr, length.data(), nullptr});
  c.exec.fence();
}

TEST_CASE("budgets beyond the keys are legal: k > keys, m > blocks, both") {
  auto const p = Problem<e4m3fn>::random(73, 4, 100, 3, 8);
  REQUIRE(same(run(p, {{}, 1000}), run_reference(p, {{}, 1000})));
  for (Setting const& setting : {Setting{{{32, 500}}, 20}, Setting{{{32, 500}}, 1000},
                                 Setting{{{32, 400}, {16, 700}}, 5000}}) {
    std::vector<Pooled<e4m3fn>> pooled;
    for (auto [size, keep] : setting.levels)
      pooled.push_back(pool_reference(p, size));
    REQUIRE(same(run(p, setting, pooled), run_reference(p, setting, pooled)));
    REQUIRE(same(run(p, setting, pooled), run_reference(p, {{}, setting.topk})));
  }
}

TEST_CASE("outputs, scales of unquantised keys and anchors are optional") {
  Contiguous const c;
  auto a = c.arguments();
  a.out.scores = nullptr, a.out.counts = nullptr, a.visibility.anchor = nullptr;
  CHECK(refusal([&] { c.call_two(a); }).empty());
  c.exec.fence();
  REQUIRE(c.out.counts.host() == std::vector<std::int32_t>(4, -77));
  auto const p = Problem<bf16>::random(74, 2, 90, 2, 4);
  REQUIRE(p.k_scale.empty());
  std::vector<Pooled<bf16>> const pooled{pool_reference(p, 16)};
  REQUIRE(pooled[0].view.scales == nullptr);
  REQUIRE(same(run(p, {{{16, 2}}, 8}, pooled), run_reference(p, {{{16, 2}}, 8}, pooled)));
}

TEST_CASE("misaligned arrays are refused by every entry, not only misaligned values") {
  Contiguous const c;
  auto const odd = [](const std::string& argument) {
    return "hisa::Plan: " + argument +
           " is misaligned, expected an address that is a multiple of 4";
  };
  c.refuse_everywhere(odd("queries.weights"),
                      [](auto& a) { a.queries.weights = off_by_one(a.queries.weights); });
  c.refuse_everywhere(odd("keys.scales"),
                      [](auto& a) { a.keys.scales = off_by_one(a.keys.scales); });
  c.refuse_everywhere(odd("ranges.ks"),
                      [](auto& a) { a.visibility.ks = off_by_one(a.visibility.ks); });
  c.refuse_everywhere(odd("out.indices"),
                      [](auto& a) { a.out.indices = off_by_one(a.out.indices); });
  c.refuse_everywhere(odd("out.scores"), [](auto& a) { a.out.scores = off_by_one(a.out.scores); });
  auto a = c.arguments();
  a.pooled[0].scales = off_by_one(a.pooled[0].scales);
  CHECK(refusal([&] { c.call_two(a); }) == odd("pooled.scales"));
  a = c.arguments();
  a.lists.blocks = off_by_one(a.lists.blocks);
  CHECK(refusal([&] { c.call_refine(a); }) == odd("lists.blocks"));
}

TEST_CASE("the number of pages in a cache is checked") {
  Paged const c;
  c.refuse("hisa::Plan: keys.page_count is -1, expected at least 0",
           [](auto& a) { a.keys.page_count = -1; });
  c.refuse("hisa::Plan: keys.page_count is 0, expected at least 1", [](auto& a) {
    a.keys.page_count = 0; // so that no pooled block is needed either
    for (auto& level : a.pooled)
      level.values = nullptr, level.scales = nullptr, level.blocks = 0;
    a.visibility.lengths = nullptr; // refused for another reason where page_count is not looked at
  });
}

TEST_CASE("cache slots beyond 32 bits are refused where they are asked for") {
  Paged const c;
  auto const plan = hisa::make_plan<Levels<>, MeanPool, hisa::RadixSelect, Paged::KeysT>(
      c.exec, shape(6, 80), {.topk = Paged::topk}, {.index_base = hisa::IndexBase::physical});
  auto a = c.arguments();
  a.keys.page_count = (std::int64_t(1) << 31) / 16; // the last slot is 2^31 - 1
  CHECK(
      refusal([&] { plan(c.exec, a.queries, a.keys, a.visibility, a.out, a.workspace); }).empty());
  ++a.keys.page_count;
  CHECK(refusal([&] {
          plan(c.exec, a.queries, a.keys, a.visibility, a.out, a.workspace);
        }).starts_with("hisa::Plan: keys.page_count is 134217729, expected at most 134217728"));
}

TEST_CASE("make_plan refuses heads and dimensions whose sizes overflow") {
  CHECK(plan_refusal<Levels<>>(shape(1, 1, 1 << 30, 1 << 30), {.topk = 1})
            .starts_with(plan_refusal_of("shape.")));
  CHECK(plan_refusal<Levels<>>(shape(1, 1, std::numeric_limits<int>::max(), 1), {.topk = 1})
            .starts_with(plan_refusal_of("shape.")));
}

TEST_CASE("pooling several sequences of a contiguous buffer into the same rows is refused") {
  Contiguous const c;
  Device<std::int32_t> const lengths(std::vector<std::int32_t>{100, 100});
  Device<std::int32_t> const begins(std::vector<std::int32_t>{0, 128});
  DevicePooled<e4m3fn> const rows(Pooled<e4m3fn>(8, 32, 8));
  CHECK(refusal([&] {
          hisa::pool_rebuild<MeanPool>(c.exec, c.device.keys, rows.view,
                                       {2, nullptr, lengths.data(), begins.data()});
        }).starts_with("hisa::pool_rebuild: pooled.begin is null, expected"));
}

TEST_CASE("pooled rows without memory are refused, also where `begin` says where they start") {
  Contiguous const c;
  auto a = c.arguments();
  Device<std::int32_t> const begin(std::vector<std::int32_t>(64, 0));
  for (auto& level : a.pooled)
    level.values = nullptr, level.scales = nullptr, level.blocks = 0, level.begin = begin.data();
  CHECK(refusal([&] { c.call_two(a); }).starts_with("hisa::Plan: pooled.blocks is 0, expected"));
}

TEST_CASE("pages beyond the plan's keys are refused: no visible key is cut off silently") {
  PagedProblem<float> const p(76, {120}, 64, 2, 4, 1);
  Exec const exec;
  auto const plan = hisa::make_plan<Levels<>, MeanPool, hisa::RadixSelect, hisa::PagedKeys<float>>(
      exec, shape(1, 100, 2, 4), {.topk = 2});
  auto const bytes = p.pages();
  Device<std::byte> const cache(bytes);
  Device<std::int32_t> const table(p.table), lengths(p.lengths);
  Device<float> const q(std::vector<float>(8, 1.0f)), w(std::vector<float>(2, 1.0f));
  DeviceSelection out(1, 2);
  auto const memory = make_workspace(plan.workspace_bytes());
  CHECK(refusal([&] {
          plan(exec, hisa::Queries<float>{q.data(), w.data(), 1, 2, 4},
               p.keys(cache.data(), table.data()), hisa::Lengths{lengths.data(), 1}, out.view(),
               span(memory, plan.workspace_bytes()));
        }) == "hisa::Plan: keys.max_pages is 3, expected at most 1");
}
