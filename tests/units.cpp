// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index types: a unit never turns into another one or into a plain integer by itself.
#include <hisa/units.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <limits>
#include <type_traits>

using namespace hisa;

namespace {

template <class A, class B>
concept Comparable = requires(A a, B b) {
  a == b;
};
template <class A, class B>
concept Ordered = requires(A a, B b) {
  a < b;
};
template <class A, class B>
concept Subtractable = requires(A a, B b) {
  a - b;
};
template <class A, class B>
concept Addable = requires(A a, B b) {
  a + b;
};

template <class A, class B>
constexpr bool strangers =
    !std::is_constructible_v<A, B> && !std::is_assignable_v<A&, B> && !Comparable<A, B> &&
    !Ordered<A, B> && !Subtractable<A, B> && !Addable<A, B>;

template <class A, class... Others>
constexpr bool unlike = (strangers<A, Others> && ...) && (strangers<Others, A> && ...);

static_assert(unlike<TokenIndex, BlockIndex, PageIndex, PhysicalPage, CacheSlot, PooledRow>);
static_assert(unlike<BlockIndex, PageIndex, PhysicalPage, CacheSlot, PooledRow>);
static_assert(unlike<PageIndex, PhysicalPage, CacheSlot, PooledRow>);
static_assert(unlike<PhysicalPage, CacheSlot, PooledRow>);
static_assert(unlike<CacheSlot, PooledRow>);

// page_of and slot_in take their arguments in one order only.
static_assert(std::is_invocable_v<decltype(slot_in), PhysicalPage, TokenIndex, int>);
static_assert(!std::is_invocable_v<decltype(slot_in), PageIndex, TokenIndex, int>);
static_assert(!std::is_invocable_v<decltype(slot_in), TokenIndex, PhysicalPage, int>);
static_assert(!std::is_invocable_v<decltype(page_of), BlockIndex, int>);

} // namespace

TEMPLATE_TEST_CASE("an index and an integer convert only explicitly", "", TokenIndex, BlockIndex,
                   PageIndex, PhysicalPage, CacheSlot, PooledRow) {
  STATIC_REQUIRE(std::is_constructible_v<TestType, std::int64_t>);
  STATIC_REQUIRE(!std::is_convertible_v<std::int64_t, TestType>);
  STATIC_REQUIRE(!std::is_convertible_v<TestType, std::int64_t>);
  STATIC_REQUIRE(!std::is_constructible_v<std::int64_t, TestType>);
  STATIC_REQUIRE(!Comparable<TestType, int>);
  STATIC_REQUIRE(!Addable<TestType, TestType>);
  STATIC_REQUIRE(std::is_trivially_copyable_v<TestType>);
  STATIC_REQUIRE(sizeof(TestType) == 8);
  REQUIRE(TestType().value == 0);
}

TEMPLATE_TEST_CASE("an index moves by counts, and two of a kind are a count apart", "", TokenIndex,
                   BlockIndex, PageIndex, PhysicalPage, CacheSlot, PooledRow) {
  TestType const a(5), b(8);
  REQUIRE(a + 3 == b);
  REQUIRE(b + -3 == a);
  REQUIRE(b - a == 3);
  REQUIRE(a - b == -3);
  STATIC_REQUIRE(std::is_same_v<decltype(b - a), std::int64_t>);
}

TEMPLATE_TEST_CASE("indices are ordered as their values", "", TokenIndex, BlockIndex, PageIndex,
                   PhysicalPage, CacheSlot, PooledRow) {
  for (std::int64_t a : {-2, 0, 1, 7})
    for (std::int64_t b : {-2, 0, 1, 7}) {
      TestType const x(a), y(b);
      REQUIRE((x == y) == (a == b));
      REQUIRE((x != y) == (a != b));
      REQUIRE((x < y) == (a < b));
      REQUIRE((x > y) == (a > b));
      REQUIRE((x <= y) == (a <= b));
      REQUIRE((x >= y) == (a >= b));
    }
}

TEST_CASE("a token's page and slot, for every token of a few pages") {
  for (int page_size : {1, 3, 16, 64})
    for (std::int64_t page = 0; page < 4; ++page)
      for (std::int64_t offset = 0; offset < page_size; ++offset) {
        TokenIndex const token(page * page_size + offset);
        REQUIRE(page_of(token, page_size) == PageIndex(page));
        REQUIRE(slot_in(PhysicalPage(11), token, page_size) == CacheSlot(11 * page_size + offset));
      }
}

TEST_CASE("slots beyond 2^31 do not wrap") {
  std::int64_t const page = std::numeric_limits<std::int32_t>::max();
  REQUIRE(slot_in(PhysicalPage(page), TokenIndex(70), 64).value == page * 64 + 6);
  REQUIRE(page_of(TokenIndex(page * 64 + 63), 64).value == page);
  REQUIRE((TokenIndex(page) + page).value == 2 * page);
}
