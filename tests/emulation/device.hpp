// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The emulated device: a fiber per CUDA thread, in an order that a seed decides. Threads wait for
// conditions; copies and products are performed at some moment between their start and the wait for
// them. What nobody waits for properly shows as a wrong result under some seed, what never comes as
// an error that names what the threads wait for.
#pragma once

#include "fiber.hpp"

#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace emulation {

/// A kernel broke the rules of the machine.
class device_error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Throws a device_error about the running thread.
[[noreturn]] void fail(const std::string& sentence);

inline constexpr int warp_lanes = 32;
inline constexpr std::size_t max_shared_bytes = 227 * 1024;

/// What the device is like; may be changed between launches.
struct Settings {
  int processors = 3;
  bool all_at_once = false; ///< all CTAs of a grid run together, else a cluster at a time
  int late = -1; ///< a thread of each CTA that runs only where nothing else can be done; -1: none
};
Settings& settings();
/// Starts the random order anew. At first the environment's HISA_EMULATION_SEED, or 1.
void reseed(unsigned seed);

struct Grid {
  unsigned ctas[2] = {1, 1};
  int threads = 32, cluster = 1;
  std::size_t shared_bytes = 0;
};
/// Runs `kernel` on all threads of a grid, to the end.
void launch(const Grid& grid, const std::function<void()>& kernel);

/// A place where threads wait for each other, again and again.
struct Meeting {
  const char* what = nullptr;
  int expected = 0, arrived = 0;
  unsigned round = 0;
};

struct Warp {
  Meeting meeting;
  std::uint64_t offered[2][warp_lanes] = {}; ///< by the lanes, in two rounds in turn
};

struct Products; // products.hpp

/// The products of a warpgroup, in order.
struct Warpgroup {
  std::deque<std::shared_ptr<Products>> gathering; ///< not started by all of its threads
  std::size_t started = 0, performed = 0;          ///< started by all of its threads
};

struct Cta {
  unsigned block[2] = {};
  int image = 0, rank = 0; ///< of the cluster
  std::vector<Warp> warps;
  std::vector<Warpgroup> warpgroups;
  Meeting barrier; ///< __syncthreads
  Meeting* cluster = nullptr;
  int first_thread = 0, running = 0; ///< running: threads that have not ended
};

struct Thread {
  Fiber fiber;
  int index = 0; ///< threadIdx.x
  Cta* cta = nullptr;
  Warp* warp = nullptr;
  bool ended = false;
  const char* waits_for = nullptr; ///< null: runnable
  const void* condition = nullptr;
  bool (*test)(const void* condition) = nullptr;
  std::size_t copies = 0;         ///< started and not performed
  std::size_t started_copies = 0; ///< performed or not
  std::deque<std::size_t> series; ///< copies started before the end of each series
  std::size_t products = 0;       ///< started
  order::Actor engine;            ///< does its copies and products

  int lane() const { return index % warp_lanes; }
};
/// The running thread.
Thread& self();
/// How many threads its CTA has, and how many CTAs its cluster.
int cta_threads();
int cluster_ctas();

void sleep(const char* what, const void* condition, bool (*test)(const void*));

/// Lets the running thread wait for a condition. `what` is said if it never comes.
template <class Condition>
void wait_until(const char* what, const Condition& condition) {
  if (!condition())
    sleep(what, &condition, [](const void* c) { return (*static_cast<const Condition*>(c))(); });
}

/// Waits until `expected` threads have come. What they did before is ordered before what they do
/// afterwards, unless they only exchange values.
void meet(Meeting& meeting, int expected, const char* what, bool orders_memory = true);

/// The warp's lanes meet and see each other's values: result(value_of), where value_of(lane).
template <class T, class Result>
auto exchange(const char* what, T value, const Result& result) {
  static_assert(sizeof(T) <= 8);
  order::Quiet const quiet;
  Thread& t = self();
  auto& offered = t.warp->offered[t.warp->meeting.round % 2];
  std::memcpy(&offered[t.lane()], &value, sizeof(T));
  meet(t.warp->meeting, warp_lanes, what, false);
  return result([&](int lane) {
    T there;
    std::memcpy(&there, &offered[lane], sizeof(T));
    return there;
  });
}

/// What the machine does by itself at some later moment. What is in one line is done in order: a
/// thread has one for its copies, the copy engine has many, a warpgroup has one for its products.
enum class Line { copies, engine, products };
using Work = std::function<void(order::Quiet&)>;
void later(Line line, Work work);

/// The lasting address of what lies in the shared memory of the running CTA, at which all CTAs and
/// later work find it. Other addresses stay as they are.
void* lasting(const void* p);
/// The address in kernels of what has a lasting one.
const void* in_kernels(const void* p);
/// The same place in the shared memory of another CTA of the cluster.
void* in_cta(const void* p, int rank);

/// A thread of the host has a context from its first call of the runtime on that needs one, of
/// which the emulation knows cudaMalloc, cudaSetDevice, cudaFuncGetAttributes and launches; the
/// driver refuses threads that have none.
void bind_context();
bool has_context();

} // namespace emulation
