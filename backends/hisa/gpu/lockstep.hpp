// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// A group on the host, or the groups of a cluster: one fiber per lane, switched at the collective
/// operations, so that group code runs in ordinary tests. Shared memory is watched: two lanes that
/// touch one word between two barriers that order them, at least one of them writing, are reported.
/// Not for speed.
#pragma once

#include <hisa/gpu/group.hpp>

#include <ucontext.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
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

/// Runs a function on every lane of a group, or of each group of a cluster.
class Lockstep {
public:
  /// @param lanes    of a group
  /// @param skipped  a barrier (counted from 0) that only lines the lanes up, as if the source
  ///                 lacked it; -1: none
  /// @param ranks    groups
  explicit Lockstep(int lanes, int skipped = -1, int ranks = 1)
      : lanes_(lanes), ranks_(ranks), skipped_(skipped) {}

  class Lane;
  class Cluster;

  /// Runs body(lane) on all lanes. Throws lockstep_error, or what a lane has thrown.
  void run(std::function<void(const Lane&)> body);

  /// Barriers that the last run went through.
  int barriers() const { return barriers_; }

private:
  friend class Lane;
  enum class At { running, barrier, cluster, shuffle, done };
  enum class Access : unsigned char { read, write, add, merge };

  struct Copy {
    Words* to;
    const void* from;
    int series;
  };
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<std::byte[]> stack;
    At at = At::running;
    std::uint64_t offered = 0;
    std::deque<Copy> copies; ///< under way
    int series = 0;          ///< of copies, that were ended
  };
  struct Touch {
    int epoch = -1;    ///< cluster's barriers passed when the word was last touched
    int rank = -1;     ///< a group that touched it; `many` when several did
    int interval = -1; ///< barriers passed by that group
    int lane = -1;     ///< a lane that touched it; `many` when several did the same
    Access access = Access::read;
  };
  static constexpr int many = -2;
  static constexpr std::size_t stack_bytes = 128 * 1024;

  int lanes_, ranks_, skipped_;
  int barriers_ = 0, epoch_ = 0, current_ = 0;
  std::vector<int> interval_; ///< of each group
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
  Fiber& first_of(int rank) { return fibers_[std::size_t(rank * lanes_)]; }
  void step(int rank);
  void step_cluster();
  void touch(const void* address, std::size_t bytes, Access access);
};

/// The group as one lane sees it.
class Lockstep::Lane {
public:
  static constexpr int wave = 32;

  Lane(Lockstep* machine, int index)
      : machine_(machine), lane_(index % machine->lanes_), rank_(index / machine->lanes_) {}
  int lane() const { return lane_; }
  int size() const { return machine_->lanes_; }
  void barrier() const { machine_->yield(At::barrier); }

  template <class T>
  T shuffle_up(T value, int distance) const {
    return shuffle(value, lane_ % wave >= distance ? lane_ % wave - distance : lane_ % wave);
  }
  template <class T>
  T shuffle(T value, int source) const {
    return static_cast<T>(exchange(value, [&](const Fiber* of) { return of[source].offered; }));
  }
  std::uint32_t sum(std::uint32_t value) const {
    return static_cast<std::uint32_t>(exchange(value, [](const Fiber* of) {
      std::uint64_t all = 0;
      for (int i = 0; i < wave; ++i)
        all += of[i].offered;
      return all;
    }));
  }
  std::uint32_t max(std::uint32_t value) const {
    return static_cast<std::uint32_t>(exchange(value, [](const Fiber* of) {
      std::uint64_t greatest = 0;
      for (int i = 0; i < wave; ++i)
        greatest = of[i].offered > greatest ? of[i].offered : greatest;
      return greatest;
    }));
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
  void count(T* p, bool condition) const {
    if (!condition)
      return;
    machine_->touch(p, sizeof(T), Access::add);
    ++*p;
  }
  template <class T>
  T take(T* p, T count) const {
    machine_->touch(p, sizeof(T), Access::add);
    T const before = *p;
    *p += count;
    return before;
  }
  template <class T>
  T ticket(T* p) const {
    return take(p, T(1));
  }
  template <class T>
  void add(T* p, T value) const {
    machine_->touch(p, sizeof(T), Access::add);
    *p += value;
  }
  template <class T>
  void merge(T* p, T bits) const {
    machine_->touch(p, sizeof(T), Access::merge);
    *p |= bits;
  }
  /// What is copied arrives as late as it may.
  void copy(Words* to, const Words* from) const {
    own().copies.push_back({to, from, own().series});
  }
  void commit() const { ++own().series; }
  template <int Open>
  void await() const {
    auto& copies = own().copies;
    for (; !copies.empty() && copies.front().series < own().series - Open; copies.pop_front()) {
      machine_->touch(copies.front().to, sizeof(Words), Access::write);
      std::memcpy(copies.front().to, copies.front().from, sizeof(Words));
    }
  }

private:
  friend class Cluster;
  Lockstep* machine_;
  int lane_, rank_;

  Fiber& own() const { return (&machine_->first_of(rank_))[lane_]; }

  /// Offers a value to the wave and takes from what its lanes, of which `take` gets the first,
  /// have offered.
  template <class Take>
  std::uint64_t exchange(std::uint64_t value, const Take& take) const {
    Fiber* const group = &machine_->first_of(rank_);
    group[lane_].offered = value;
    machine_->yield(At::shuffle);
    std::uint64_t const taken = take(group + lane_ / wave * wave);
    machine_->yield(At::shuffle); // nobody offers anew before all have taken
    return taken;
  }
};

/// The cluster as one lane sees it. The shared memories of its groups lie `bytes` apart.
class Lockstep::Cluster {
public:
  Cluster(const Lane& lane, std::size_t bytes) : lane_(lane), bytes_(bytes) {}
  int rank() const { return lane_.rank_; }
  int ranks() const { return lane_.machine_->ranks_; }
  void barrier() const { lane_.machine_->yield(At::cluster); }
  template <class T>
  T* at(T* object, int rank) const {
    auto const offset = std::ptrdiff_t(bytes_) * (rank - lane_.rank_);
    return reinterpret_cast<T*>(reinterpret_cast<std::byte*>(object) + offset);
  }

private:
  Lane lane_;
  std::size_t bytes_;
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

/// Each wave of a group runs to its next barrier or to the end; they all must have reached the
/// same, and until then the lanes of a wave the same operations.
inline void Lockstep::step(int rank) {
  int const first = rank * lanes_;
  auto const require_alike = [&](int from, int lanes) {
    for (int i = from; i < from + lanes; ++i)
      if (failure_.empty() && fibers_[std::size_t(i)].at != fibers_[std::size_t(from)].at)
        failure_ = "hisa::gpu::Lockstep: the lanes wait at different operations";
  };
  int const wave = lanes_ < Lane::wave ? lanes_ : Lane::wave;
  for (int from = first; from < first + lanes_; from += wave)
    do {
      for (current_ = from; current_ < from + wave && failure_.empty(); ++current_)
        resume(fibers_[std::size_t(current_)]);
      require_alike(from, wave);
    } while (failure_.empty() && fibers_[std::size_t(from)].at == At::shuffle);
  require_alike(first, lanes_);
  if (failure_.empty() && first_of(rank).at == At::barrier && barriers_++ != skipped_)
    ++interval_[std::size_t(rank)];
}

/// Each group runs to the end or to a barrier of the cluster; they all must have reached the same.
inline void Lockstep::step_cluster() {
  for (int rank = 0; rank < ranks_ && failure_.empty(); ++rank) {
    do
      step(rank);
    while (failure_.empty() && first_of(rank).at != At::cluster && first_of(rank).at != At::done);
    if (failure_.empty() && first_of(rank).at != first_of(0).at)
      failure_ = "hisa::gpu::Lockstep: the groups wait at different operations";
  }
  if (failure_.empty() && first_of(0).at == At::cluster && barriers_++ != skipped_)
    ++epoch_;
}

inline void Lockstep::touch(const void* address, std::size_t bytes, Access access) {
  int const rank = current_ / lanes_, interval = interval_[std::size_t(rank)];
  std::uintptr_t const begin = reinterpret_cast<std::uintptr_t>(address) / 4;
  for (std::uintptr_t word = begin; word < begin + (bytes + 3) / 4; ++word) {
    Touch& t = touched_[word];
    if (t.epoch != epoch_ || (t.rank == rank && t.interval != interval)) {
      t = {epoch_, rank, interval, current_, access};
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
    t.rank = t.rank == rank ? rank : many;
  }
}

inline void Lockstep::run(std::function<void(const Lane&)> body) {
  body_ = std::move(body);
  active() = this;
  barriers_ = epoch_ = 0;
  interval_.assign(std::size_t(ranks_), 0);
  failure_.clear();
  touched_.clear();
  fibers_ = std::vector<Fiber>(std::size_t(lanes_ * ranks_));
  for (Fiber& fiber : fibers_) {
    fiber.stack = std::make_unique_for_overwrite<std::byte[]>(stack_bytes);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = &scheduler_;
    makecontext(&fiber.context, &Lockstep::start, 0);
  }
  do
    step_cluster();
  while (failure_.empty() && first_of(0).at != At::done);
  if (!failure_.empty())
    throw lockstep_error(failure_);
}

} // namespace gpu
HISA_NAMESPACE_END
