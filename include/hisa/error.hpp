// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// How the library refuses: one sentence that names the function, the argument, what was found and
/// what was expected. Nothing is launched and nothing is written before every check has passed.
#pragma once

#include <hisa/config.hpp>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <type_traits>

HISA_NAMESPACE_BEGIN

/// A call was refused before anything was launched: an argument breaks the documented contract.
class precondition_error : public std::invalid_argument {
public:
  using std::invalid_argument::invalid_argument;
};

/// The runtime refused to launch a kernel. Thrown by the backends that need no Kokkos; on Kokkos
/// spaces such failures are reported by Kokkos.
class launch_error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Called with the sentence instead of a throw where exceptions are disabled. Must not return.
using failure_handler = void (*)(const char* sentence);

namespace detail {

[[noreturn]] inline void print_and_abort(const char* sentence) {
  std::fprintf(stderr, "%s\n", sentence);
  std::abort();
}

inline failure_handler& current_failure_handler() noexcept {
  static failure_handler handler = print_and_abort;
  return handler;
}

template <class Error>
[[noreturn]] void fail(const std::string& sentence) {
#if HISA_HAS_EXCEPTIONS
  throw Error(sentence);
#else
  current_failure_handler()(sentence.c_str());
  std::abort(); // the handler must not return
#endif
}

} // namespace detail

/// Replaces what happens on a failure in a build without exceptions (default: print the sentence on
/// standard error and abort). Returns the previous handler. Not thread-safe; call it at start-up.
inline failure_handler set_failure_handler(failure_handler handler) noexcept {
  failure_handler previous = detail::current_failure_handler();
  detail::current_failure_handler() = handler;
  return previous;
}

namespace detail {

/// "ARGUMENT is FOUND, expected EXPECTED"
template <class Found>
std::string unlike(const char* argument, const Found& found, const std::string& expected) {
  std::string shown;
  if constexpr (std::is_arithmetic_v<Found>)
    shown = std::to_string(found);
  else
    shown = found;
  return argument + (" is " + shown) + ", expected " + expected;
}

/// Throws precondition_error("hisa::FUNCTION: ARGUMENT is FOUND, expected EXPECTED") unless `ok`.
template <class Found>
void require(bool ok, const char* function, const char* argument, const Found& found,
             const std::string& expected) {
  if (!ok)
    fail<precondition_error>(std::string("hisa::") + function + ": " +
                             unlike(argument, found, expected));
}

/// The same for a pointer that must not be null.
inline void require_pointer(const void* pointer, const char* function, const char* argument) {
  require(pointer != nullptr, function, argument, "null", "a pointer to data");
}

} // namespace detail

HISA_NAMESPACE_END
