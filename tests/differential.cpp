// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Random calls of the whole public interface against the reference: pooling, every kind of indexer,
// storage, visibility, strategy and option, at random extents. HISA_SEED replays a run.
#include "support/paged.hpp"
#include "support/seed.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <sstream>

using namespace hisa_test;
using hisa::bf16, hisa::e4m3fn, hisa::Levels, hisa::MeanPool;

namespace {

constexpr int cases = 60; ///< of each test, per type

/// Choices of one case.
class Draw {
  Random random_;

public:
  explicit Draw(std::uint64_t seed) : random_(seed) {}
  std::uint64_t seed() { return random_(); }
  /// first .. last
  int in(std::int64_t first, std::int64_t last) {
    return int(first + std::int64_t(random_() % std::uint64_t(last - first + 1)));
  }
  bool one_in(int n) { return in(1, n) == 1; }
  template <class T>
  T of(std::initializer_list<T> values) {
    return *(values.begin() + in(0, std::int64_t(values.size()) - 1));
  }
  /// Any length, most often a sensible one.
  std::int32_t length(std::int64_t sensible) {
    return one_in(12) ? of<std::int32_t>({-2147483647, -1, 0, 1000000, 2147483647})
                      : in(0, sensible);
  }
};

Setting draw_setting(Draw& draw, int levels) {
  Setting s;
  std::vector<int> sizes;
  for (int l = 0; l < levels; ++l) // fine to coarse
    sizes.push_back(sizes.empty() ? draw.of({1, 2, 5, 8, 16, 32}) : sizes.back() * draw.in(2, 4));
  std::reverse(sizes.begin(), sizes.end());
  std::int64_t tokens = 600;
  for (int size : sizes) {
    int const most = s.levels.empty() ? 9 : int(tokens / size);
    s.levels.emplace_back(size, draw.in(1, std::max(1, most)));
    tokens = std::int64_t(s.levels.back().second) * size;
  }
  s.topk = draw.in(1, tokens);
  s.options.boundary =
      draw.of({hisa::Boundary::counted, hisa::Boundary::extra, hisa::Boundary::none});
  s.options.index_base = draw.of({hisa::IndexBase::relative, hisa::IndexBase::absolute});
  s.options.workspace_limit = draw.of<std::size_t>({0, 50'000, 1 << 28});
  return s;
}

std::string text(const Setting& s) {
  std::ostringstream out;
  for (auto [size, keep] : s.levels)
    out << size << ":" << keep << " ";
  out << "top " << s.topk << ", boundary " << int(s.options.boundary) << ", base "
      << int(s.options.index_base) << ", workspace " << s.options.workspace_limit;
  return out.str();
}

/// Few different keys, so that scores tie; some that are not finite.
template <class T>
void make_hard(Draw& draw, Problem<T>& p) {
  if (draw.one_in(3))
    for (std::int64_t i = 3; i < p.N; ++i) {
      std::copy_n(p.k.begin() + i % 3 * p.D, p.D, p.k.begin() + i * p.D);
      if (!p.k_scale.empty())
        p.k_scale[std::size_t(i)] = p.k_scale[std::size_t(i % 3)];
    }
  if (draw.one_in(4))
    for (int n = 0; n < 3 && p.N > 0; ++n)
      p.k[std::size_t(draw.in(0, p.N * p.D - 1))] = hisa::Element<T>::nan();
}

/// Rows that the library pooled, equal to the specification's bit for bit where those are written.
template <class T>
void require_rows(const DevicePooled<T>& rows, const Pooled<T>& expected) {
  auto const values = rows.values.host();
  REQUIRE(std::memcmp(values.data(), expected.values.data(), values.size() * sizeof(T)) == 0);
  REQUIRE(rows.scales.host() == expected.scales);
}

/// Packed sequences in one buffer, and queries of them.
template <class T>
struct Packed {
  Problem<T> p;
  std::vector<std::int32_t> starts, lengths, query_sequence;

  explicit Packed(Draw& draw) {
    int const sequences = draw.in(1, 3);
    std::int32_t N = 0;
    for (int s = 0; s < sequences; ++s) {
      starts.push_back(N);
      lengths.push_back(draw.one_in(6) ? 0 : draw.in(1, 500));
      N += lengths.back();
    }
    p = Problem<T>::random(draw.seed(), draw.in(1, 9), N, draw.of({1, 3, 8, 16, 33}),
                           draw.of({1, 7, 16, 64}));
    make_hard(draw, p);
    for (std::size_t t = 0; t < std::size_t(p.M); ++t) {
      auto const s = std::size_t(draw.in(0, sequences - 1));
      query_sequence.push_back(std::int32_t(s));
      p.anchor.push_back(starts[s]);
      p.ks[t] = starts[s] + (draw.one_in(2) ? 0 : draw.in(0, lengths[s]));
      p.ke[t] = draw.in(p.ks[t], starts[s] + lengths[s]);
    }
  }

  /// Pools a level by the library, in two steps, and by the reference.
  Pooled<T> pool(Draw& draw, int size, const DeviceProblem<T>& d, DevicePooled<T>& rows) {
    std::vector<std::int32_t> first_block, half;
    std::int32_t blocks = 0;
    for (std::int32_t n : lengths) {
      first_block.push_back(blocks);
      blocks += (n + size - 1) / size;
      half.push_back(draw.in(0, n));
    }
    Pooled<T> expected(std::max(blocks, 1), size, p.D);
    rows = DevicePooled<T>(expected, first_block);
    Device<std::int32_t> const begin(starts), all(lengths), some(half);
    std::int64_t const count = std::int64_t(starts.size());
    hisa::pool_rebuild<MeanPool>(Exec(), d.keys, rows.view,
                                 {count, nullptr, some.data(), begin.data()});
    hisa::pool_append<MeanPool>(Exec(), d.keys, rows.view,
                                {count, some.data(), all.data(), begin.data()});
    Kokkos::fence();
    expected.view.begin = first_block.data();
    for (std::size_t s = 0; s < starts.size(); ++s) {
      hisa::Visible v;
      v.query = std::int64_t(s);
      v.anchor = v.begin = starts[s];
      hisa::reference::pool(p.keys(), expected.view, v, lengths[s]);
    }
    require_rows(rows, expected);
    p.begin.clear(); // of the queries
    for (std::int32_t s : query_sequence)
      p.begin.push_back(first_block[std::size_t(s)]);
    expected.view.begin = nullptr;
    return expected;
  }
};

/// What a plan is asked and what it must say.
template <class T>
struct Levelled {
  std::vector<DevicePooled<T>> rows;
  std::vector<Device<std::int32_t>> begins;
  std::vector<Pooled<T>> pooled;
  std::vector<std::vector<std::int32_t>> host_begins;
  std::vector<hisa::PooledKeys<const T>> views;
  std::vector<hisa::reference::Level<T>> reference;

  void add(Packed<T>& packed, Draw& draw, const DeviceProblem<T>& d, std::pair<int, int> level) {
    rows.emplace_back();
    pooled.push_back(packed.pool(draw, level.first, d, rows.back()));
    host_begins.push_back(packed.p.begin);
    begins.emplace_back(packed.p.begin);
    keeps.push_back(level.second);
  }
  void finish() {
    for (std::size_t l = 0; l < rows.size(); ++l) {
      views.push_back(rows[l].view);
      views.back().begin = begins[l].data();
      hisa::PooledKeys<const T> host = pooled[l].view;
      host.begin = host_begins[l].data();
      reference.push_back({host, keeps[l]});
    }
  }

private:
  std::vector<int> keeps;
};

/// The rows of `part` are the expected ones, the others were not touched.
void require_part(const hisa::reference::Result& result, const hisa::reference::Result& expected,
                  const hisa::QueryRows& part, std::int64_t M) {
  std::size_t const k = std::size_t(result.topk);
  for (std::int64_t t = 0; t < M; ++t) {
    bool const mine = t >= part.first && t < part.end;
    REQUIRE(result.counts[std::size_t(t)] == (mine ? expected.counts[std::size_t(t)] : -77));
    for (std::size_t i = std::size_t(t) * k; i < std::size_t(t + 1) * k; ++i) {
      REQUIRE(result.indices[i] == (mine ? expected.indices[i] : -77));
      REQUIRE(same_score(result.scores[i], mine ? expected.scores[i] : -77.0f));
    }
  }
}

hisa::QueryRows draw_rows(Draw& draw, std::int64_t M) {
  int const ranks = draw.of({1, 1, 2, 5});
  return hisa::QueryRows::of_rank(draw.in(0, ranks - 1), ranks, M);
}

/// A paged cache with its queries and levels, pooled by the library.
template <class T, class Strategy>
struct PagedCase {
  Setting setting;
  PagedProblem<T> p;
  Problem<T> queries = p.all_queries();
  std::vector<std::byte> bytes = p.pages();
  Device<T> q{queries.q};
  Device<float> w{queries.w};
  Device<std::byte> cache{bytes};
  Device<std::int32_t> table{p.table}, tokens{p.lengths};
  hisa::PagedKeys<T> keys = p.keys(cache.data(), table.data());
  std::vector<Pooled<T>> pooled;
  std::vector<DevicePooled<T>> rows;

  PagedCase(Draw& draw, const Setting& with) : setting(with), p(draw_problem(draw, with)) {
    for (auto [size, keep] : setting.levels) {
      pooled.push_back(p.pool(bytes, size));
      rows.emplace_back(Pooled<T>(pooled.back().view.blocks, size, p.D));
      hisa::pool_rebuild<MeanPool>(Exec(), keys, rows.back().view,
                                   {p.batch, nullptr, tokens.data(), nullptr});
      Kokkos::fence();
      require_rows(rows.back(), pooled.back());
    }
  }

  /// A call and its specification; the same visibility on the device and on the host.
  template <class Visibility>
  void compare(Draw& draw, const Visibility& on_device, const Visibility& on_host) const {
    std::vector<hisa::PooledKeys<const T>> views;
    std::vector<hisa::reference::Level<T>> reference;
    for (std::size_t l = 0; l < rows.size(); ++l) {
      views.push_back(rows[l].view);
      reference.push_back({pooled[l].view, setting.levels[l].second});
    }
    auto const part = draw_rows(draw, queries.M);
    auto const result = run_on_device<MeanPool, Strategy>(
        Exec(), setting, hisa::Queries<T>{q.data(), w.data(), queries.M, p.H, p.D}, keys, views,
        on_device, true, part);
    auto const expected =
        hisa::reference::hierarchical(queries.queries(), p.keys(bytes.data(), p.table.data()),
                                      reference, on_host, setting.choice());
    require_part(result, expected, part, queries.M);
  }

  void compare_ragged(Draw& draw) const {
    std::vector<std::int32_t> row_seq, row_visible;
    for (std::int64_t t = 0; t < queries.M; ++t) {
      row_seq.push_back(draw.one_in(8) ? draw.length(p.batch) : draw.in(0, p.batch - 1));
      row_visible.push_back(draw.length(keys.capacity()));
    }
    Device<std::int32_t> const sequences(row_seq), visible(row_visible);
    compare(draw, hisa::Ragged{sequences.data(), visible.data(), p.batch},
            hisa::Ragged{row_seq.data(), row_visible.data(), p.batch});
  }

  void compare_lengths(Draw& draw, hisa::LengthsForm form) const {
    std::vector<std::int32_t> host;
    for (std::int64_t n = form == hisa::LengthsForm::per_query ? queries.M : p.batch; n > 0; --n)
      host.push_back(draw.length(keys.capacity()));
    Device<std::int32_t> const device(host);
    compare(draw, hisa::Lengths{device.data(), p.batch, p.next_n, form},
            hisa::Lengths{host.data(), p.batch, p.next_n, form});
  }

private:
  /// Pages of which every block size is a multiple or a divisor.
  static PagedProblem<T> draw_problem(Draw& draw, const Setting& with) {
    int const coarse = with.levels.empty() ? 16 : with.levels.front().first;
    int const fine = with.levels.empty() ? 1 : with.levels.back().first;
    int const page = draw.of({1, fine, coarse, 2 * coarse});
    int const next_n = draw.in(1, 3);
    std::vector<std::int32_t> tokens;
    for (int s = draw.in(1, 4); s > 0; --s) // a sequence holds at least its queries' own tokens
      tokens.push_back(draw.one_in(6) ? next_n : draw.in(next_n, 400));
    PagedProblem<T> p(draw.seed(), tokens, page, draw.of({1, 8, 17}), draw.of({4, 32}), next_n);
    p.shuffle_pages(draw.seed());
    for (auto& sequence : p.sequences)
      make_hard(draw, sequence);
    return p;
  }
};

/// Queries of one sequence, and a plan and its output for each kind of call.
template <class T>
struct Single {
  Problem<T> p;
  DeviceProblem<T> d{p};
  hisa::Shape<> shape{.max_queries = p.M,
                      .max_keys = std::max<std::int64_t>(p.N, 1),
                      .heads = p.H,
                      .head_dim = p.D};

  explicit Single(Draw& draw) : p(draw_problem(draw)) {}

  void compare_scores(Draw& draw) const {
    std::int64_t const stride = p.N + draw.in(0, 3);
    Device<float> const logits(std::vector<float>(std::size_t(p.M * stride), -77.0f));
    std::size_t const bytes = hisa::score_workspace_bytes(p.H, p.D, draw.in(1, 5));
    auto const memory = make_workspace(bytes);
    hisa::score(Exec(), d.queries, d.keys, d.ranges, {logits.data(), stride}, span(memory, bytes));
    Kokkos::fence();
    auto const scores = logits.host();
    for (std::int64_t t = 0; t < p.M; ++t) {
      hisa::Visible const v = p.ranges().visible(t, p.N);
      for (std::int64_t j = 0; j < stride; ++j)
        REQUIRE(same_score(
            scores[std::size_t(t * stride + j)],
            j < v.end ? hisa::reference::score(p.queries(), t, p.keys().row(v, hisa::TokenIndex(j)))
                      : -77.0f));
    }
  }

  void compare_block_sparse(Draw& draw, int size) const {
    auto const pooled = pool_reference(p, size);
    DevicePooled<T> const rows(pooled);
    hisa::Budgets const budgets{.topk = size * draw.in(1, 6), .block_size = {size}};
    auto const plan =
        hisa::make_block_sparse_plan<Levels<hisa::dynamic>, MeanPool, hisa::StreamSelect,
                                     hisa::ContiguousKeys<T>>(Exec(), shape, budgets);
    REQUIRE(same(call(plan, budgets.topk, rows.view),
                 hisa::reference::block_sparse(p.queries(), p.keys(),
                                               hisa::PooledKeys<const T>(pooled.view), p.ranges(),
                                               {.topk = budgets.topk})));
  }

  void compare_refine(Draw& draw, int size) const {
    int const capacity = draw.in(1, 12), topk = draw.in(1, 100);
    std::vector<std::int32_t> lists;
    for (std::int64_t n = 0; n < p.M * capacity; ++n)
      lists.push_back(draw.one_in(4) ? draw.of({-1, -1, -5, 100000, 2147483647})
                                     : draw.in(0, p.N / size));
    Device<std::int32_t> const blocks(lists);
    auto const plan = hisa::make_plan<Levels<hisa::dynamic>, hisa::CallerBlocks, hisa::SortSelect,
                                      hisa::ContiguousKeys<T>>(
        Exec(), shape, {.keep = {capacity}, .topk = topk, .block_size = {size}});
    REQUIRE(same(call(plan, topk, hisa::BlockLists{blocks.data(), capacity}),
                 hisa::reference::refine(p.queries(), p.keys(), {lists.data(), capacity}, size,
                                         p.ranges(), {.topk = topk})));
  }

private:
  static Problem<T> draw_problem(Draw& draw) {
    auto p = Problem<T>::random(draw.seed(), draw.in(1, 6), draw.in(0, 400), draw.of({1, 8, 17}),
                                draw.of({1, 16, 40}));
    make_hard(draw, p);
    for (std::size_t t = 0; t < std::size_t(p.M); ++t)
      p.ks[t] = 0, p.ke[t] = draw.length(p.N);
    return p;
  }

  template <class Plan, class Blocks>
  hisa::reference::Result call(const Plan& plan, int topk, const Blocks& blocks) const {
    auto const memory = make_workspace(plan.workspace_bytes());
    DeviceSelection const out(p.M, topk);
    plan(Exec(), d.queries, d.keys, blocks, d.ranges, out.view(),
         span(memory, plan.workspace_bytes()));
    Kokkos::fence();
    return out.result();
  }
};

template <class Element, class StrategyT>
struct Case {
  using T = Element;
  using Strategy = StrategyT;
};

} // namespace

TEMPLATE_TEST_CASE("contiguous keys, pooled by the library", "", (Case<float, hisa::StreamSelect>),
                   (Case<bf16, hisa::SortSelect>), (Case<e4m3fn, hisa::RadixSelect>)) {
  using T = typename TestType::T;
  for (int i = 0; i < cases; ++i) {
    Draw draw(run_seed() + std::uint64_t(i));
    Packed<T> packed(draw);
    Setting const setting = draw_setting(draw, draw.in(0, 3));
    INFO("HISA_SEED=" << run_seed() << ", case " << i << ": " << text(setting));
    if (setting.levels.empty())
      for (std::size_t t = 0; t < std::size_t(packed.p.M); ++t) // nonsense must be clamped
        packed.p.ks[t] = draw.length(packed.p.N), packed.p.ke[t] = draw.length(packed.p.N);
    DeviceProblem<T> const d(packed.p);
    Levelled<T> levels;
    for (auto level : setting.levels)
      levels.add(packed, draw, d, level);
    levels.finish();
    auto const rows = draw_rows(draw, packed.p.M);
    auto const result = run_on_device<MeanPool, typename TestType::Strategy>(
        Exec(), setting, d.queries, d.keys, levels.views, d.ranges, true, rows);
    auto const expected = hisa::reference::hierarchical(
        packed.p.queries(), packed.p.keys(), levels.reference, packed.p.ranges(), setting.choice());
    require_part(result, expected, rows, packed.p.M);
  }
}

TEMPLATE_TEST_CASE("pages, pooled by the library, decode and mixed batches", "",
                   (Case<float, hisa::SortSelect>), (Case<bf16, hisa::RadixSelect>),
                   (Case<e4m3fn, hisa::StreamSelect>)) {
  for (int i = 0; i < cases; ++i) {
    Draw draw(run_seed() + 1000 + std::uint64_t(i));
    Setting setting = draw_setting(draw, draw.in(0, 3));
    if (draw.one_in(3))
      setting.options.index_base = hisa::IndexBase::physical;
    INFO("HISA_SEED=" << run_seed() << ", case " << i << ": " << text(setting));
    PagedCase<typename TestType::T, typename TestType::Strategy> const c(draw, setting);
    switch (draw.in(0, 3)) {
    case 0:
      c.compare_lengths(draw, hisa::LengthsForm::per_sequence);
      break;
    case 1:
      c.compare_lengths(draw, hisa::LengthsForm::per_query);
      break;
    default:
      c.compare_ragged(draw);
    }
  }
}

TEMPLATE_TEST_CASE("scores, block-sparse plans and lists of the caller's", "", float, e4m3fn) {
  for (int i = 0; i < cases; ++i) {
    Draw draw(run_seed() + 2000 + std::uint64_t(i));
    INFO("HISA_SEED=" << run_seed() << ", case " << i);
    Single<TestType> const c(draw);
    int const size = draw.of({1, 3, 16, 32});
    c.compare_scores(draw);
    c.compare_block_sparse(draw, size);
    c.compare_refine(draw, size);
  }
}
