// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The *items* of the scoring kernel: a group of queries with some of its key tiles, as a CTA takes
/// them one after the other. First it takes whole groups, as many as every CTA has; those that are
/// left are divided among all.
#pragma once

#include <hisa/cuda/barrier.cuh>
#include <hisa/cuda/group.cuh>
#include <hisa/cuda/pieces.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Tiles first, first + step, .. of a group.
struct Item {
  std::int64_t group = 0;
  int first = 0, step = 1;
  int tiles = INT32_MAX; ///< at most: the group may have fewer
  bool last = false;     ///< of the CTA
};

/// Groups 0 .. whole - 1 are dealt to the CTAs in turn.
inline __device__ std::int64_t whole_groups(const ScoreTask& task) {
  return detail::quotient(task.groups(), gridDim.x) * gridDim.x;
}

/// A CTA's part of the groups that are left, of listed rows. One warp finds it, for the others too.
struct SharedPart {
  std::int64_t group;       ///< in which it begins
  std::uint64_t before;     ///< costs of the groups that are left before that one
  std::uint64_t begin, end; ///< of the part, in the sum of the costs of all that are left
  Barrier known;
};

/// Of all rows, where groups are alike: each of the groups that are left is cut into as many items.
class CutGroups {
public:
  __device__ CutGroups(const ScoreTask& task, SharedPart&, bool)
      : first_(whole_groups(task)), cuts_(task.cuts),
        items_(static_cast<int>(task.groups() - first_) * cuts_),
        next_(static_cast<int>(blockIdx.x)) {}

  __device__ bool any() const { return next_ < items_; }
  __device__ Item next() {
    Item item;
    int const group = next_ / cuts_;
    item.group = first_ + group, item.first = next_ - group * cuts_, item.step = cuts_;
    next_ += static_cast<int>(gridDim.x);
    item.last = !any();
    return item;
  }

private:
  std::int64_t first_; ///< group
  int cuts_, items_, next_;
};

/// Of listed rows, where groups differ: of the tiles of the groups that are left, one group behind
/// the other, a CTA takes those that begin in its part of the sum of costs. Parts are such that all
/// CTAs come to the same cost, unless one had too much before. By a warp, all lanes together.
class SharedGroups {
public:
  /// @param finds  whether this warp finds the part
  __device__ SharedGroups(const ScoreTask& task, SharedPart& part, bool finds)
      : pieces_(task.pieces), part_(part), finds_(finds), groups_(task.groups()),
        first_(whole_groups(task)) {}

  __device__ bool any() const { return first_ < groups_; }
  __device__ Item next() {
    if (group_ < 0)
      begin();
    Item item;
    item.group = group_;
    std::uint64_t const cost = pieces_.costs[group_];
    item.first = before_ < begin_ ? tiles_before(begin_ - before_) : 0;
    int const end = before_ + cost <= end_ ? pieces_.tiles(group_) : tiles_before(end_ - before_);
    item.tiles = end - item.first;
    before_ += cost, ++group_;
    item.last = before_ >= end_ || group_ == groups_;
    return item;
  }

private:
  const PieceLists& pieces_;
  SharedPart& part_;
  Warp warp_;
  bool finds_;
  std::int64_t groups_, first_, group_ = -1;
  std::uint64_t begin_ = 0, end_ = 0; ///< of the CTA's part
  std::uint64_t before_ = 0;          ///< cost of the groups first_ .. group_ - 1

  __device__ std::uint64_t sum(std::uint64_t own) const {
    return warp_.shuffle(gpu::wave_scan(warp_, own), warp_.size() - 1);
  }

  __device__ void begin() {
    if (finds_)
      find_part();
    else
      part_.known.wait(0);
    group_ = part_.group, before_ = part_.before, begin_ = part_.begin, end_ = part_.end;
  }
  /// The CTA's part of the sum of costs, and the group in which it begins.
  __device__ void find_part() const {
    std::uint64_t own = 0;
    for (std::int64_t g = warp_.lane(); g < groups_; g += warp_.size())
      own += pieces_.costs[g];
    std::uint64_t const all = sum(own), fair = all / gridDim.x;
    std::uint64_t taken = 0, lacking = 0, lacking_before = 0, lacking_here = 0;
    for (unsigned cta = threadIdx.x % 32; cta < gridDim.x; cta += 32) {
      std::uint64_t cost = 0;
      for (std::int64_t g = cta; g < first_; g += gridDim.x)
        cost += pieces_.costs[g];
      std::uint64_t const lack = cost < fair ? fair - cost : 0;
      taken += cost, lacking += lack;
      lacking_before += cta < blockIdx.x ? lack : 0;
      lacking_here += cta == blockIdx.x ? lack : 0;
    }
    std::uint64_t const left = all - sum(taken);
    double const scale = double(left) / double(max(sum(lacking), std::uint64_t(1)));
    lacking_before = sum(lacking_before), lacking_here = sum(lacking_here);
    auto const part_begin = static_cast<std::uint64_t>(double(lacking_before) * scale);
    auto const part_end = static_cast<std::uint64_t>(double(lacking_before + lacking_here) * scale);
    Reached const reached = reach(groups_ - first_, part_begin + 1,
                                  [&](std::int64_t g) { return pieces_.costs[first_ + g]; });
    if (warp_.lane() == 0) {
      part_.group = first_ + reached.count - 1, part_.before = reached.before;
      part_.begin = part_begin, part_.end = blockIdx.x + 1 == gridDim.x ? left : part_end;
      part_.known.arrive();
    }
    __syncwarp();
  }

  struct Reached {
    std::int64_t count = 0;
    std::uint64_t before = 0; ///< sum of the costs before the last of them
  };
  /// How many of n costs have a sum below `limit` before them.
  template <class Cost>
  __device__ Reached reach(std::int64_t n, std::uint64_t limit, const Cost& cost) const {
    constexpr int batch = 8; // of a lane, asked for together
    Reached r;
    std::uint64_t sum = 0;
    for (std::int64_t from = 0; from < n; from += batch * warp_.size()) {
      std::int64_t const mine = from + batch * warp_.lane();
      std::uint32_t costs[batch];
      std::uint64_t own = 0;
#pragma unroll
      for (int j = 0; j < batch; ++j)
        costs[j] = mine + j < n ? cost(mine + j) : 0;
#pragma unroll
      for (int j = 0; j < batch; ++j)
        own += costs[j];
      std::uint64_t const through = gpu::wave_scan(warp_, own);
      std::uint64_t before = sum + through - own, last = 0;
      std::uint32_t count = 0;
#pragma unroll
      for (int j = 0; j < batch; ++j) {
        if (mine + j < n && before < limit)
          ++count, last = before;
        before += costs[j];
      }
      std::uint32_t const reaching = __ballot_sync(0xffffffffu, count > 0);
      if (reaching == 0)
        break;
      r.count += warp_.sum(count);
      r.before = warp_.shuffle(last, 31 - __clz(static_cast<int>(reaching)));
      sum += warp_.shuffle(through, warp_.size() - 1);
    }
    return r;
  }
  /// The group's tiles that have a sum of costs below `limit` before them.
  __device__ int tiles_before(std::uint64_t limit) const {
    const std::uint32_t* const masks = pieces_.masks_of(group_);
    return static_cast<int>(reach(pieces_.tiles(group_), limit, [&](std::int64_t tile) {
                              return tile_cost(masks[tile]);
                            }).count);
  }
};

/// @tparam Left  CutGroups or SharedGroups
template <class Left>
class Items {
public:
  /// See SharedGroups.
  __device__ Items(const ScoreTask& task, SharedPart& part, bool finds)
      : whole_(whole_groups(task)), next_(blockIdx.x), left_(task, part, finds) {}

  /// Whether the next item is a whole group, which is known before anything is read.
  __device__ bool whole() const { return next_ < whole_; }
  __device__ Item next() {
    if (!whole())
      return left_.next();
    Item item;
    item.group = next_;
    next_ += gridDim.x;
    item.last = next_ >= whole_ && !left_.any();
    return item;
  }

private:
  std::int64_t whole_, next_;
  Left left_;
};

} // namespace cuda
HISA_NAMESPACE_END
