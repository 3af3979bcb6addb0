// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The emulation's hisa/cuda/barrier.cuh: barriers are objects of the host, copies are done later.
#pragma once

#include <hisa/config.hpp>

#include <cuda.h>

#include <cstdint>
#include <cstring>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// A barrier in shared memory. Of its word, a mark says whether it was initialized.
struct alignas(8) Barrier {
  std::uint32_t mark : 7, phase : 1, count : 12, pending : 12;
  std::int32_t bytes; ///< expected and not come, or come and not expected yet

  void init(int n) {
    emulation::order::Quiet const quiet;
    Barrier& b = *static_cast<Barrier*>(emulation::lasting(this));
    b.mark = initialized, b.phase = 0;
    b.count = b.pending = static_cast<std::uint32_t>(n) & 0xfff;
    b.bytes = 0;
  }
  void arrive() { arrive_expecting(0); }
  void arrive_expecting(int more) {
    emulation::order::Quiet const quiet;
    Barrier& b = there();
    emulation::order::released(b.order());
    b.bytes += more;
    b.come();
  }
  void arrive_after_copies() {
    emulation::order::Quiet const quiet;
    emulation::later(emulation::Line::copies, [b = &there()](auto&) {
      emulation::order::released(b->order());
      b->come();
    });
  }
  void meet() {
    emulation::order::Quiet const quiet;
    std::uint32_t const parity = there().phase;
    arrive();
    wait(parity);
  }
  void wait(std::uint32_t parity) {
    emulation::order::Quiet const quiet;
    const Barrier& b = there();
    emulation::wait_until("a barrier in shared memory", [&] { return b.phase != parity; });
    emulation::order::acquired(emulation::order::in_round(&b, parity));
  }

  // The emulation's own.
  static constexpr std::uint32_t initialized = 0x35;

  /// At its lasting address.
  Barrier& there() {
    Barrier& b = *static_cast<Barrier*>(emulation::lasting(this));
    if (b.mark != initialized)
      emulation::fail("uses a barrier that is not initialized");
    return b;
  }
  const void* order() const { return emulation::order::in_round(this, phase); }
  void come() {
    if (pending == 0)
      emulation::fail("more arrivals at a barrier than its count");
    pending = (pending - 1) & 0xfff;
    complete();
  }
  void take(std::int64_t n) {
    bytes -= static_cast<std::int32_t>(n);
    complete();
  }
  void complete() {
    if (pending != 0 || bytes != 0)
      return;
    phase ^= 1u;
    pending = count;
  }
};
static_assert(sizeof(Barrier) == 8);

inline void publish_barriers() {}
inline void publish_stores() {}

/// A copy of a thread.
inline void copy_later(void* to, const void* from, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(to) % bytes != 0 ||
      reinterpret_cast<std::uintptr_t>(from) % bytes != 0)
    emulation::fail("copies from or to an address that is not aligned");
  emulation::order::Quiet const quiet;
  emulation::Thread& thread = emulation::self();
  ++thread.copies, ++thread.started_copies;
  emulation::later(emulation::Line::copies,
                   [&thread, to = emulation::lasting(to), from, bytes](auto& engine) {
                     engine.reads(from, bytes), engine.writes(emulation::in_kernels(to), bytes);
                     std::memcpy(to, from, bytes);
                     --thread.copies;
                     emulation::order::released(&thread.copies);
                   });
}
inline void copy_16(void* to, const void* from) {
  copy_later(to, from, 16);
}
inline void copy_4(void* to, const void* from) {
  copy_later(to, from, 4);
}
inline void wait_copies() {
  emulation::order::Quiet const quiet;
  emulation::Thread& thread = emulation::self();
  emulation::wait_until("its copies", [&] { return thread.copies == 0; });
  emulation::order::acquired(&thread.copies);
}

inline void commit_copies() {
  emulation::order::Quiet const quiet;
  emulation::Thread& thread = emulation::self();
  thread.series.push_back(thread.started_copies);
}
template <int Open>
void wait_series() {
  emulation::order::Quiet const quiet;
  emulation::Thread& thread = emulation::self();
  for (; thread.series.size() > Open; thread.series.pop_front())
    emulation::wait_until("a series of its copies", [&] {
      return thread.started_copies - thread.copies >= thread.series.front();
    });
  emulation::order::acquired(&thread.copies);
}

/// A copy of the copy engine.
inline void engine_copy(void* to, const CUtensorMap& map, std::int64_t column, std::int64_t row,
                        Barrier& barrier) {
  emulation::order::Quiet const quiet;
  auto const bytes = emulation::box_bytes(map);
  emulation::later(emulation::Line::engine,
                   [=, to = emulation::lasting(to), b = &barrier.there()](auto& engine) {
                     engine.writes(emulation::in_kernels(to), static_cast<std::size_t>(bytes));
                     emulation::copy_box(to, map, column, row);
                     emulation::order::released(b->order());
                     b->take(bytes);
                   });
}
inline void fetch_map(const CUtensorMap&) {}
inline void copy_box(void* to, const CUtensorMap& map, std::int32_t row, Barrier& barrier) {
  engine_copy(to, map, 0, row, barrier);
}
inline void copy_line(void* to, const CUtensorMap& map, std::int32_t first, Barrier& barrier) {
  if (first % 4 != 0)
    emulation::fail("has a line copied from a place that is no multiple of 16 bytes");
  engine_copy(to, map, first, 0, barrier);
}

} // namespace cuda
HISA_NAMESPACE_END
