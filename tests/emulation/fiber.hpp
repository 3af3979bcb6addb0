// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A function that can be left in its middle and gone on with later, on a stack of its own.
#pragma once

#include "order.hpp"

#include <cstddef>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

/// Switched between one scheduler and any number of fibers; all in one thread.
class Fiber {
public:
  using Body = void (*)(void* argument);

  /// The next resume() calls body(argument). What the fiber was in the middle of is forgotten.
  void prepare(Body body, void* argument);
  /// Goes on with the fiber; returns when it leaves. Called by the scheduler.
  void resume();
  /// Goes back to the scheduler. Called by the fiber.
  void leave() { leave(false); }

private:
#if defined(__x86_64__)
  using Context = void*; ///< the stack pointer; all else is on the stack
#else
  using Context = ucontext_t;
#endif
  static constexpr std::size_t stack_bytes = 256 * 1024;

  std::unique_ptr<std::byte[]> stack_;
  Context context_{};
  Body body_ = nullptr;
  void* argument_ = nullptr;
  order::Actor actor_;
  bool ended_ = true;

  static void start();
  static void arrive(void* fake_stack);
  void leave(bool for_good);
  static void jump(Context& from, Context& to);
  struct Scheduler;
  static Scheduler& scheduler();
};

} // namespace emulation
