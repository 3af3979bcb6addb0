// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the library refuses where exceptions are enabled. no_exceptions.cpp is the other half.
#include <hisa/checks.hpp>
#include <hisa/error.hpp>

#include <catch2/catch_test_macros.hpp>

#include <limits>
#include <string>
#include <type_traits>

namespace {

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const hisa::precondition_error& error) {
    return error.what();
  }
  return {};
}

template <class Found>
std::string refusal_of(const Found& found) {
  return refusal([&] { hisa::detail::require(false, "function", "argument", found, "better"); });
}

} // namespace

TEST_CASE("a refusal is one sentence: function, argument, found, expected") {
  CHECK(refusal_of(7) == "hisa::function: argument is 7, expected better");
  CHECK(refusal_of(std::int64_t(-1) << 62) ==
        "hisa::function: argument is -4611686018427387904, expected better");
  CHECK(refusal_of(std::numeric_limits<std::size_t>::max()) ==
        "hisa::function: argument is 18446744073709551615, expected better");
  CHECK(refusal_of("null") == "hisa::function: argument is null, expected better");
  CHECK(refusal_of(std::string("a word")) == "hisa::function: argument is a word, expected better");
}

TEST_CASE("nothing is thrown where the condition holds") {
  CHECK(refusal([] { hisa::detail::require(true, "f", "a", 0, "1"); }).empty());
  int x = 0;
  CHECK(refusal([&] { hisa::detail::require_pointer(&x, "f", "a"); }).empty());
  CHECK(refusal([&] { hisa::detail::require_aligned(&x, alignof(int), "f", "a"); }).empty());
}

TEST_CASE("pointers are refused by what is wrong with them") {
  CHECK(refusal([] { hisa::detail::require_pointer(nullptr, "f", "p"); }) ==
        "hisa::f: p is null, expected a pointer to data");
  alignas(16) char bytes[32] = {};
  CHECK(refusal([&] { hisa::detail::require_aligned(bytes + 4, 16, "f", "p"); }) ==
        "hisa::f: p is misaligned, expected an address that is a multiple of 16");
}

TEST_CASE("callers can catch the standard's exceptions, and tell refusals from launch failures") {
  static_assert(std::is_base_of_v<std::invalid_argument, hisa::precondition_error>);
  static_assert(std::is_base_of_v<std::runtime_error, hisa::launch_error>);
  static_assert(!std::is_base_of_v<std::runtime_error, hisa::precondition_error>);
  CHECK_THROWS_AS(hisa::detail::fail<hisa::precondition_error>("x"), std::invalid_argument);
  CHECK_THROWS_AS(hisa::detail::fail<hisa::launch_error>("x"), std::runtime_error);
}

TEST_CASE("the failure handler can be replaced and put back; with exceptions it is not called") {
  static bool called = false;
  hisa::failure_handler const mine = [](const char*) { called = true; };
  hisa::failure_handler const before = hisa::set_failure_handler(mine);
  CHECK(before != nullptr);
  CHECK_THROWS_AS(hisa::detail::fail<hisa::precondition_error>("x"), hisa::precondition_error);
  CHECK_FALSE(called);
  CHECK(hisa::set_failure_handler(before) == mine);
}
