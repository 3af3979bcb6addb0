// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A cache of pages with several sequences, and the same keys as contiguous buffers.
#pragma once

#include "problem.hpp"

namespace hisa_test {

/// `next_n` queries for each of several sequences over paged keys. The pages that no sequence owns,
/// and the table's entries past each length, hold garbage.
template <class T>
struct PagedProblem {
  int page_size, H, D, next_n;
  std::int64_t batch, max_pages = 0, pages_in_cache = 0, page_stride = 0;
  std::vector<Problem<T>> sequences; ///< the keys of each sequence, and its next_n queries
  std::vector<std::int32_t> table, lengths;
  hisa::LengthsForm form = hisa::LengthsForm::per_sequence;

  PagedProblem(std::uint64_t seed, const std::vector<std::int32_t>& tokens, int page, int heads,
               int head_dim, int queries)
      : page_size(page), H(heads), D(head_dim), next_n(queries), batch(std::int64_t(tokens.size())),
        lengths(tokens) {
    for (std::int32_t n : tokens) {
      sequences.push_back(Problem<T>::random(seed + sequences.size(), next_n, n, H, D));
      max_pages = std::max<std::int64_t>(max_pages, (n + page - 1) / page + 1);
    }
    pages_in_cache = batch * max_pages + 3;
    page_stride = hisa::PagedKeys<T>::page_bytes(page, head_dim) + 64;
    for (std::int64_t i = 0; i < batch * max_pages; ++i)
      table.push_back(std::int32_t(i + 1));
  }

  void shuffle_pages(std::uint64_t seed) {
    Random random(seed);
    std::shuffle(table.begin(), table.end(), random);
  }
  void set_lengths(const std::vector<std::int32_t>& values, hisa::LengthsForm how) {
    lengths = values;
    form = how;
  }
  /// Entries past each sequence's length point far outside the cache.
  void poison_table() {
    for (std::int64_t s = 0; s < batch; ++s)
      for (std::int64_t i = (lengths[std::size_t(s)] + page_size - 1) / page_size; i < max_pages;
           ++i)
        table[std::size_t(s * max_pages + i)] = i % 2 == 0 ? 0x7fffffff : -0x7fffffff;
  }
  /// Sequence `to` gets the first `pages` pages of sequence `from`.
  void share_prefix(std::size_t from, std::size_t to, std::int64_t pages) {
    for (std::int64_t i = 0; i < pages; ++i)
      table[to * std::size_t(max_pages) + std::size_t(i)] =
          table[from * std::size_t(max_pages) + std::size_t(i)];
    std::size_t const values = std::size_t(pages * page_size * D);
    std::size_t const scales = std::size_t(pages * page_size);
    Problem<T>&a = sequences[from], &b = sequences[to];
    std::copy_n(a.k.begin(), values, b.k.begin());
    if (!a.k_scale.empty())
      std::copy_n(a.k_scale.begin(), scales, b.k_scale.begin());
  }

  /// The cache's bytes.
  std::vector<std::byte> pages() const {
    std::vector<std::byte> bytes(std::size_t(pages_in_cache * page_stride), std::byte(0x5a));
    for (std::int64_t s = 0; s < batch; ++s) {
      const Problem<T>& p = sequences[std::size_t(s)];
      for (std::int64_t i = 0; i < p.N; ++i) {
        std::int64_t const page = table[std::size_t(s * max_pages + i / page_size)];
        std::byte* const base = bytes.data() + page * page_stride;
        std::int64_t const at = i % page_size;
        std::memcpy(base + at * D * std::int64_t(sizeof(T)), p.k.data() + i * D,
                    std::size_t(D) * sizeof(T));
        if (hisa::Element<T>::quantised)
          std::memcpy(base + std::int64_t(page_size) * D * std::int64_t(sizeof(T)) + at * 4,
                      &p.k_scale[std::size_t(i)], 4);
      }
    }
    return bytes;
  }

  hisa::PagedKeys<T> keys(const std::byte* bytes, const std::int32_t* page_table) const {
    return {bytes, pages_in_cache, page_stride, page_size, page_table, batch, max_pages, D};
  }

  /// All queries, sequence after sequence.
  Problem<T> all_queries() const {
    Problem<T> all;
    all.M = batch * next_n, all.H = H, all.D = D;
    for (const Problem<T>& p : sequences) {
      all.q.insert(all.q.end(), p.q.begin(), p.q.end());
      all.w.insert(all.w.end(), p.w.begin(), p.w.end());
    }
    return all;
  }

  /// The pooled rows of a level, by the reference.
  template <class Rule = hisa::MeanPool>
  auto pool(const std::vector<std::byte>& bytes, int block_size) const {
    Pooled<hisa::pooled_element<Rule, T>> pooled(
        pages_in_cache * std::max(1, page_size / block_size), block_size, D, Rule::rows);
    for (std::int64_t s = 0; s < batch; ++s) {
      hisa::Visible v;
      v.sequence = s;
      hisa::reference::pool<Rule>(keys(bytes.data(), table.data()), pooled.view, v,
                                  sequences[std::size_t(s)].N);
    }
    return pooled;
  }

  template <class Rule = hisa::MeanPool, class Strategy = hisa::RadixSelect>
  hisa::reference::Result run(const Setting& setting) const {
    using E = hisa::pooled_element<Rule, T>;
    std::vector<std::byte> const bytes = pages();
    Problem<T> const queries = all_queries();
    Device<T> const q(queries.q);
    Device<float> const w(queries.w);
    Device<std::byte> const cache(bytes);
    Device<std::int32_t> const page_table(table), sequence_lengths(lengths);
    std::vector<DevicePooled<E>> levels;
    std::vector<hisa::PooledKeys<const E>> views;
    for (auto [size, keep] : setting.levels)
      levels.emplace_back(pool<Rule>(bytes, size));
    for (const auto& level : levels)
      views.push_back(level.view);
    return run_on_device<Rule, Strategy>(
        Exec(), setting, hisa::Queries<T>{q.data(), w.data(), queries.M, H, D},
        keys(cache.data(), page_table.data()), views,
        hisa::Lengths{sequence_lengths.data(), batch, next_n, form});
  }

  template <class Rule = hisa::MeanPool>
  hisa::reference::Result run_reference(const Setting& setting) const {
    using E = hisa::pooled_element<Rule, T>;
    std::vector<std::byte> const bytes = pages();
    Problem<T> const queries = all_queries();
    std::vector<Pooled<E>> pooled;
    std::vector<hisa::reference::Level<E>> levels;
    pooled.reserve(setting.levels.size());
    for (auto [size, keep] : setting.levels) {
      pooled.push_back(pool<Rule>(bytes, size));
      levels.push_back({pooled.back().view, keep});
    }
    return hisa::reference::hierarchical<Rule>(
        hisa::Queries<T>{queries.q.data(), queries.w.data(), queries.M, H, D},
        keys(bytes.data(), table.data()), levels,
        hisa::Lengths{lengths.data(), batch, next_n, form}, setting.choice());
  }

  /// Sequence s as a prefill of its last next_n tokens over contiguous keys.
  template <class Rule = hisa::MeanPool>
  hisa::reference::Result prefill(std::size_t s, const Setting& setting) const {
    std::vector<Pooled<hisa::pooled_element<Rule, T>>> pooled;
    for (auto [size, keep] : setting.levels)
      pooled.push_back(pool_reference<T, Rule>(sequences[s], size));
    return hisa_test::run<Rule>(sequences[s], setting, pooled);
  }

  /// Query i of sequence s alone in its call.
  hisa::reference::Result run_one(std::size_t s, int i, const Setting& setting) const {
    PagedProblem one = *this;
    one.next_n = 1;
    one.form = hisa::LengthsForm::per_query;
    for (std::size_t b = 0; b < std::size_t(batch); ++b) { // the other sequences show nothing
      one.lengths[b] = b == s ? std::int32_t(sequences[s].N) - next_n + i + 1 : 0;
      std::ptrdiff_t const row = std::ptrdiff_t(i) * H;
      one.sequences[b].q = {sequences[b].q.begin() + row * D,
                            sequences[b].q.begin() + (row + H) * D};
      one.sequences[b].w = {sequences[b].w.begin() + row, sequences[b].w.begin() + row + H};
    }
    auto result = one.run(setting);
    std::size_t const k = std::size_t(setting.topk);
    result.indices = {result.indices.begin() + std::ptrdiff_t(s * k),
                      result.indices.begin() + std::ptrdiff_t((s + 1) * k)};
    return result;
  }
};

} // namespace hisa_test
