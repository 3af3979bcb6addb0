// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The whole library compiled with -fno-exceptions: plans, calls and pooling give what the reference
// does, and a refusal calls the user's handler with its sentence.
#include "support/paged.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

static_assert(HISA_HAS_EXCEPTIONS == 0, "compile this file with -fno-exceptions");

using namespace hisa_test;
using hisa::e4m3fn, hisa::Levels;

namespace {

bool failed = false;
void check(bool ok, const char* what) {
  std::printf("%s: %s\n", ok ? "passed" : "FAILED", what);
  failed = failed || !ok;
}

template <class Strategy>
void check_strategy(const Problem<e4m3fn>& p) {
  DeviceProblem<e4m3fn> const d(p);
  Device<std::int32_t> const length(std::vector<std::int32_t>{std::int32_t(p.N)});
  DevicePooled<e4m3fn> const rows(Pooled<e4m3fn>(p.N / 32, 32, p.D));
  hisa::pool_rebuild<hisa::MeanPool>(Exec(), d.keys, rows.view,
                                     {1, nullptr, length.data(), nullptr});
  Setting const setting{{{32, 4}}, 64};
  auto const result = run_on_device<hisa::MeanPool, Strategy>(Exec(), setting, d.queries, d.keys,
                                                              {rows.view}, d.ranges);
  check(same(result, run_reference(p, setting, {pool_reference(p, 32)})), Strategy::name);
}

} // namespace

int main(int argc, char** argv) {
  Kokkos::initialize(argc, argv);
  auto const p = Problem<e4m3fn>::random(330, 4, 500, 8, 32);
  check_strategy<hisa::RadixSelect>(p);
  check_strategy<hisa::SortSelect>(p);
  check_strategy<hisa::StreamSelect>(p);
  PagedProblem<e4m3fn> const pages(331, {300, 64}, 64, 8, 32, 2);
  check(same(pages.run(Setting{{}, 64}), pages.run_reference(Setting{{}, 64})), "pages");

  // A refusal must not return: the handler ends the program, and says how all this went.
  hisa::set_failure_handler([](const char* said) {
    check(std::strcmp(said, "hisa::make_plan: budgets.topk is 0, expected at least 1") == 0, said);
    std::fflush(stdout);
    std::_Exit(failed ? 1 : 0);
  });
  (void)hisa::make_plan<Levels<>>(
      Exec(), hisa::Shape<>{.max_queries = 1, .max_keys = 1, .heads = 1, .head_dim = 1}, {});
  return 2;
}
