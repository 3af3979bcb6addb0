// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "fiber.hpp"

#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATION_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATION_ASAN
#endif
#endif
#if defined(EMULATION_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/// A function that begins in one fiber and ends in another, of which no sanitizer may keep account.
#define SWITCHES [[gnu::noinline, gnu::no_sanitize("thread")]]

namespace emulation {

/// The scheduler's side of the switches.
struct Fiber::Scheduler {
  Context context{};
  Fiber* running = nullptr;
  order::Actor actor;
  const void* stack = nullptr; ///< for the address sanitizer
  std::size_t stack_bytes = 0;
};

Fiber::Scheduler& Fiber::scheduler() {
  static Scheduler one;
  return one;
}

#if defined(__x86_64__)
// swapcontext asks the system for its signal mask, which takes a hundred times as long.
extern "C" void emulation_jump(void** from, void* to);
asm(R"(
  .text
  .globl emulation_jump
  .type emulation_jump, @function
emulation_jump:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size emulation_jump, .-emulation_jump
)");

SWITCHES void Fiber::jump(Context& from, Context& to) {
  emulation_jump(&from, to);
}
#else
SWITCHES void Fiber::jump(Context& from, Context& to) {
  swapcontext(&from, &to);
}
#endif

void Fiber::prepare(Body body, void* argument) {
  body_ = body, argument_ = argument;
  if (!actor_.exists() || !ended_) // one that was abandoned may have been in the middle of anything
    actor_.renew();
  ended_ = false;
  order::released(this);
  if (stack_ == nullptr)
    stack_ = std::make_unique_for_overwrite<std::byte[]>(stack_bytes);
#if defined(EMULATION_ASAN)
  __asan_unpoison_memory_region(stack_.get(), stack_bytes);
#endif
#if defined(__x86_64__)
  auto const end = reinterpret_cast<std::uintptr_t>(stack_.get() + stack_bytes) / 16 * 16;
  auto* const top = reinterpret_cast<void**>(end);
  top[-1] = nullptr; // start() returns nowhere
  top[-2] = reinterpret_cast<void*>(&Fiber::start);
  for (int i = 3; i <= 8; ++i)
    top[-i] = nullptr; // six registers
  context_ = top - 8;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = stack_bytes;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::start, 0);
#endif
}

SWITCHES void Fiber::start() {
  arrive(nullptr);
  Fiber& self = *scheduler().running;
  order::acquired(&self);
  self.body_(self.argument_);
  self.ended_ = true;
  self.leave(true);
}

SWITCHES void Fiber::resume() {
  Scheduler& s = scheduler();
  s.running = this;
  s.actor.become_current();
  actor_.enter();
#if defined(EMULATION_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, stack_.get(), stack_bytes);
  jump(s.context, context_);
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
  jump(s.context, context_);
#endif
}

SWITCHES void Fiber::leave([[maybe_unused]] bool for_good) {
  Scheduler& s = scheduler();
  s.actor.enter();
#if defined(EMULATION_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, s.stack, s.stack_bytes);
  jump(context_, s.context);
  arrive(fake_stack);
#else
  jump(context_, s.context);
#endif
}

SWITCHES void Fiber::arrive([[maybe_unused]] void* fake_stack) {
#if defined(EMULATION_ASAN)
  Scheduler& s = scheduler();
  __sanitizer_finish_switch_fiber(fake_stack, &s.stack, &s.stack_bytes);
#endif
}

} // namespace emulation
