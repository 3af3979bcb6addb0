// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A small serving loop: prompts are prefilled in chunks while other requests decode, speculative
// tokens are rejected, and a request reuses the pages of another's prompt. In the end everything is
// recomputed from the finished texts: each selection that was served must be the same.
#include <hisa/hisa.hpp>

#include <algorithm>
#include <cstdio>
#include <vector>

using Exec = Kokkos::DefaultExecutionSpace;
using Element = hisa::e4m3fn;
using Memory = Exec::memory_space;
template <class T>
using Array = Kokkos::View<T*, Memory>;

constexpr int H = 8, D = 32, B = 32, keep = 8, topk = 64; // the indexer
constexpr int page_size = 64, max_pages = 12, page_count = 64;
constexpr int requests = 3, prompt = 450, answer = 150, shared = 320; // tokens of the requests
constexpr int chunk = 96, drafts = 3;                                 // tokens of a step
constexpr int max_rows = requests * chunk, length = prompt + answer;
constexpr auto page_bytes = hisa::PagedKeys<Element>::page_bytes(page_size, D);

/// Stands for the model: some values of each token at each position.
KOKKOS_FUNCTION float feature(int token, int position, int i) {
  return Kokkos::sin(0.7f * float(token % 61) * float(i + 1) + 0.05f * float(position));
}
/// The text of a request; all begin with the same system prompt.
int text(int request, int position) {
  return (position < shared ? 0 : 7919 * (request + 1)) + position * position % 1009;
}

/// A token at work in a step.
struct Row {
  int request, position, token;
};
/// What a token selected.
struct Selected {
  int request, position;
  std::vector<std::int32_t> indices;
};

template <class T>
Array<T> to_device(const std::vector<T>& host) {
  Array<T> device("copy", host.size());
  Kokkos::deep_copy(device, Kokkos::View<const T*, Kokkos::HostSpace>(host.data(), host.size()));
  return device;
}
template <class T>
std::vector<T> to_host(const Array<T>& device, std::size_t count) {
  std::vector<T> host(count);
  Kokkos::deep_copy(Kokkos::View<T*, Kokkos::HostSpace>(host.data(), count),
                    Kokkos::subview(device, std::pair<std::size_t, std::size_t>(0, count)));
  return host;
}

/// Queries and weights of tokens, as the model would leave them on the device.
struct DeviceQueries {
  Array<Element> values;
  Array<float> weights;
  explicit DeviceQueries(const std::vector<Row>& rows)
      : values("q", rows.size() * H * D), weights("w", rows.size() * H) {
    auto const device = to_device(rows);
    auto const q = values;
    auto const w = weights;
    Kokkos::parallel_for(
        "queries", Kokkos::RangePolicy<Exec>(0, int(rows.size())), KOKKOS_LAMBDA(int t) {
          Row const row = device(t);
          for (int j = 0; j < H; ++j) {
            w(t * H + j) = feature(row.token, row.position, j);
            for (int d = 0; d < D; ++d)
              q((t * H + j) * D + d) =
                  hisa::e4m3fn_from_float(feature(row.token + j, row.position, d));
          }
        });
  }
  hisa::Queries<Element> view(std::size_t rows) const {
    return {values.data(), weights.data(), std::int64_t(rows), H, D};
  }
};

KOKKOS_FUNCTION void write_key(Row row, Element* values, float* scale) {
  for (int d = 0; d < D; ++d)
    values[d] = hisa::e4m3fn_from_float(feature(row.token, row.position / 9, d + 3));
  *scale = 0.01f + 0.001f * float(row.token % 7);
}

/// The engine's state: a paged cache with pooled rows, and how much of each request is in it.
class Server {
  Exec exec_;
  Array<std::byte> cache_{"cache", std::size_t(page_count* page_bytes)};
  Array<Element> rows_{"rows", std::size_t(page_count*(page_size / B) * D)};
  Array<float> row_scales_{"row scales", std::size_t(page_count*(page_size / B))};
  std::vector<std::int32_t> table_ = std::vector<std::int32_t>(requests * max_pages, -1);
  std::int32_t next_page_ = 0;
  int done_[requests] = {}; ///< tokens of each request that are in the cache for good
  bool started_[requests] = {};
  int step_ = 0;

public:
  std::vector<Selected> served;
  int rejected = 0, reused = 0;

  bool finished() const {
    return std::all_of(done_, done_ + requests, [](int n) { return n == length; });
  }

  void step() {
    // 1. Requests come in one after the other; a later one begins with pages that are there.
    for (int r = 0; r < requests; ++r)
      if (!started_[r] && step_ >= 4 * r)
        admit(r);

    // 2. What each request contributes: the next chunk of its prompt, or the next token and drafts.
    std::vector<Row> rows;
    std::vector<std::int32_t> before, after, row_seq, row_visible;
    for (int r = 0; r < requests; ++r) {
      std::size_t const first = rows.size();
      if (started_[r])
        add_rows(r, rows);
      before.push_back(done_[r]);
      after.push_back(done_[r] + std::int32_t(rows.size() - first));
      ensure_pages(r, after.back());
    }
    for (const Row& row : rows) {
      row_seq.push_back(row.request);
      row_visible.push_back(row.position + 1);
    }

    // 3. Write the keys, pool the blocks that they complete, and select.
    auto const selected = call(rows, before, after, row_seq, row_visible);

    // 4. Keep tokens up to the first wrong draft. Rejecting the rest only lowers the length: the
    //    next tokens overwrite their keys, and the blocks that they completed are pooled again.
    for (std::size_t t = 0; t < rows.size(); ++t) {
      const Row& row = rows[t];
      bool const accepted =
          row.position == done_[row.request] && row.token == text(row.request, row.position);
      if (accepted) {
        ++done_[row.request];
        served.push_back({row.request,
                          row.position,
                          {selected.begin() + std::ptrdiff_t(t * topk),
                           selected.begin() + std::ptrdiff_t((t + 1) * topk)}});
      }
      rejected += !accepted;
    }
    ++step_;
  }

private:
  void admit(int r) {
    started_[r] = true;
    for (int other = 0; other < r; ++other) {
      int const pages = std::min(done_[other], shared) / page_size; // whole pages of equal tokens
      if (pages * page_size <= done_[r])
        continue;
      std::copy_n(&table_[std::size_t(other * max_pages)], pages,
                  &table_[std::size_t(r * max_pages)]);
      done_[r] = pages * page_size;
    }
    reused += done_[r];
  }

  void add_rows(int r, std::vector<Row>& rows) const {
    int const first = done_[r];
    if (first < prompt) {
      for (int i = first; i < std::min(first + chunk, prompt); ++i)
        rows.push_back({r, i, text(r, i)});
      return;
    }
    for (int i = first; i < std::min(first + 1 + drafts, length); ++i) {
      bool const wrong = i > first && (step_ * step_ + 7 * i + r) % 3 == 0; // a bad guess
      rows.push_back({r, i, text(r, i) + (wrong ? 1 : 0)});
    }
  }

  void ensure_pages(int r, int tokens) {
    for (int i = 0; i < (tokens + page_size - 1) / page_size; ++i)
      if (std::int32_t& page = table_[std::size_t(r * max_pages + i)]; page < 0)
        page = next_page_++; // this example never gives one back
  }

  std::vector<std::int32_t> call(const std::vector<Row>& rows,
                                 const std::vector<std::int32_t>& before,
                                 const std::vector<std::int32_t>& after,
                                 const std::vector<std::int32_t>& row_seq,
                                 const std::vector<std::int32_t>& row_visible) const {
    auto const table = to_device(table_), old_length = to_device(before),
               new_length = to_device(after);
    auto const sequences = to_device(row_seq), visible = to_device(row_visible);
    hisa::PagedKeys<Element> const keys{.pages = cache_.data(),
                                        .page_count = page_count,
                                        .page_size = page_size,
                                        .page_table = table.data(),
                                        .batch = requests,
                                        .max_pages = max_pages,
                                        .head_dim = D};
    hisa::PooledKeys<Element> const pooled{rows_.data(), row_scales_.data(),
                                           page_count * (page_size / B), B, D};
    auto const device_rows = to_device(rows);
    auto const cache = cache_;
    Kokkos::parallel_for(
        "write keys", Kokkos::RangePolicy<Exec>(exec_, 0, int(rows.size())), KOKKOS_LAMBDA(int t) {
          Row const row = device_rows(t);
          std::byte* const page =
              cache.data() + table(row.request * max_pages + row.position / page_size) * page_bytes;
          int const at = row.position % page_size;
          write_key(row, reinterpret_cast<Element*>(page) + at * D,
                    reinterpret_cast<float*>(page + page_size * D) + at);
        });
    hisa::pool_append<hisa::MeanPool>(exec_, keys, pooled,
                                      {requests, old_length.data(), new_length.data()});

    auto const plan = hisa::make_plan<hisa::Levels<B>, hisa::MeanPool, hisa::StreamSelect,
                                      hisa::PagedKeys<Element>>(
        exec_,
        hisa::Shape<>{
            .max_queries = max_rows, .max_keys = max_pages * page_size, .heads = H, .head_dim = D},
        {.keep = {keep}, .topk = topk});
    Array<std::byte> const workspace("workspace", plan.workspace_bytes());
    Array<std::int32_t> const indices("indices", rows.size() * topk);
    DeviceQueries const queries(rows);
    plan(exec_, queries.view(rows.size()), keys, pooled,
         hisa::Ragged{sequences.data(), visible.data(), requests}, {.indices = indices.data()},
         {workspace.data(), workspace.size()});
    exec_.fence();
    return to_host(indices, indices.size());
  }
};

/// The selections of a whole request at once, from its finished text in a contiguous buffer.
std::vector<std::int32_t> recompute(int request) {
  Exec const exec;
  std::vector<Row> rows;
  std::vector<std::int32_t> ks(length, 0), ke;
  for (int i = 0; i < length; ++i) {
    rows.push_back({request, i, text(request, i)});
    ke.push_back(i + 1);
  }
  Array<Element> const k("k", length * D), pooled_values("rows", length / B * D);
  Array<float> const k_scale("k scale", length), pooled_scales("row scales", length / B);
  auto const device_rows = to_device(rows);
  Kokkos::parallel_for(
      "write keys", Kokkos::RangePolicy<Exec>(exec, 0, length),
      KOKKOS_LAMBDA(int t) { write_key(device_rows(t), k.data() + t * D, k_scale.data() + t); });
  hisa::ContiguousKeys<Element> const keys{k.data(), k_scale.data(), length, D};
  hisa::PooledKeys<Element> const pooled{pooled_values.data(), pooled_scales.data(), length / B, B,
                                         D};
  auto const starts = to_device(ks), ends = to_device(ke);
  auto const total = to_device(std::vector<std::int32_t>{length});
  hisa::pool_rebuild<hisa::MeanPool>(exec, keys, pooled, {.count = 1, .new_length = total.data()});

  auto const plan = hisa::make_plan<hisa::Levels<B>>(
      exec, hisa::Shape<>{.max_queries = length, .max_keys = length, .heads = H, .head_dim = D},
      {.keep = {keep}, .topk = topk});
  Array<std::byte> const workspace("workspace", plan.workspace_bytes());
  Array<std::int32_t> const indices("indices", std::size_t(length) * topk);
  DeviceQueries const queries(rows);
  plan(exec, queries.view(rows.size()), keys, pooled, hisa::Ranges{starts.data(), ends.data()},
       {.indices = indices.data()}, {workspace.data(), workspace.size()});
  exec.fence();
  return to_host(indices, indices.size());
}

int main(int argc, char** argv) {
  Kokkos::ScopeGuard const kokkos(argc, argv);
  Server server;
  while (!server.finished())
    server.step();

  int different = 0;
  for (int r = 0; r < requests; ++r) {
    auto const expected = recompute(r);
    for (const Selected& s : server.served)
      if (s.request == r)
        different += !std::equal(s.indices.begin(), s.indices.end(),
                                 expected.begin() + std::ptrdiff_t(s.position) * topk);
  }
  std::printf("%zu selections served, %d drafts rejected, %d tokens of prompts reused; %d differ "
              "from a computation from scratch\n",
              server.served.size(), server.rejected, server.reused, different);
  return different == 0 ? 0 : 1;
}
