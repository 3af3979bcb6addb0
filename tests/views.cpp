// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensors from Kokkos Views, from mdspans and from raw pointers are the same tensors, and what the
// library cannot read is refused with a sentence.
#include "support/problem.hpp"

#include <hisa/views.hpp>

#include <catch2/catch_test_macros.hpp>

#include <limits>
#include <string>

// Kokkos ships mdspan in namespace Kokkos, in a header that View brings along where it is enabled.
#if defined(KOKKOS_ENABLE_IMPL_MDSPAN)
#define HISA_TEST_MDSPAN 1
#else
#define HISA_TEST_MDSPAN 0
#endif

using namespace hisa_test;
using hisa::bf16, hisa::e4m3fn, hisa::Levels, hisa::MeanPool;

namespace {

struct TwoRows : hisa::MeanPool {
  static constexpr int rows = 2;
};

constexpr int M = 5, N = 333, H = 3, D = 16, topk = 40, size = 32, blocks = N / size;

template <class T, class Layout = Kokkos::LayoutRight>
using View = Kokkos::View<T, Layout, Exec::memory_space>;

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const hisa::precondition_error& error) {
    return error.what();
  }
  return {};
}

struct Fixture {
  Exec exec;
  Problem<e4m3fn> p = Problem<e4m3fn>::random(100, M, N, H, D);
  DeviceProblem<e4m3fn> device{p};
  Pooled<e4m3fn> pooled = pool_reference(p, size);
  DevicePooled<e4m3fn> rows{pooled};
  hisa::reference::Result expected = run_reference(p, {{{size, 4}}, topk}, {pooled});

  /// The result of one call on these tensors.
  hisa::reference::Result run(const hisa::Queries<e4m3fn>& queries,
                              const hisa::ContiguousKeys<e4m3fn>& keys,
                              const hisa::PooledKeys<const e4m3fn>& level) const {
    return run_on_device(exec, {{{size, 4}}, topk}, queries, keys, {level}, device.ranges);
  }
};

} // namespace

TEST_CASE("raw pointers, Views and Views of const give the same results") {
  Fixture const f;
  REQUIRE(same(f.run(f.device.queries, f.device.keys, f.rows.view), f.expected));

  View<e4m3fn***> const q(f.device.q.data(), M, H, D);
  View<float**> const w(f.device.w.data(), M, H);
  View<e4m3fn**> const k(f.device.k.data(), N, D);
  View<float*> const k_scale(f.device.k_scale.data(), N);
  View<e4m3fn***> const values(f.rows.values.data(), blocks, 1, D);
  View<float**> const scales(f.rows.scales.data(), blocks, 1);
  REQUIRE(same(f.run(hisa::make_queries(q, w), hisa::make_contiguous_keys(k, k_scale),
                     hisa::make_pooled_keys(values, scales, size)),
               f.expected));

  View<const e4m3fn***> const const_q = q;
  View<const float**> const const_w = w;
  View<const e4m3fn**> const const_k = k;
  View<const float*> const const_k_scale = k_scale;
  View<const e4m3fn***> const const_values = values;
  View<const float**> const const_scales = scales;
  auto const read_only = hisa::make_pooled_keys(const_values, const_scales, size);
  static_assert(std::is_same_v<decltype(read_only), const hisa::PooledKeys<const e4m3fn>>);
  REQUIRE(same(f.run(hisa::make_queries(const_q, const_w),
                     hisa::make_contiguous_keys(const_k, const_k_scale), read_only),
               f.expected));
}

TEST_CASE("Views with static extents, unmanaged Views and subviews of whole rows are taken") {
  Fixture const f;
  View<const e4m3fn* [H][D]> const q(f.device.q.data(), M);
  Kokkos::View<const float* [H], Kokkos::LayoutRight, Exec::memory_space,
               Kokkos::MemoryTraits<Kokkos::Unmanaged>> const w(f.device.w.data(), M);
  View<e4m3fn[N][D]> const k(f.device.k.data());
  View<float[N]> const k_scale(f.device.k_scale.data());
  auto const all = hisa::make_queries(q, w);
  auto const keys = hisa::make_contiguous_keys(k, k_scale);
  REQUIRE(same(f.run(all, keys, f.rows.view), f.expected));

  // Queries 2 .. 4 alone give rows 2 .. 4.
  auto const some = std::make_pair(2, 5);
  auto const part = hisa::make_queries(Kokkos::subview(q, some, Kokkos::ALL, Kokkos::ALL),
                                       Kokkos::subview(w, some, Kokkos::ALL));
  REQUIRE(part.count == 3);
  REQUIRE(part.values == all.values + 2 * H * D);
  REQUIRE(part.weights == all.weights + 2 * H);
}

TEST_CASE("a View carries its extents, element type and pointers") {
  Fixture const f;
  View<const bf16***> const q(nullptr, 7, 2, 8);
  View<const float**> const w(nullptr, 7, 2);
  auto const queries = hisa::make_queries(q, w);
  static_assert(std::is_same_v<decltype(queries), const hisa::Queries<bf16>>);
  REQUIRE((queries.count == 7 && queries.heads == 2 && queries.head_dim == 8));

  View<bf16**> const k(nullptr, 9, 8);
  auto const keys = hisa::make_contiguous_keys(k);
  static_assert(std::is_same_v<decltype(keys), const hisa::ContiguousKeys<bf16>>);
  REQUIRE((keys.count == 9 && keys.head_dim == 8 && keys.scales == nullptr));
  REQUIRE((keys.row_stride == 0 || keys.row_stride == 8));

  View<e4m3fn***> const values(f.rows.values.data(), blocks, 1, D);
  View<float**> const scales(f.rows.scales.data(), blocks, 1);
  auto const pooled = hisa::make_pooled_keys(values, scales, size);
  static_assert(std::is_same_v<decltype(pooled), const hisa::PooledKeys<e4m3fn>>);
  REQUIRE((pooled.values == values.data() && pooled.scales == scales.data()));
  REQUIRE((pooled.blocks == blocks && pooled.block_size == size && pooled.head_dim == D));
  REQUIRE(pooled.begin == nullptr);
}

TEST_CASE("rows of keys may lie any distance apart") {
  Fixture const f;
  constexpr int pitch = D + 13;
  std::vector<e4m3fn> padded(std::size_t(N) * pitch, e4m3fn{0x7e});
  for (std::size_t i = 0; i < std::size_t(N); ++i)
    std::copy_n(f.p.k.begin() + std::ptrdiff_t(i * D), D,
                padded.begin() + std::ptrdiff_t(i * pitch));
  Device<e4m3fn> const memory(padded);
  View<const float*> const k_scale(f.device.k_scale.data(), N);
  View<const e4m3fn**> const wide(memory.data(), N, pitch);
  auto const keys =
      hisa::make_contiguous_keys(Kokkos::subview(wide, Kokkos::ALL, std::make_pair(0, D)), k_scale);
  REQUIRE(keys.row_stride == pitch);
  REQUIRE(same(f.run(f.device.queries, keys, f.rows.view), f.expected));

  hisa::ContiguousKeys<e4m3fn> const raw{memory.data(), f.device.k_scale.data(), N, D, pitch};
  REQUIRE(same(f.run(f.device.queries, raw, f.rows.view), f.expected));

  // Pooling reads the same rows.
  Device<std::int32_t> const length(std::vector<std::int32_t>{N});
  DevicePooled<e4m3fn> const rows(Pooled<e4m3fn>(blocks, size, D));
  hisa::pool_rebuild<MeanPool>(f.exec, keys, rows.view, {1, nullptr, length.data(), nullptr});
  f.exec.fence();
  REQUIRE(std::memcmp(rows.values.host().data(), f.pooled.values.data(), f.pooled.values.size()) ==
          0);

  Kokkos::View<const e4m3fn**, Kokkos::LayoutStride, Exec::memory_space> const strided(
      memory.data(), Kokkos::LayoutStride(N / 2, 2 * pitch, D, 1)); // every second key
  REQUIRE(hisa::make_contiguous_keys(strided).row_stride == 2 * pitch);
}

TEST_CASE("one row, one head or one dimension is packed whatever its stride") {
  e4m3fn value{};
  float weight = 0;
  Kokkos::View<e4m3fn***, Kokkos::LayoutLeft, Kokkos::HostSpace> const q(&value, 1, 1, 4);
  Kokkos::View<float**, Kokkos::LayoutLeft, Kokkos::HostSpace> const w(&weight, 1, 1);
  REQUIRE(refusal([&] { (void)hisa::make_queries(q, w); }).empty());
  Kokkos::View<e4m3fn**, Kokkos::LayoutLeft, Kokkos::HostSpace> const one(&value, 1, 4);
  REQUIRE(refusal([&] { (void)hisa::make_contiguous_keys(one); }).empty());
  REQUIRE(hisa::make_contiguous_keys(one).row_stride == 0);
}

TEST_CASE("empty Views are legal") {
  View<e4m3fn***> const q("q", 0, H, D), none("none", 0, 1, D);
  View<float**> const w("w", 0, H), no_scales("scales", 0, 1);
  View<e4m3fn**> const k("k", 0, D);
  REQUIRE(hisa::make_queries(q, w).count == 0);
  REQUIRE(hisa::make_contiguous_keys(k).count == 0);
  REQUIRE(hisa::make_pooled_keys(none, no_scales, size).blocks == 0);
}

TEST_CASE("views that are not row-major and packed are refused with a sentence") {
  using Left = Kokkos::LayoutLeft;
  View<e4m3fn***, Left> const left_q("q", M, H, D);
  View<e4m3fn***> const q("q", M, H, D), wide_q("q", M, H, D + 1), tall_q("q", M, H + 1, D);
  View<float**, Left> const left_w("w", M, H);
  View<float**> const w("w", M, H), wide_w("w", M, H + 1);
  auto const first = [](int n) { return std::make_pair(0, n); };
  auto const all = Kokkos::ALL;
  std::string const packed = ", expected row-major and packed (stride ";
  CHECK(refusal([&] { (void)hisa::make_queries(left_q, w); }) ==
        "hisa::make_queries: values is strided by 15 in dimension 2" + packed + "1)");
  CHECK(refusal([&] {
          (void)hisa::make_queries(Kokkos::subview(wide_q, all, all, first(D)), w);
        }) == "hisa::make_queries: values is strided by 17 in dimension 1" + packed + "16)");
  CHECK(refusal([&] {
          (void)hisa::make_queries(Kokkos::subview(tall_q, all, first(H), all), w);
        }) == "hisa::make_queries: values is strided by 64 in dimension 0" + packed + "48)");
  CHECK(refusal([&] { (void)hisa::make_queries(q, left_w); }) ==
        "hisa::make_queries: weights is strided by 5 in dimension 1" + packed + "1)");
  CHECK(refusal([&] { (void)hisa::make_queries(q, Kokkos::subview(wide_w, all, first(H))); }) ==
        "hisa::make_queries: weights is strided by 4 in dimension 0" + packed + "3)");

  View<e4m3fn**, Left> const left_k("k", N, D);
  CHECK(refusal([&] { (void)hisa::make_contiguous_keys(left_k); }) ==
        "hisa::make_contiguous_keys: values is strided by 333 in dimension 1" + packed + "1)");
  View<e4m3fn**> const k("k", N, D);
  View<float**> const table("scales", N, 2);
  CHECK(refusal([&] { (void)hisa::make_contiguous_keys(k, Kokkos::subview(table, all, 0)); }) ==
        "hisa::make_contiguous_keys: scales is strided by 2 in dimension 0" + packed + "1)");

  View<e4m3fn***> const values("values", blocks, 2, D), wide_values("values", blocks, 2, D + 1);
  View<float**> const scales("scales", blocks, 2);
  View<float**, Left> const left_scales("scales", blocks, 2);
  CHECK(refusal([&] {
          (void)hisa::make_pooled_keys<TwoRows>(Kokkos::subview(wide_values, all, all, first(D)),
                                                scales, size);
        }) == "hisa::make_pooled_keys: values is strided by 17 in dimension 1" + packed + "16)");
  CHECK(refusal([&] { (void)hisa::make_pooled_keys<TwoRows>(values, left_scales, size); }) ==
        "hisa::make_pooled_keys: scales is strided by 10 in dimension 1" + packed + "1)");
}

TEST_CASE("pooled views have as many rows a block as the rule says; unquantised types no scales") {
  View<bf16***> const two("values", blocks, 2, D);
  CHECK(refusal([&] { (void)hisa::make_pooled_keys(two, size); }) ==
        "hisa::make_pooled_keys: values.extent(1) is 2, expected 1");
  auto const pooled = hisa::make_pooled_keys<TwoRows>(two, size);
  REQUIRE((pooled.values == two.data() && pooled.scales == nullptr && pooled.blocks == blocks));
}

TEST_CASE("views whose extents do not agree are refused with a sentence") {
  View<e4m3fn***> const q("q", M, H, D), values("values", blocks, 1, D);
  View<e4m3fn**> const k("k", N, D);
  View<float**> const few("w", M - 1, H), many("w", M, H + 1);
  CHECK(refusal([&] { (void)hisa::make_queries(q, few); }) ==
        "hisa::make_queries: weights.extent(0) is 4, expected 5");
  CHECK(refusal([&] { (void)hisa::make_queries(q, many); }) ==
        "hisa::make_queries: weights.extent(1) is 4, expected 3");
  View<float*> const scales("scales", N + 1);
  CHECK(refusal([&] { (void)hisa::make_contiguous_keys(k, scales); }) ==
        "hisa::make_contiguous_keys: scales.extent(0) is 334, expected 333");
  View<float**> const other("scales", blocks + 1, 1), two("scales", blocks, 2);
  CHECK(refusal([&] { (void)hisa::make_pooled_keys(values, other, size); }) ==
        "hisa::make_pooled_keys: scales.extent(0) is 11, expected 10");
  CHECK(refusal([&] { (void)hisa::make_pooled_keys(values, two, size); }) ==
        "hisa::make_pooled_keys: scales.extent(1) is 2, expected 1");
}

TEST_CASE("ranges and ragged rows from Views") {
  using Kokkos::View;
  View<std::int32_t*> const ks("ks", 5), ke("ke", 5), anchor("anchor", 5), four("four", 4);
  auto const ranges = hisa::make_ranges(ks, ke);
  CHECK((ranges.ks == ks.data() && ranges.ke == ke.data() && ranges.anchor == nullptr));
  auto const anchored = hisa::make_ranges(View<const std::int32_t*>(ks), ke, anchor);
  CHECK((anchored.ks == ks.data() && anchored.ke == ke.data() && anchored.anchor == anchor.data()));
  auto const ragged = hisa::make_ragged(ks, ke, 7);
  CHECK((ragged.row_seq == ks.data() && ragged.row_visible == ke.data() && ragged.batch == 7));
  CHECK(refusal([&] { (void)hisa::make_ranges(ks, four); }) ==
        "hisa::make_ranges: ke.extent(0) is 4, expected 5");
  CHECK(refusal([&] { (void)hisa::make_ranges(ks, ke, four); }) ==
        "hisa::make_ranges: anchor.extent(0) is 4, expected 5");
  CHECK(refusal([&] { (void)hisa::make_ragged(ks, four, 7); }) ==
        "hisa::make_ragged: row_visible.extent(0) is 4, expected 5");
  View<std::int32_t**, Kokkos::LayoutRight> const pairs("pairs", 5, 2);
  auto const column = Kokkos::subview(pairs, Kokkos::ALL, 1);
  CHECK(refusal([&] { (void)hisa::make_ragged(column, ke, 7); }) ==
        "hisa::make_ragged: row_seq is strided by 2 in dimension 0, expected row-major and packed "
        "(stride 1)");
}

#if HISA_TEST_MDSPAN

TEST_CASE(
    "mdspans, row-major and strided, with dynamic and static extents, give the same results") {
  Fixture const f;
  using Kokkos::dextents, Kokkos::mdspan;
  mdspan<const e4m3fn, dextents<std::size_t, 3>> const q(f.device.q.data(), M, H, D);
  mdspan<const float, dextents<std::size_t, 2>> const w(f.device.w.data(), M, H);
  mdspan<const e4m3fn, dextents<int, 2>> const k(f.device.k.data(), N, D);
  mdspan<const float, dextents<int, 1>> const k_scale(f.device.k_scale.data(), N);
  mdspan<e4m3fn, dextents<std::int64_t, 3>> const values(f.rows.values.data(), blocks, 1, D);
  mdspan<float, dextents<std::int64_t, 2>> const scales(f.rows.scales.data(), blocks, 1);
  REQUIRE(same(f.run(hisa::make_queries(q, w), hisa::make_contiguous_keys(k, k_scale),
                     hisa::make_pooled_keys(values, scales, size)),
               f.expected));

  // Static extents, some and all of them.
  using Kokkos::dynamic_extent, Kokkos::extents;
  mdspan<const e4m3fn, extents<std::size_t, dynamic_extent, H, D>> const some(f.device.q.data(), M);
  mdspan<const float, extents<std::size_t, M, H>> const fixed_w(f.device.w.data());
  mdspan<const e4m3fn, extents<int, N, D>> const fixed_k(f.device.k.data());
  mdspan<const float, extents<int, N>> const fixed_scale(f.device.k_scale.data());
  REQUIRE(same(f.run(hisa::make_queries(some, fixed_w),
                     hisa::make_contiguous_keys(fixed_k, fixed_scale), f.rows.view),
               f.expected));

  // Every other layout is told by its strides.
  using Strided = Kokkos::layout_stride;
  auto const strided = [](auto extents, auto strides) {
    return Strided::mapping<decltype(extents)>(extents, strides);
  };
  mdspan<const e4m3fn, dextents<int, 2>, Strided> const rows(
      f.device.k.data(), strided(dextents<int, 2>(N, D), std::array<int, 2>{D, 1}));
  REQUIRE(same(f.run(f.device.queries, hisa::make_contiguous_keys(rows, k_scale), f.rows.view),
               f.expected));
  mdspan<const e4m3fn, dextents<int, 2>, Strided> const second(
      f.device.k.data(), strided(dextents<int, 2>(N / 2, D), std::array<int, 2>{2 * D, 1}));
  REQUIRE(hisa::make_contiguous_keys(second).row_stride == 2 * D);
  mdspan<const e4m3fn, dextents<int, 2>, Kokkos::layout_left> const left(f.device.k.data(), N, D);
  CHECK(refusal([&] { (void)hisa::make_contiguous_keys(left); }) ==
        "hisa::make_contiguous_keys: values is strided by 333 in dimension 1, expected row-major "
        "and packed (stride 1)");
}

#else

TEST_CASE("mdspans give the same results") {
  SKIP("this Kokkos has no mdspan");
}

#endif
