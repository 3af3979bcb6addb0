// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "device.hpp"

#include "images.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

namespace emulation {

/// The indices that kernels know, see intrinsics.hpp.
void set_indices(int thread, const unsigned (&block)[2], int threads, const unsigned (&ctas)[2]);

namespace {

/// Threads that run together, and what has been left for later.
class Machine {
public:
  std::minstd_rand random{initial_seed()};
  Thread* running = nullptr;
  int threads = 0, cluster = 1; ///< of a CTA, of a cluster
  Images images;

  void run(const Grid& grid, const std::function<void()>& kernel);
  void later(Line line, Work work);
  Cta& cta(int i) { return ctas_[static_cast<std::size_t>(i)]; }

private:
  static constexpr int engine_lines = 16;
  struct Job {
    Work work;
    const order::Actor* actor;
  };

  const Grid* grid_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  std::deque<Cta> ctas_;
  std::deque<Meeting> clusters_;
  std::deque<Thread> threads_;
  std::vector<std::deque<Job>> lines_;
  std::vector<std::size_t> filled_; ///< lines that are not empty
  std::size_t current_ = 0;         ///< the CTA whose warps run
  order::Actor scheduler_;
  unsigned haste_ = 0; ///< 0: work is done when nothing else can be; else one in haste_
  int late_ = -1;      ///< the thread of each CTA that does not run now
  std::string failure_;

  static unsigned initial_seed() {
    const char* const text = std::getenv("HISA_EMULATION_SEED");
    return text == nullptr ? 1 : static_cast<unsigned>(std::atoi(text));
  }
  unsigned below(std::size_t n) { return static_cast<unsigned>(random() / 7 % n); }

  void prepare(std::int64_t first, int count, unsigned char poison);
  void run_together();
  void run_thread(Thread& t);
  bool run_warp(Cta& cta, int warp);
  bool run_some_warp();
  bool work();
  std::string waiting() const;
};

Machine& machine() {
  static Machine one;
  return one;
}

void Machine::later(Line line, Work work) {
  std::size_t const all = threads_.size();
  auto const thread = static_cast<std::size_t>(running->cta->first_thread + running->index);
  std::size_t i = thread;
  if (line == Line::engine)
    i = all + below(engine_lines);
  else if (line == Line::products)
    i = all + engine_lines + thread / 128;
  if (lines_[i].empty())
    filled_.push_back(i);
  if (!running->engine.exists())
    running->engine.renew();
  order::released(&lines_[i].emplace_back(Job{std::move(work), &running->engine}));
}

/// Does some of what was left for later; false if there is nothing.
bool Machine::work() {
  if (filled_.empty())
    return false;
  for (unsigned n = 1 + below(32); n > 0 && !filled_.empty(); --n) {
    unsigned const at = below(filled_.size());
    std::size_t const i = filled_[at];
    const Job& job = lines_[i].front();
    job.actor->enter();
    {
      order::Quiet quiet;
      order::acquired(&job);
      job.work(quiet);
    }
    scheduler_.enter();
    lines_[i].pop_front();
    if (lines_[i].empty()) {
      filled_[at] = filled_.back();
      filled_.pop_back();
    }
  }
  return true;
}

void Machine::prepare(std::int64_t first, int count, unsigned char poison) {
  ctas_.clear(), clusters_.clear(), lines_.clear(), filled_.clear();
  images.reserve(count);
  auto const all = static_cast<std::size_t>(count * threads);
  while (threads_.size() < all)
    threads_.emplace_back();
  lines_.resize(threads_.size() + engine_lines + threads_.size() / 128 + 1);
  for (int i = 0; i < count; ++i) {
    Cta& c = ctas_.emplace_back();
    c.block[0] = static_cast<unsigned>((first + i) % grid_->ctas[0]);
    c.block[1] = static_cast<unsigned>((first + i) / grid_->ctas[0]);
    c.image = i, c.rank = i % cluster, c.first_thread = i * threads, c.running = threads;
    c.warps.resize(static_cast<std::size_t>(threads / warp_lanes));
    c.warpgroups.resize(static_cast<std::size_t>(threads / 128 + 1));
    if (c.rank == 0)
      clusters_.emplace_back();
    c.cluster = &clusters_.back();
    images.fill(i, grid_->shared_bytes, poison);
    for (int index = 0; index < threads; ++index) {
      Thread& t = threads_[static_cast<std::size_t>(c.first_thread + index)];
      t.index = index, t.cta = &c, t.copies = t.products = 0, t.ended = false;
      t.warp = &c.warps[static_cast<std::size_t>(index / warp_lanes)];
      t.waits_for = nullptr;
      t.fiber.prepare(
          [](void*) {
            Machine& m = machine();
            try {
              (*m.kernel_)();
            } catch (const std::exception& e) {
              m.failure_ = e.what();
            }
            order::Quiet const quiet;
            order::released(&m);
            m.running->ended = true;
            --m.running->cta->running;
          },
          nullptr);
    }
  }
}

void Machine::run_thread(Thread& t) {
  running = &t;
  set_indices(t.index, t.cta->block, threads, grid_->ctas);
  t.waits_for = nullptr;
  t.fiber.resume();
  running = nullptr;
  if (!failure_.empty())
    throw device_error(failure_);
}

/// Runs the lanes of a warp that can run, from a random one on, or some of them.
bool Machine::run_warp(Cta& cta, int warp) {
  auto const first_lane = below(warp_lanes);
  unsigned const lanes = below(4) == 0 ? 1 + below(warp_lanes) : warp_lanes;
  bool ran = false;
  for (unsigned i = 0, n = 0; i < warp_lanes && n < lanes; ++i) {
    int const lane = static_cast<int>((first_lane + i) % warp_lanes);
    Thread& t = threads_[static_cast<std::size_t>(cta.first_thread + warp_lanes * warp + lane)];
    if (t.ended || t.index == late_ || (t.waits_for != nullptr && !t.test(t.condition)))
      continue;
    run_thread(t);
    ran = true, ++n;
  }
  return ran;
}

/// Runs a warp that can run, mostly of the same CTA as before; false if there is none.
bool Machine::run_some_warp() {
  if (below(64) == 0)
    current_ = below(ctas_.size());
  for (std::size_t i = 0; i < ctas_.size(); ++i) {
    Cta& c = ctas_[current_];
    if (c.running > 0) {
      images.show(c.image);
      int const warps = threads / warp_lanes;
      unsigned const first = below(static_cast<std::size_t>(warps));
      for (int w = 0; w < warps; ++w)
        if (run_warp(c, (static_cast<int>(first) + w) % warps))
          return true;
    }
    current_ = (current_ + 1) % ctas_.size();
  }
  return false;
}

void Machine::run_together() {
  auto const running_ctas = [&] {
    return std::any_of(ctas_.begin(), ctas_.end(), [](const Cta& c) { return c.running > 0; });
  };
  current_ = 0;
  while (running_ctas()) {
    if (haste_ > 0 && below(haste_) == 0)
      work();
    late_ = settings().late;
    if (run_some_warp() || work())
      continue;
    late_ = -1;
    if (!run_some_warp())
      throw device_error("emulation: all threads wait:" + waiting());
  }
  if (!filled_.empty())
    throw device_error("emulation: CTAs have ended before their copies and products");
}

/// What the threads wait for, each with their number.
std::string Machine::waiting() const {
  std::map<std::string, int> numbers;
  int ended = 0;
  for (const Cta& c : ctas_)
    for (int i = 0; i < threads; ++i) {
      const Thread& t = threads_[static_cast<std::size_t>(c.first_thread + i)];
      if (t.ended)
        ++ended;
      else
        ++numbers["warp " + std::to_string(i / warp_lanes) + " for " + t.waits_for];
    }
  std::string text;
  for (const auto& [what, n] : numbers)
    text += " " + std::to_string(n) + " of " + what + ",";
  return text + " " + std::to_string(ended) + " have ended";
}

void Machine::run(const Grid& grid, const std::function<void()>& kernel) {
  if (grid.shared_bytes > max_shared_bytes || grid.threads < 1 || grid.threads > 1024 ||
      grid.threads % warp_lanes != 0 || grid.ctas[0] % static_cast<unsigned>(grid.cluster) != 0)
    throw device_error("emulation: a grid that cannot be launched");
  order::Quiet const quiet;
  scheduler_.become_current();
  grid_ = &grid, kernel_ = &kernel;
  threads = grid.threads, cluster = grid.cluster;
  failure_.clear();
  unsigned const haste[] = {0, 1, 8};
  std::int64_t const all = std::int64_t(grid.ctas[0]) * grid.ctas[1];
  int const together = settings().all_at_once ? static_cast<int>(all) : cluster;
  for (std::int64_t first = 0; first < all; first += together) {
    haste_ = haste[below(3)];
    prepare(first, together, below(2) == 0 ? 0xff : 0x7b); // NaN, or a large number
    run_together();
    order::acquired(this);
  }
}

} // namespace

void fail(const std::string& sentence) {
  Machine& m = machine();
  std::string where;
  if (m.running != nullptr)
    where = "thread " + std::to_string(m.running->index) + " of CTA " +
            std::to_string(m.running->cta->block[0]) + ": ";
  throw device_error("emulation: " + where + sentence);
}

Settings& settings() {
  static Settings one;
  return one;
}

void reseed(unsigned seed) {
  machine().random.seed(seed);
}

void launch(const Grid& grid, const std::function<void()>& kernel) {
  machine().run(grid, kernel);
}

Thread& self() {
  return *machine().running;
}
int cta_threads() {
  return machine().threads;
}
int cluster_ctas() {
  return machine().cluster;
}

void sleep(const char* what, const void* condition, bool (*test)(const void*)) {
  Thread& t = self();
  t.waits_for = what, t.condition = condition, t.test = test;
  t.fiber.leave();
}

void meet(Meeting& meeting, int expected, const char* what, bool orders_memory) {
  order::Quiet const quiet;
  if (meeting.arrived == 0)
    meeting.what = what, meeting.expected = expected;
  if (meeting.expected != expected || std::strcmp(meeting.what, what) != 0)
    fail(std::string("comes to ") + what + " while others wait at " + meeting.what);
  unsigned const round = meeting.round;
  if (orders_memory)
    order::released(order::in_round(&meeting, round));
  if (++meeting.arrived == expected)
    meeting.arrived = 0, ++meeting.round;
  else
    wait_until(what, [&] { return meeting.round != round; });
  if (orders_memory)
    order::acquired(order::in_round(&meeting, round));
}

void later(Line line, Work work) {
  order::Quiet const quiet;
  machine().later(line, std::move(work));
}

void* lasting(const void* p) {
  order::Quiet const quiet;
  return machine().images.lasting(p, self().cta->image);
}
const void* in_kernels(const void* p) {
  return machine().images.in_array(p);
}
void* in_cta(const void* p, int rank) {
  order::Quiet const quiet;
  const Cta& own = *self().cta;
  return machine().images.in_image(p, own.image - own.rank + rank);
}

} // namespace emulation
