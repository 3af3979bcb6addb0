// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A cache in service: append, rebuild, truncate, fork and evict in random order, with shared
// prefixes. After any of them every complete block's row equals pooling from scratch, bit for bit,
// and selections equal the specification's.
#include "support/problem.hpp"
#include "support/seed.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <optional>

using namespace hisa_test;
using hisa::bf16, hisa::e4m3fn;

namespace {

/// Two rows for each block, from its halves.
struct Halves : hisa::MeanPool {
  static constexpr int rows = 2;
};

/// An engine's paged cache: pages with a count of their users, copied before a write if shared.
/// Keys are kept on the host and copied to the device for each call; pooled rows live on the device
/// and are only ever written by the library or copied with their page.
template <class T, class Rule>
class Cache {
public:
  static constexpr int D = 8, H = 3, batch = 5, max_pages = 12, page_count = 70;

  Cache(std::uint64_t seed, int page_size, const std::vector<int>& block_sizes)
      : random_(seed), P_(page_size), page_bytes_(hisa::PagedKeys<T>::page_bytes(P_, D)),
        bytes_(std::size_t(page_count * page_bytes_), std::byte(0x5a)), users_(page_count, 0),
        table_(batch * max_pages, -1), lengths_(batch, 0) {
    for (int B : block_sizes) {
      std::int64_t const blocks = page_count * hisa::detail::blocks_per_page(P_, B);
      levels_.emplace_back(Pooled<T>(blocks, B, D, Rule::rows));
    }
  }

  /// One random step. Says what it did.
  std::string step() {
    switch (pick(10)) {
    case 0:
      return truncate(pick(batch));
    case 1:
      return fork(pick(batch), pick(batch));
    case 2:
      return pick(2) ? evict(pick(batch)) : rebuild();
    default:
      return append();
    }
  }

  /// Every complete block's row against a rebuild by the specification.
  void check_rows() const {
    for (const auto& level : levels_) {
      int const B = level.view.block_size;
      Pooled<T> expected(level.view.blocks, B, D, Rule::rows);
      auto const values = level.values.host();
      auto const scales = level.scales.host();
      for (int s = 0; s < batch; ++s) {
        hisa::Visible v;
        v.sequence = s;
        auto const keys = keys_on(bytes_.data(), table_.data());
        hisa::reference::pool<Rule>(keys, expected.view, v, lengths_[std::size_t(s)]);
        for (std::int64_t b = 0; b < lengths_[std::size_t(s)] / B; ++b) {
          std::int64_t const row =
              hisa::pooled_row(keys, expected.view, v, hisa::BlockIndex(b)).value * Rule::rows;
          INFO("sequence " << s << ", block " << b << " of " << B);
          std::size_t const first = std::size_t(row * D), n = std::size_t(Rule::rows) * D;
          REQUIRE(std::memcmp(&values[first], &expected.values[first], n * sizeof(T)) == 0);
          for (std::size_t r = 0; r < std::size_t(Rule::rows) && !scales.empty(); ++r)
            REQUIRE(scales[std::size_t(row) + r] == expected.scales[std::size_t(row) + r]);
        }
      }
    }
  }

  /// A mixed batch of random queries against the specification.
  void check_selection() {
    std::int64_t const M = 8;
    auto const problem = Problem<T>::random(random_(), M, 1, H, D);
    std::vector<std::int32_t> row_seq, row_visible;
    for (std::int64_t t = 0; t < M; ++t) {
      row_seq.push_back(std::int32_t(pick(batch)));
      row_visible.push_back(std::int32_t(pick(lengths_[std::size_t(row_seq.back())] + 1)));
    }
    Setting setting{{}, 20};
    std::vector<Pooled<T>> pooled;
    std::vector<hisa::reference::Level<T>> reference;
    std::vector<hisa::PooledKeys<const T>> views;
    for (const auto& level : levels_) { // coarse to fine
      int const keep = 3 * int(levels_[0].view.block_size / level.view.block_size);
      setting.levels.emplace_back(level.view.block_size, keep);
      setting.topk = std::min(20, keep * level.view.block_size);
      pooled.emplace_back(level.view.blocks, level.view.block_size, D, Rule::rows);
      views.push_back(level.view);
    }
    auto const host_keys = keys_on(bytes_.data(), table_.data());
    for (std::size_t l = 0; l < levels_.size(); ++l) {
      for (int s = 0; s < batch; ++s) {
        hisa::Visible v;
        v.sequence = s;
        hisa::reference::pool<Rule>(host_keys, pooled[l].view, v, lengths_[std::size_t(s)]);
      }
      reference.push_back({pooled[l].view, setting.levels[l].second});
    }
    Device<std::byte> const bytes(bytes_);
    Device<std::int32_t> const table(table_), sequences(row_seq), visible(row_visible);
    Device<T> const q(problem.q);
    Device<float> const w(problem.w);
    auto const result =
        run_on_device<Rule>(Exec(), setting, hisa::Queries<T>{q.data(), w.data(), M, H, D},
                            keys_on(bytes.data(), table.data()), views,
                            hisa::Ragged{sequences.data(), visible.data(), batch});
    auto const expected = hisa::reference::hierarchical<Rule>(
        problem.queries(), host_keys, reference,
        hisa::Ragged{row_seq.data(), row_visible.data(), batch}, setting.choice());
    REQUIRE(same(result, expected));
  }

private:
  Random random_;
  int P_;
  std::int64_t page_bytes_;
  std::vector<std::byte> bytes_;
  std::vector<int> users_; ///< of each page
  std::vector<std::int32_t> table_, lengths_;
  std::vector<DevicePooled<T>> levels_;

  int pick(std::int64_t n) { return int(random_() % std::uint64_t(n)); }
  std::int32_t& entry(int s, std::int64_t page) {
    return table_[std::size_t(s) * max_pages + std::size_t(page)];
  }
  std::int64_t pages_of(std::int64_t tokens) const { return (tokens + P_ - 1) / P_; }
  std::byte* page(std::int64_t p) { return bytes_.data() + p * page_bytes_; }

  hisa::PagedKeys<T> keys_on(const std::byte* bytes, const std::int32_t* table) const {
    return {bytes, page_count, 0, P_, table, batch, max_pages, D};
  }

  std::optional<std::int32_t> free_page() {
    std::int32_t const first = pick(page_count);
    for (std::int32_t i = 0; i < page_count; ++i) {
      std::int32_t const p = (first + i) % page_count;
      if (users_[std::size_t(p)] == 0)
        return p;
    }
    return {};
  }

  void release(int s, std::int64_t first_page) {
    for (std::int64_t i = first_page; i < max_pages; ++i)
      if (std::int32_t& p = entry(s, i); p >= 0) {
        if (--users_[std::size_t(p)] == 0) // whoever gets it next finds garbage
          std::fill_n(page(p), page_bytes_, std::byte(random_()));
        p = -1;
      }
  }

  /// Makes room for `tokens` tokens of a sequence that has `length`; the page that the next token
  /// goes to becomes the sequence's own, its pooled rows with it. False if the cache is full.
  bool reserve(int s, std::int64_t length, std::int64_t tokens) {
    if (length % P_ != 0)
      if (std::int32_t& p = entry(s, length / P_); users_[std::size_t(p)] > 1) {
        auto const own = free_page();
        if (!own)
          return false;
        std::copy_n(page(p), page_bytes_, page(*own));
        for (const auto& level : levels_)
          copy_rows(level, p, *own);
        --users_[std::size_t(p)];
        users_[std::size_t(*own)] = 1;
        p = *own;
      }
    for (std::int64_t i = pages_of(length); i < pages_of(tokens); ++i) {
      auto const own = free_page();
      if (!own) {
        release(s, pages_of(length));
        return false;
      }
      users_[std::size_t(*own)] = 1;
      entry(s, i) = *own;
    }
    return true;
  }

  void copy_rows(const DevicePooled<T>& level, std::int64_t from, std::int64_t to) const {
    std::int64_t const rows = hisa::detail::blocks_per_page(P_, level.view.block_size) * Rule::rows;
    auto const copy = [](auto* data, std::int64_t to_first, std::int64_t from_first,
                         std::int64_t n) {
      using V = Kokkos::View<std::remove_pointer_t<decltype(data)>*, Exec::memory_space,
                             Kokkos::MemoryUnmanaged>;
      Kokkos::deep_copy(V(data + to_first, std::size_t(n)), V(data + from_first, std::size_t(n)));
    };
    copy(level.view.values, to * rows * D, from * rows * D, rows * D);
    if (level.view.scales != nullptr)
      copy(level.view.scales, to * rows, from * rows, rows);
  }

  void pool(const std::vector<std::int32_t>* old_lengths) {
    Device<std::byte> const bytes(bytes_);
    Device<std::int32_t> const table(table_), now(lengths_);
    Device<std::int32_t> const before(old_lengths == nullptr ? lengths_ : *old_lengths);
    hisa::Sequences const sequences{batch, before.data(), now.data(), nullptr};
    for (const auto& level : levels_)
      if (old_lengths != nullptr)
        hisa::pool_append<Rule>(Exec(), keys_on(bytes.data(), table.data()), level.view, sequences);
      else
        hisa::pool_rebuild<Rule>(Exec(), keys_on(bytes.data(), table.data()), level.view,
                                 sequences);
    Kokkos::fence();
  }

  /// Some of the sequences grow in one call, by one token, a few, or a chunk.
  std::string append() {
    auto const before = lengths_;
    std::string what = "append";
    for (int s = 0; s < batch; ++s) {
      if (pick(2))
        continue;
      std::int64_t const length = lengths_[std::size_t(s)];
      std::int64_t const most[] = {1, 4, 3 * P_};
      std::int64_t const grown =
          std::min<std::int64_t>(length + 1 + pick(most[pick(3)]), std::int64_t(max_pages) * P_);
      if (!reserve(s, length, grown))
        continue;
      for (std::int64_t i = length; i < grown; ++i)
        write(s, i);
      lengths_[std::size_t(s)] = std::int32_t(grown);
      what += " " + std::to_string(s) + " to " + std::to_string(grown);
    }
    pool(&before);
    return what;
  }

  void write(int s, std::int64_t token) {
    std::byte* const to = page(entry(s, token / P_));
    std::int64_t const at = token % P_;
    for (int d = 0; d < D; ++d) {
      T const value = random_element<T>(random_);
      std::memcpy(to + (at * D + d) * std::int64_t(sizeof(T)), &value, sizeof(T));
    }
    if constexpr (hisa::Element<T>::quantised) {
      float const scale = 0.5f + float(pick(100)) * 0.01f;
      std::memcpy(to + P_ * D * std::int64_t(sizeof(T)) + at * 4, &scale, 4);
    }
  }

  std::string rebuild() {
    pool(nullptr);
    return "rebuild";
  }

  std::string truncate(int s) {
    lengths_[std::size_t(s)] = std::int32_t(pick(lengths_[std::size_t(s)] + 1));
    release(s, pages_of(lengths_[std::size_t(s)]));
    return "truncate " + std::to_string(s) + " to " + std::to_string(lengths_[std::size_t(s)]);
  }

  std::string evict(int s) {
    lengths_[std::size_t(s)] = 0;
    release(s, 0);
    return "evict " + std::to_string(s);
  }

  /// Sequence `to` becomes a prefix of sequence `from`, and shares its pages.
  std::string fork(int from, int to) {
    if (from == to)
      return "nothing";
    evict(to);
    std::int64_t const length = pick(lengths_[std::size_t(from)] + 1);
    for (std::int64_t i = 0; i < pages_of(length); ++i) {
      entry(to, i) = entry(from, i);
      ++users_[std::size_t(entry(to, i))];
    }
    lengths_[std::size_t(to)] = std::int32_t(length);
    return "fork " + std::to_string(from) + " to " + std::to_string(to) + " at " +
           std::to_string(length);
  }
};

template <class T, class Rule>
void live(int page_size, const std::vector<int>& block_sizes, int steps) {
  Cache<T, Rule> cache(run_seed() + std::uint64_t(page_size), page_size, block_sizes);
  std::string done;
  for (int i = 0; i < steps; ++i) {
    done += "\n  " + cache.step();
    INFO("HISA_SEED=" << run_seed() << ", pages of " << page_size << done);
    cache.check_rows();
    if (i % 8 == 7)
      cache.check_selection();
  }
}

} // namespace

TEMPLATE_TEST_CASE("any sequence of calls leaves the rows of pooling from scratch", "", float, bf16,
                   e4m3fn) {
  live<TestType, hisa::MeanPool>(16, {64, 16, 4}, 150);
  live<TestType, hisa::MeanPool>(64, {128, 64, 16}, 100);
  live<TestType, Halves>(8, {32, 4}, 100);
  live<TestType, hisa::MeanPool>(1, {4}, 60);
}
