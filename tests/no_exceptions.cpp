// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiled with -fno-exceptions: a refusal calls the user's handler with the sentence; without one
// it is printed and the program aborts; a handler that returns aborts, too. Each case is a child
// process.
#include <hisa/checks.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

static_assert(HISA_HAS_EXCEPTIONS == 0, "compile this file with -fno-exceptions");

namespace {

constexpr const char* sentence = "hisa::Plan: queries.count is 9, expected 0 .. 4";

/// A check of the library that fails, through one of its entries' own checks.
void refuse() {
  hisa::Queries<float> queries;
  queries.count = 9;
  hisa::detail::check_queries("Plan", queries, 4, 1, 1);
}

struct Outcome {
  int status = 0;
  std::string printed;
};

/// Runs `call` in a child; what it prints on standard error comes back.
template <class Call>
Outcome in_child(const Call& call) {
  int ends[2];
  if (pipe(ends) != 0)
    std::exit(2);
  pid_t const child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]), close(ends[1]);
    call();
    _exit(99); // not refused
  }
  close(ends[1]);
  Outcome outcome;
  char byte;
  while (read(ends[0], &byte, 1) == 1)
    outcome.printed += byte;
  close(ends[0]);
  waitpid(child, &outcome.status, 0);
  return outcome;
}

int failures = 0;
void check(bool ok, const char* what) {
  std::printf("%s: %s\n", ok ? "passed" : "FAILED", what);
  failures += !ok;
}

bool aborted(const Outcome& o) {
  return WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGABRT;
}

} // namespace

int main() {
  Outcome const handled = in_child([] {
    hisa::set_failure_handler(
        [](const char* said) { _exit(std::strcmp(said, sentence) == 0 ? 42 : 1); });
    refuse();
  });
  check(WIFEXITED(handled.status) && WEXITSTATUS(handled.status) == 42,
        "the user's handler is called with the sentence");
  check(handled.printed.empty(), "nothing is printed where there is a handler");

  Outcome const standard = in_child(refuse);
  check(aborted(standard) && standard.printed == std::string(sentence) + "\n",
        "without a handler the sentence is printed and the program aborts");

  Outcome const returning = in_child([] {
    hisa::set_failure_handler([](const char*) {});
    refuse();
  });
  check(aborted(returning), "a handler that returns does not let the call go on");

  Outcome const accepted = in_child([] { hisa::detail::require(true, "f", "a", 1, "1"); });
  check(WIFEXITED(accepted.status) && WEXITSTATUS(accepted.status) == 99,
        "what is right is not refused");
  return failures == 0 ? 0 : 1;
}
