// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Every kernel of every entry runs on the caller's execution space instance under a label that
// begins with hisa::, and a call does nothing but launch kernels.
#include "support/instances.hpp"
#include "support/paged.hpp"
#include "support/tools.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>

using namespace hisa_test;
using hisa::e4m3fn, hisa::Levels, hisa::MeanPool;

namespace {

/// A call of an entry, with all memory that it needs made beforehand.
struct Entry {
  std::string name;
  std::function<void(const Exec&)> call;
};

/// Keeps alive what the calls use.
struct Memory {
  Problem<e4m3fn> p = Problem<e4m3fn>::random(90, 6, 900, 16, 32);
  DeviceProblem<e4m3fn> device{p};
  DevicePooled<e4m3fn> coarse{pool_reference(p, 64)}, middle{pool_reference(p, 32)},
      fine{pool_reference(p, 16)}, rows{pool_reference(p, 32)};
  PagedProblem<e4m3fn> paged{91, {300, 250}, 64, 16, 32, 3};
  std::vector<std::byte> bytes = paged.pages();
  Problem<e4m3fn> queries = paged.all_queries();
  Device<e4m3fn> q{queries.q};
  Device<float> w{queries.w};
  Device<std::byte> cache{bytes};
  Device<std::int32_t> table{paged.table}, lengths{paged.lengths};
  DevicePooled<e4m3fn> paged_rows{paged.pool(bytes, 32)};
  Device<std::int32_t> lists{std::vector<std::int32_t>(6 * 3, 2)};
  Device<std::int32_t> zero{std::vector<std::int32_t>{0, 0}},
      length{std::vector<std::int32_t>{900}};
  Device<float> logits{std::vector<float>(6 * 900)};
  DeviceSelection out{6, 64};
  Device<std::uint64_t> workspace = make_workspace(1 << 22);
};

std::vector<Entry> all_entries() {
  auto const m = std::make_shared<Memory>();
  auto const ws = span(m->workspace, 1 << 22);
  Exec const exec;
  hisa::Shape<> const shape{.max_queries = 6, .max_keys = 900, .heads = 16, .head_dim = 32};
  std::vector<Entry> all;
  auto const hierarchy = [&](const std::string& name, const auto& plan, const auto& pooled) {
    all.push_back({name, [=](const Exec& e) {
                     plan(e, m->device.queries, m->device.keys, pooled, m->device.ranges,
                          m->out.view(), ws);
                   }});
  };
  using Rows = hisa::PooledKeys<const e4m3fn>;
  auto const flat = hisa::make_plan<Levels<>>(exec, shape, {.topk = 64});
  all.push_back({"flat", [=](const Exec& e) {
                   flat(e, m->device.queries, m->device.keys, m->device.ranges, m->out.view(), ws);
                 }});
  auto const groups = hisa::make_plan<Levels<>>(exec, shape, {.topk = 64}, {.workspace_limit = 0});
  all.push_back({"flat, one query at a time", [=](const Exec& e) {
                   groups(e, m->device.queries, m->device.keys, m->device.ranges, m->out.view(),
                          ws);
                 }});
  hierarchy("one level", hisa::make_plan<Levels<32>>(exec, shape, {.keep = {8}, .topk = 64}),
            m->middle.view);
  hierarchy("two levels",
            hisa::make_plan<Levels<64, 16>>(exec, shape, {.keep = {6, 8}, .topk = 64}),
            std::array<Rows, 2>{m->coarse.view, m->fine.view});
  hierarchy("three levels",
            hisa::make_plan<Levels<64, 32, 16>>(exec, shape, {.keep = {6, 7, 8}, .topk = 64}),
            std::array<Rows, 3>{m->coarse.view, m->middle.view, m->fine.view});
  hierarchy("block-sparse", hisa::make_block_sparse_plan<Levels<32>>(exec, shape, {.topk = 64}),
            m->middle.view);
  hierarchy("refine",
            hisa::make_plan<Levels<32>, hisa::CallerBlocks>(exec, shape, {.keep = {3}, .topk = 64}),
            hisa::BlockLists{m->lists.data(), 3});
  all.push_back({"score", [=](const Exec& e) {
                   hisa::score(e, m->device.queries, m->device.keys, m->device.ranges,
                               {m->logits.data(), 900}, ws);
                 }});
  all.push_back({"pool_append", [=](const Exec& e) {
                   hisa::pool_append<MeanPool>(e, m->device.keys, m->rows.view,
                                               {1, m->zero.data(), m->length.data(), nullptr});
                 }});
  all.push_back({"pool_rebuild", [=](const Exec& e) {
                   hisa::pool_rebuild<MeanPool>(e, m->device.keys, m->rows.view,
                                                {1, nullptr, m->length.data(), nullptr});
                 }});

  using Paged = hisa::PagedKeys<e4m3fn>;
  auto const keys = m->paged.keys(m->cache.data(), m->table.data());
  hisa::Queries<e4m3fn> const queries{m->q.data(), m->w.data(), 6, 16, 32};
  hisa::Lengths const lengths{m->lengths.data(), 2, 3, hisa::LengthsForm::per_sequence};
  auto const decode = hisa::make_plan<Levels<32>, MeanPool, hisa::RadixSelect, Paged>(
      exec, shape, {.keep = {4}, .topk = 64}, {.index_base = hisa::IndexBase::physical});
  all.push_back({"decode over pages", [=](const Exec& e) {
                   decode(e, queries, keys, m->paged_rows.view, lengths, m->out.view(), ws);
                 }});
  all.push_back({"score over pages", [=](const Exec& e) {
                   hisa::score(e, queries, keys, lengths, {m->logits.data(), 900}, ws);
                 }});
  all.push_back({"pool_append over pages", [=](const Exec& e) {
                   hisa::pool_append<MeanPool>(e, keys, m->paged_rows.view,
                                               {2, m->zero.data(), m->lengths.data(), nullptr});
                 }});
  exec.fence();
  return all;
}

/// What Kokkos allocates for itself when an instance runs its first team kernel, whosever it is: on
/// OpenMP the reduction scratch of each thread. A call may start that, but adds nothing.
std::vector<std::string> allocations_of_an_empty_kernel(const Exec& fresh) {
  return record([&] { run_empty_kernel(fresh); }).allocations;
}

} // namespace

// First in the file, so that these are the first calls of the process.
TEST_CASE("no call allocates, copies or waits, not even the first of the process") {
  auto const entries = all_entries();
  for (int round = 1; round <= 2; ++round)
    for (const Entry& entry : entries) {
      INFO(entry.name << ", round " << round);
      Exec const exec;
      Recording const seen = record([&] { entry.call(exec); });
      exec.fence();
      CHECK_FALSE(seen.kernels.empty());
      CHECK(seen.copies == std::vector<std::string>{});
      CHECK(seen.fences == std::vector<std::string>{});
      if (round == 1 && &entry == &entries.front()) { // Kokkos' own, once
        auto const own = allocations_of_an_empty_kernel(two_instances()[1]);
        for (const std::string& label : seen.allocations)
          CHECK(std::find(own.begin(), own.end(), label) != own.end());
      } else {
        CHECK(seen.allocations == std::vector<std::string>{});
      }
    }
}

TEST_CASE("no call allocates, copies or waits on an instance that has never run a kernel") {
  for (const Entry& entry : all_entries()) {
    INFO(entry.name);
    auto const own = allocations_of_an_empty_kernel(two_instances()[1]);
    auto const fresh = two_instances();
    Recording const seen = record([&] { entry.call(fresh[1]); });
    fresh[1].fence();
    CHECK_FALSE(seen.kernels.empty());
    CHECK(seen.allocations == own);
    CHECK(seen.copies == std::vector<std::string>{});
    CHECK(seen.fences == std::vector<std::string>{});
  }
}

TEST_CASE("every label begins with hisa::, and each step has its own") {
  std::set<std::string> labels;
  for (const Entry& entry : all_entries()) {
    INFO(entry.name);
    for (const std::string& label : record([&] { entry.call(Exec()); }).labels()) {
      CHECK(label.starts_with("hisa::"));
      labels.insert(label);
    }
  }
  Exec().fence();
  CHECK(labels == std::set<std::string>{"hisa::block_lists", "hisa::pool", "hisa::score",
                                        "hisa::score::prepare", "hisa::select"});
}

namespace {

/// Every entry on each instance: on host spaces by keeping every other instance busy, elsewhere by
/// the ids that Kokkos Tools reports.
template <class Space>
void require_on_its_instance(const std::vector<Space>& instances) {
  for (const Space& exec : instances)
    for (const Entry& entry : all_entries()) {
      INFO(entry.name);
      if constexpr (Lockable<Space>) {
        REQUIRE((exec != Space() && instances[0] != instances[1]));
        Space const& other = exec == instances[0] ? instances[1] : instances[0];
        REQUIRE(runs_nothing_on(Space(), [&] { entry.call(exec); }));
        REQUIRE(runs_nothing_on(other, [&] { entry.call(exec); }));
      } else {
        using Kokkos::Tools::Experimental::device_id;
        if (device_id(instances[0]) == device_id(instances[1]))
          SKIP("the instances of " << Space::name() << " cannot be told apart");
        for (const Recording::Kernel& kernel : record([&] { entry.call(exec); }).kernels)
          REQUIRE(kernel.device == device_id(exec));
        exec.fence();
      }
    }
}

/// The check itself: a kernel on another instance is seen.
template <class Space>
void require_seen(const std::vector<Space>& instances) {
  if constexpr (Lockable<Space>) {
    REQUIRE(runs_nothing_on(instances[0], [&] { run_empty_kernel(instances[1]); }));
    REQUIRE_FALSE(runs_nothing_on(
        instances[0], [&] { run_empty_kernel(instances[0]); }, std::chrono::milliseconds(300)));
  } else {
    SKIP("instances are told apart by their ids");
  }
}

} // namespace

TEST_CASE("every kernel runs on the caller's instance") {
  require_on_its_instance(two_instances());
}

TEST_CASE("the test above would see a kernel on another instance") {
  require_seen(two_instances());
}
