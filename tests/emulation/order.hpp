// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which accesses of memory the machine orders, told to the thread sanitizer: compiled with
// -fsanitize=thread, two CUDA threads, or a thread and a copy or product, that touch one place
// without an order between them are reported, whatever the fibers' order was. Else nothing is done.
// Shared memories of CTAs that run together have one address: the sanitizer takes them for one.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_THREAD__) // g++
#define EMULATION_TSAN 1
#elif defined(__has_feature) // clang++
#if __has_feature(thread_sanitizer)
#define EMULATION_TSAN 1
#endif
#endif

#if EMULATION_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
void __tsan_read_range(const void* p, unsigned long bytes);
void __tsan_write_range(const void* p, unsigned long bytes);
}
#define EMULATION_ORDER(statement) statement
#else
#define EMULATION_TSAN 0
#define EMULATION_ORDER(statement)
#endif

namespace emulation::order {

/// Whether all this is of use.
inline constexpr bool watched = EMULATION_TSAN;

/// What was done so far comes before what is done after acquired() of the same place.
inline void released([[maybe_unused]] const void* place) {
  EMULATION_ORDER(__tsan_release(const_cast<void*>(place)));
}
inline void acquired([[maybe_unused]] const void* place) {
  EMULATION_ORDER(__tsan_acquire(const_cast<void*>(place)));
}
/// A place of its own for every round of something that goes on in rounds.
inline const void* in_round(const void* place, std::size_t round) {
  return static_cast<const char*>(place) + round % 8;
}

/// While it lives, what the running thread touches is the emulation's business.
struct Quiet {
  Quiet() {
    EMULATION_ORDER(AnnotateIgnoreReadsBegin(__FILE__, __LINE__));
    EMULATION_ORDER(AnnotateIgnoreWritesBegin(__FILE__, __LINE__));
  }
  ~Quiet() {
    EMULATION_ORDER(AnnotateIgnoreWritesEnd(__FILE__, __LINE__));
    EMULATION_ORDER(AnnotateIgnoreReadsEnd(__FILE__, __LINE__));
  }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

  /// But this is not.
  void reads([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
    EMULATION_ORDER(AnnotateIgnoreReadsEnd(__FILE__, __LINE__));
    EMULATION_ORDER(__tsan_read_range(p, bytes));
    EMULATION_ORDER(AnnotateIgnoreReadsBegin(__FILE__, __LINE__));
  }
  void writes([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
    EMULATION_ORDER(AnnotateIgnoreWritesEnd(__FILE__, __LINE__));
    EMULATION_ORDER(__tsan_write_range(p, bytes));
    EMULATION_ORDER(AnnotateIgnoreWritesBegin(__FILE__, __LINE__));
  }
};

/// One whose accesses are ordered among themselves: a CUDA thread, what does its copies, or the
/// scheduler.
class Actor {
public:
  Actor() = default;
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  /// The one that runs.
  void become_current() {
    EMULATION_ORDER(actor_ = __tsan_get_current_fiber());
    borrowed_ = true;
  }
  /// A new one, after all that the running one has done. That takes long.
  void renew() {
    if (exists() && !borrowed_) {
      EMULATION_ORDER(__tsan_destroy_fiber(actor_));
    }
    EMULATION_ORDER(actor_ = __tsan_create_fiber(0));
  }
  bool exists() const { return actor_ != nullptr; }
  /// From now on this one runs. That alone orders nothing.
  void enter() const {
    EMULATION_ORDER(__tsan_switch_to_fiber(actor_, __tsan_switch_to_fiber_no_sync));
  }

private:
  void* actor_ = nullptr;
  bool borrowed_ = false;
};

} // namespace emulation::order
