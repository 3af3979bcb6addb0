// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// One kernel from queries to tokens, for calls with enough groups of queries to give each CTA
/// whole ones.
///
/// For each of its groups a CTA goes through the *stages*, the pooled levels from coarse to fine
/// and the tokens. A stage of a group is an item for the scoring roles (score.cuh) and, when its
/// scores are stored, a *job* for the selectors: to find the blocks that the queries keep and list
/// the pieces of the next level, or to choose the tokens. While the selectors are at it, the
/// scoring roles work on another group.
#pragma once

#include <hisa/cuda/keep.cuh>
#include <hisa/cuda/score.cuh>
#include <hisa/cuda/tokens.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// What the kernels of a call, or this one, are asked to do.
struct PrefillTask {
  static constexpr int max_stages = 4;
  int stages = 1; ///< pooled levels and the tokens
  ScoreTask score[max_stages];
  KeepTask<ScoreRows> keep[max_stages]; ///< not of the last
  TokenTask tokens;

  /// Groups of this CTA.
  __device__ int owned_groups() const {
    auto const groups = static_cast<unsigned>(score[0].groups());
    return static_cast<int>((groups - blockIdx.x + gridDim.x - 1) / gridDim.x);
  }
};

/// How the kernel runs, beside ScorePolicy.
template <Arithmetic A>
struct PrefillPolicy {
  static constexpr int fillers = ScorePolicy<A>::tiles % 2 == 0 ? 2 : 1, selectors = 2; ///< warps
  static constexpr int jobs = 4; ///< that may be behind
  static constexpr int bins = 512, max_kept = 2048;
  static constexpr int first_selector = ScorePolicy<A>::threads - 32 * selectors; ///< thread

  using Chooser = Warp;
  using Selectors = Warps<first_selector, 32 * selectors, 1>;
  using Storage = gpu::RadixStorage<bins>; ///< of a warp
  using Lists = PieceListStorage<group_queries * max_kept>;

  template <class Emit>
  __device__ static void select(const Warp& g, Storage& storage, const ContestRow& row,
                                std::int32_t k, const Emit& emit) {
    gpu::select_linear(g, storage, row, k, emit);
  }
};

template <int Heads, Arithmetic A>
struct PrefillStorage {
  using P = PrefillPolicy<A>;
  ScoreStorage<Heads, A> score;
  RingBarriers<P::jobs> jobs; ///< full: scored; empty: done
  union {
    typename P::Storage select[P::selectors];
    typename P::Lists lists;
  };
};

/// The items of a CTA: stage s of its n-th group comes at step n + 2 s, later stages first. So
/// between two stages of a group there is another item, beside which the selectors work.
template <int Jobs>
class GroupItems {
public:
  __device__ GroupItems(const PrefillTask& task, RingBarriers<Jobs>& jobs)
      : task_(task), jobs_(jobs), stage_(task.stages - 1) {
    owned_ = task.owned_groups();
    find_valid();
  }

  __device__ bool valid() const { return step_ < owned_ + lag * (task_.stages - 1); }
  __device__ void advance() {
    ++index_;
    --stage_;
    find_valid();
  }
  __device__ const ScoreTask& task() const { return task_.score[stage_]; }
  __device__ int stage() const { return stage_; }
  __device__ std::int64_t group() const {
    return blockIdx.x + static_cast<std::int64_t>(ordinal()) * gridDim.x;
  }
  __device__ static int split() { return 0; }

  /// Producers: waits until the selectors have done what the item needs, and are not too far
  /// behind. In order of jobs, each of which is waited for once.
  __device__ void begin() {
    int wanted = index_ - Jobs + 1;
    if (stage_ > 0)
      wanted = max(wanted, index_of(stage_ - 1, ordinal()) + 1);
    for (; done_ < wanted; ++done_)
      jobs_.empty[done_ % Jobs].wait(round(done_));
  }
  /// Selectors: waits until the item is scored.
  __device__ void begin_job() { jobs_.full[index_ % Jobs].wait(round(index_)); }
  /// Selectors: the job is done.
  __device__ void end_job() { jobs_.empty[index_ % Jobs].arrive(); }

private:
  static constexpr int lag = 2;
  const PrefillTask& task_;
  RingBarriers<Jobs>& jobs_;
  int owned_; ///< groups of this CTA
  int step_ = 0, stage_;
  int index_ = 0; ///< of the item, and of its job
  int done_ = 0;  ///< jobs that were waited for

  __device__ int ordinal() const { return step_ - lag * stage_; }
  __device__ void find_valid() {
    while (valid() && (stage_ < 0 || ordinal() < 0 || ordinal() >= owned_))
      if (--stage_ < 0)
        stage_ = task_.stages - 1, ++step_;
  }
  /// How many items come before a stage of a group.
  __device__ int index_of(int stage, int ordinal) const {
    int const step = ordinal + lag * stage;
    int before = 0;
    for (int s = 0; s < task_.stages; ++s)
      before += min(max(step - lag * s + (s > stage ? 1 : 0), 0), owned_);
    return before;
  }
  __device__ static std::uint32_t round(int job) { return job / Jobs & 1; }
};

/// The same items as consumers see them: so many, one after the other.
template <int Jobs>
class CountedItems {
public:
  __device__ CountedItems(const PrefillTask& task, RingBarriers<Jobs>& jobs)
      : jobs_(jobs), count_(task.owned_groups() * task.stages) {}
  __device__ bool valid() const { return index_ < count_; }
  __device__ void advance() { ++index_; }
  __device__ void end() { jobs_.full[index_ % Jobs].arrive(); }

private:
  RingBarriers<Jobs>& jobs_;
  int count_, index_ = 0;
};

/// Role of the last warps.
template <int Heads, Arithmetic A>
class Selector {
public:
  using P = PrefillPolicy<A>;
  using Items = GroupItems<P::jobs>;

  __device__ Selector(const PrefillTask& task, const Items& items, PrefillStorage<Heads, A>& s)
      : task_(task), items_(items), s_(s), warp_(all_.lane() / 32) {}

  __device__ void run() {
    for (; items_.valid(); items_.advance()) {
      items_.begin_job();
      bool const last = items_.stage() == task_.stages - 1;
      choose_rows(last);
      if (!last) {
        all_.barrier();
        list_pieces(all_, task_.keep[items_.stage()], items_.group(), s_.lists);
        __threadfence(); // what is listed is read by asynchronous copies too
      }
      __syncwarp();
      if (own_.lane() == 0)
        items_.end_job();
    }
  }

private:
  const PrefillTask& task_;
  Items items_;
  PrefillStorage<Heads, A>& s_;
  typename P::Selectors const all_{};
  Warp const own_{};
  int warp_;

  /// The stage's rows for this warp's queries: blocks, or at last tokens.
  __device__ void choose_rows(bool last) {
    const Level& level = items_.task().level;
    std::int64_t const first = items_.group() * group_queries;
#pragma unroll 1
    for (int q = warp_; q < group_queries && first + q < level.count; q += P::selectors) {
      std::int64_t const i = first + q;
      auto& storage = s_.select[warp_];
      prepare(own_, storage);
      TokenRow r(task_.tokens, level, i);
      const KeepTask<ScoreRows>& keep = task_.keep[items_.stage()];
      if (!last)
        r.out = {keep.blocks + i * keep.pitch};
      __syncwarp();
      choose(own_, r.row, r.out,
             [&](const auto& emit) { P::select(own_, storage, r.row.contest, r.row.need, emit); });
      if (last)
        end_row(own_, task_.tokens.out, level.first + i, level.budget, r.row.winners);
      else if (own_.lane() == 0)
        end_list(r.row, keep.blocks + i * keep.pitch, keep.counts[i]);
      __syncwarp();
    }
  }
};

template <int Heads, Arithmetic A>
__global__ void __launch_bounds__(ScorePolicy<A>::threads, 1)
    prefill_kernel(const __grid_constant__ PrefillTask task) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::uint8_t memory[];
  using P = ScorePolicy<A>;
  using Own = PrefillPolicy<A>;
  using Items = GroupItems<Own::jobs>;
  auto& storage = *reinterpret_cast<PrefillStorage<Heads, A>*>(memory);
  if (threadIdx.x == 0) {
    storage.jobs.init(4 * P::consumers, Own::selectors);
    prepare(storage.score);
  }
  __syncthreads();
  begin_kernel();
  if (threadIdx.x < 128 * P::consumers) {
    using Counted = CountedItems<Own::jobs>;
    raise_registers<P::consumer_registers>();
    Consumer<Heads, A, Counted>(Counted(task, storage.jobs), storage.score).run();
  } else {
    lower_registers<P::producer_registers>();
    Items const items(task, storage.jobs);
    int const warp = static_cast<int>(threadIdx.x) / 32 % 4;
    if (warp < Own::fillers)
      Producer<Heads, A, Items>(items, storage.score, warp, Own::fillers, warp == 0).run();
    else if (warp >= 4 - Own::selectors)
      Selector<Heads, A>(task, items, storage).run();
  }
#endif
}

} // namespace cuda
HISA_NAMESPACE_END
