// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A group on the host: one fiber per lane, switched at the collective operations, so that group
/// code runs in ordinary tests. Shared memory is watched: two lanes that touch one word between two
/// barriers, at least one of them writing, are reported. Not for speed.
#pragma once

#include <hisa/gpu/group.hpp>

#include <ucontext.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Lanes broke the rules: a race, or a collective operation that not all of them reached.
class lockstep_error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Runs a function on every lane of a group.
class Lockstep {
public:
  /// @param skipped  a barrier (counted from 0) that only lines the lanes up, as if the source
  /// lacked
  ///                 it; -1: none
  Lockstep(int lanes, int skipped = -1) : lanes_(lanes), skipped_(skipped) {}

  class Lane;

  /// Runs body(lane) on all lanes. Throws lockstep_error, or what a lane has thrown.
  void run(std::function<void(const Lane&)> body);

  /// Barriers that the last run went through.
  int barriers() const { return barriers_; }

private:
  friend class Lane;
  enum class At { running, barrier, shuffle, done };
  enum class Access : unsigned char { read, write, add };

  struct Fiber {
    ucontext_t context;
    std::unique_ptr<std::byte[]> stack;
    At at = At::running;
    std::uint64_t offered = 0;
  };
  struct Touch {
    int interval = -1; ///< barriers passed when the word was last touched
    int lane = -1;     ///< a lane that touched it; `many` when several read or added
    Access access = Access::read;
  };
  static constexpr int many = -2;
  static constexpr std::size_t stack_bytes = 128 * 1024;

  int lanes_, skipped_;
  int barriers_ = 0, interval_ = 0, current_ = 0;
  std::vector<Fiber> fibers_;
  ucontext_t scheduler_;
  const void* scheduler_stack_ = nullptr; ///< for the address sanitizer
  std::size_t scheduler_stack_bytes_ = 0;
  std::function<void(const Lane&)> body_;
  std::unordered_map<std::uintptr_t, Touch> touched_;
  std::string failure_;

  static Lockstep*& active() {
    thread_local Lockstep* machine = nullptr;
    return machine;
  }
  static void start();
  void resume(Fiber& fiber);
  void leave(Fiber& fiber, bool for_good);
  void arrive(void* fake_stack);
  void yield(At at);
  void resume_all();
  void touch(const void* address, std::size_t bytes, Access access);
};

/// The group as one lane sees it.
class Lockstep::Lane {
public:
  static constexpr int wave = 32;

  Lane(Lockstep* machine, int lane) : machine_(machine), lane_(lane) {}
  int lane() const { return lane_; }
  int size() const { return machine_->lanes_; }
  void barrier() const { machine_->yield(At::barrier); }

  template <class T>
  T shuffle_up(T value, int distance) const {
    return shuffle(value, lane_ % wave >= distance ? lane_ % wave - distance : lane_ % wave);
  }
  template <class T>
  T shuffle(T value, int source) const {
    machine_->fibers_[std::size_t(lane_)].offered = value;
    machine_->yield(At::shuffle);
    std::uint64_t const received =
        machine_->fibers_[std::size_t(lane_ / wave * wave + source)].offered;
    machine_->yield(At::shuffle); // nobody offers anew before all have received
    return static_cast<T>(received);
  }
  template <class T>
  T load(const T* p) const {
    machine_->touch(p, sizeof(T), Access::read);
    return *p;
  }
  template <class T>
  void store(T* p, T value) const {
    machine_->touch(p, sizeof(T), Access::write);
    *p = value;
  }
  template <class T>
  void add(T* p, T value) const {
    machine_->touch(p, sizeof(T), Access::add);
    *p += value;
  }

private:
  Lockstep* machine_;
  int lane_;
};

/// Switches from the scheduler to a fiber, and back. The address sanitizer wants to know.
inline void Lockstep::resume([[maybe_unused]] Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, fiber.stack.get(), stack_bytes);
  swapcontext(&scheduler_, &fiber.context);
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
  swapcontext(&scheduler_, &fiber.context);
#endif
}
inline void Lockstep::leave(Fiber& fiber, [[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, scheduler_stack_,
                                 scheduler_stack_bytes_);
  swapcontext(&fiber.context, &scheduler_);
  arrive(fake_stack);
#else
  swapcontext(&fiber.context, &scheduler_);
#endif
}
inline void Lockstep::arrive([[maybe_unused]] void* fake_stack) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
}

inline void Lockstep::start() {
  Lockstep& m = *active();
  m.arrive(nullptr);
  int const lane = m.current_;
  try {
    m.body_(Lane(&m, lane));
  } catch (const std::exception& e) {
    m.failure_ = e.what();
  }
  Fiber& fiber = m.fibers_[std::size_t(lane)];
  fiber.at = At::done;
  m.leave(fiber, true);
}

inline void Lockstep::yield(At at) {
  Fiber& fiber = fibers_[std::size_t(current_)];
  fiber.at = at;
  leave(fiber, false);
}

/// Each lane runs to its next collective operation; they all must have reached the same one.
inline void Lockstep::resume_all() {
  for (current_ = 0; current_ < lanes_ && failure_.empty(); ++current_)
    resume(fibers_[std::size_t(current_)]);
  for (const Fiber& fiber : fibers_)
    if (failure_.empty() && fiber.at != fibers_[0].at)
      failure_ = "hisa::gpu::Lockstep: the lanes wait at different operations";
}

inline void Lockstep::touch(const void* address, std::size_t bytes, Access access) {
  std::uintptr_t const begin = reinterpret_cast<std::uintptr_t>(address) / 4;
  for (std::uintptr_t word = begin; word < begin + (bytes + 3) / 4; ++word) {
    Touch& t = touched_[word];
    if (t.interval != interval_) {
      t = {interval_, current_, access};
      continue;
    }
    if (t.lane == current_) {
      t.access = t.access == Access::read ? access : t.access;
      continue;
    }
    if (t.access != access || access == Access::write)
      throw lockstep_error("hisa::gpu::Lockstep: lanes " + std::to_string(t.lane) + " and " +
                           std::to_string(current_) + " touch one shared word between barriers");
    t.lane = many;
  }
}

inline void Lockstep::run(std::function<void(const Lane&)> body) {
  body_ = std::move(body);
  active() = this;
  barriers_ = interval_ = 0;
  failure_.clear();
  touched_.clear();
  fibers_ = std::vector<Fiber>(std::size_t(lanes_));
  for (Fiber& fiber : fibers_) {
    fiber.stack = std::make_unique_for_overwrite<std::byte[]>(stack_bytes);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = &scheduler_;
    makecontext(&fiber.context, &Lockstep::start, 0);
  }
  do {
    resume_all();
    if (failure_.empty() && fibers_[0].at == At::barrier && barriers_++ != skipped_)
      ++interval_;
  } while (failure_.empty() && fibers_[0].at != At::done);
  if (!failure_.empty())
    throw lockstep_error(failure_);
}

} // namespace gpu
HISA_NAMESPACE_END
