// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Decode over a paged cache that grows: each step writes one token per sequence, pools the block that
// it may complete, and selects tokens as physical cache slots.
#include <hisa/hisa.hpp>

#include <cmath>
#include <cstdio>

using Exec = Kokkos::DefaultExecutionSpace;
using Element = hisa::e4m3fn;

constexpr int batch = 3, page_size = 64, max_pages = 8, B = 32, H = 16, D = 64, k = 64;
constexpr int pages_in_cache = batch * max_pages;
constexpr auto page_bytes = hisa::PagedKeys<Element>::page_bytes(page_size, D);

/// Any deterministic values will do for an example.
KOKKOS_FUNCTION float value(int sequence, int token, int d) {
  return Kokkos::sin(0.37f * float(d) + 0.11f * float(token) + 1.7f * float(sequence));
}

int main(int argc, char** argv) {
  Kokkos::ScopeGuard const kokkos(argc, argv);
  Exec const exec;
  using Memory = Exec::memory_space;

  // 1. The cache. Pages are handed out in turns, so a sequence's pages are not neighbours.
  Kokkos::View<std::byte*, Memory> const cache("cache", pages_in_cache * page_bytes);
  Kokkos::View<std::int32_t*, Memory> const table("page table", batch * max_pages);
  Kokkos::parallel_for(
      "table", Kokkos::RangePolicy<Exec>(exec, 0, batch * max_pages),
      KOKKOS_LAMBDA(int i) { table(i) = (i % max_pages) * batch + i / max_pages; });
  hisa::PagedKeys<Element> const keys{.pages = cache.data(),
                                      .page_count = pages_in_cache,
                                      .page_size = page_size,
                                      .page_table = table.data(),
                                      .batch = batch,
                                      .max_pages = max_pages,
                                      .head_dim = D};

  // 2. Pooled rows share the page table: page_size / B rows belong to each page.
  constexpr int blocks = pages_in_cache * (page_size / B);
  Kokkos::View<Element*, Memory> const rows("rows", blocks * D);
  Kokkos::View<float*, Memory> const row_scales("row scales", blocks);
  hisa::PooledKeys<Element> const pooled{rows.data(), row_scales.data(), blocks, B, D};

  auto const plan = hisa::make_plan<hisa::Levels<B>, hisa::MeanPool, hisa::RadixSelect,
                                    hisa::PagedKeys<Element>>(
      exec,
      hisa::Shape<>{.max_queries = batch, .max_keys = max_pages * page_size, .heads = H, .head_dim = D},
      {.keep = {4}, .topk = k}, {.index_base = hisa::IndexBase::physical});
  Kokkos::View<std::byte*, Memory> const workspace("workspace", plan.workspace_bytes());

  Kokkos::View<Element*, Memory> const q("q", batch * H * D);
  Kokkos::View<float*, Memory> const w("w", batch * H);
  Kokkos::View<std::int32_t*, Memory> const old_length("old", batch), length("new", batch);
  Kokkos::View<std::int32_t*, Memory> const slots("slots", batch * k), counts("counts", batch);
  Kokkos::deep_copy(exec, w, 1.0f);

  for (int step = 0; step < 300; ++step) {
    // 3. This step's token of each sequence: its values into its page, its scale behind them.
    Kokkos::parallel_for(
        "write token", Kokkos::RangePolicy<Exec>(exec, 0, batch), KOKKOS_LAMBDA(int s) {
          old_length(s) = step;
          length(s) = step + 1;
          std::byte* const page =
              cache.data() + table(s * max_pages + step / page_size) * page_bytes;
          Element* const values = reinterpret_cast<Element*>(page) + step % page_size * D;
          for (int d = 0; d < D; ++d)
            values[d] = hisa::e4m3fn_from_float(value(s, step, d));
          reinterpret_cast<float*>(page + page_size * D)[step % page_size] = 0.02f;
          for (int i = 0; i < H * D; ++i)
            q(s * H * D + i) = hisa::e4m3fn_from_float(value(s, step + i / D, i % D));
        });
    // 4. Lengths stay on the device: nothing here waits for it.
    hisa::pool_append<hisa::MeanPool>(
        exec, keys, pooled,
        {.count = batch, .old_length = old_length.data(), .new_length = length.data()});
    plan(exec, hisa::Queries<Element>{q.data(), w.data(), batch, H, D}, keys, pooled,
         hisa::Lengths{.lengths = length.data(), .batch = batch},
         {.indices = slots.data(), .counts = counts.data()}, {workspace.data(), workspace.size()});
  }

  auto const host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), slots);
  auto const host_counts = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), counts);
  for (int s = 0; s < batch; ++s)
    std::printf("sequence %d: %d slots, the first %d, the last %d\n", s, host_counts(s),
                host(s * k), host(s * k + host_counts(s) - 1));
}
