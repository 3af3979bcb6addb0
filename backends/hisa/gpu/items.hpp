// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The *items* of the scoring kernel: a group of queries with some of its key tiles, as a CTA takes
/// them one after the other. First it takes whole groups, as many as every CTA has; those that are
/// left are divided among all.
#pragma once

#include <hisa/gpu/group.hpp>
#include <hisa/gpu/pieces.hpp>
#include <hisa/visibility.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// Tiles first, first + step, .. of a group.
struct Item {
  std::int64_t group = 0;
  int first = 0, step = 1;
  int tiles = INT32_MAX; ///< at most: the group may have fewer
  bool last = false;     ///< of the CTA
};

/// One of the CTAs of a launch.
struct CtaOf {
  unsigned cta, ctas;
};

/// Groups 0 .. whole - 1 are dealt to the CTAs in turn.
HISA_FUNCTION inline std::int64_t whole_groups(std::int64_t groups, unsigned ctas) {
  return detail::quotient(groups, ctas) * ctas;
}

/// Of all rows, where groups are alike: each of the groups that are left is cut into as many items.
class CutGroups {
public:
  HISA_FUNCTION CutGroups(std::int64_t groups, int cuts, CtaOf at)
      : first_(whole_groups(groups, at.ctas)), cuts_(cuts),
        items_(static_cast<int>(groups - first_) * cuts_), next_(static_cast<int>(at.cta)),
        ctas_(static_cast<int>(at.ctas)) {}

  HISA_FUNCTION bool any() const { return next_ < items_; }
  HISA_FUNCTION Item next() {
    Item item;
    int const group = next_ / cuts_;
    item.group = first_ + group, item.first = next_ - group * cuts_, item.step = cuts_;
    next_ += ctas_;
    item.last = !any();
    return item;
  }

private:
  std::int64_t first_; ///< group
  int cuts_, items_, next_, ctas_;
};

/// Of all rows, where groups are alike: the tiles of the groups that are left, one group behind the
/// other, are divided among all CTAs.
class SplitGroups {
public:
  /// @param tiles  of a group, at most
  HISA_FUNCTION SplitGroups(std::int64_t groups, std::int64_t tiles, CtaOf at)
      : first_(whole_groups(groups, at.ctas)), tiles_(tiles),
        next_(begin(groups - first_, tiles, at)),
        end_(begin(groups - first_, tiles, {at.cta + 1, at.ctas})) {}

  HISA_FUNCTION bool any() const { return next_ < end_; }
  HISA_FUNCTION Item next() {
    Item item;
    std::int64_t const group = detail::quotient(next_, tiles_), first = next_ - group * tiles_;
    std::int64_t const left = end_ - next_ < tiles_ - first ? end_ - next_ : tiles_ - first;
    item.group = first_ + group, item.first = static_cast<int>(first);
    item.tiles = static_cast<int>(left);
    next_ += left;
    item.last = !any();
    return item;
  }
  /// Where the share of a CTA begins.
  HISA_FUNCTION static std::int64_t begin(std::int64_t left, std::int64_t tiles, CtaOf at) {
    return detail::quotient(left * tiles * at.cta, at.ctas);
  }

private:
  std::int64_t first_; ///< group
  std::int64_t tiles_, next_, end_;
};

/// Of n costs, as far as a limit of their sum.
struct Reached {
  std::int64_t count = 0;
  std::uint64_t before = 0; ///< sum of the costs before the last of them
};
/// How many of n costs have a sum below `limit` before them. By a wave, all lanes together.
template <Group G, class Cost>
HISA_FUNCTION Reached reach(const G& g, std::int64_t n, std::uint64_t limit, const Cost& cost) {
  constexpr int batch = 8; // of a lane, asked for together
  Reached r;
  std::uint64_t sum = 0;
  for (std::int64_t from = 0; from < n; from += batch * G::wave) {
    std::int64_t const mine = from + batch * g.lane();
    std::uint32_t costs[batch];
    std::uint64_t own = 0;
    HISA_UNROLL
    for (int j = 0; j < batch; ++j)
      costs[j] = mine + j < n ? cost(mine + j) : 0;
    HISA_UNROLL
    for (int j = 0; j < batch; ++j)
      own += costs[j];
    std::uint64_t const through = wave_scan(g, own);
    std::uint64_t before = sum + through - own, last = 0;
    std::uint32_t count = 0;
    HISA_UNROLL
    for (int j = 0; j < batch; ++j) {
      if (mine + j < n && before < limit)
        ++count, last = before;
      before += costs[j];
    }
    auto const reaching = static_cast<int>(g.sum(count > 0 ? 1 : 0)); // the first lanes
    if (reaching == 0)
      break;
    r.count += g.sum(count);
    r.before = g.shuffle(last, reaching - 1);
    sum += g.shuffle(through, G::wave - 1);
  }
  return r;
}

/// A CTA's share of the groups that are left, of listed rows.
struct CtaShare {
  std::int64_t group;       ///< in which it begins
  std::uint64_t before;     ///< costs of the groups that are left before that one
  std::uint64_t begin, end; ///< of the share, in the sum of the costs of all that are left
};
/// Finds a CTA's share. Shares are such that all CTAs come to the same cost, unless one had too
/// much before. By a wave, all lanes together. Complexity: O(groups + CTAs) for the wave.
template <Group G>
HISA_FUNCTION CtaShare find_share(const G& g, const PieceLists& pieces, std::int64_t groups,
                                  CtaOf at) {
  auto const sum = [&](std::uint64_t own) { return g.shuffle(wave_scan(g, own), G::wave - 1); };
  std::int64_t const first = whole_groups(groups, at.ctas);
  std::uint64_t own = 0;
  for (std::int64_t i = g.lane(); i < groups; i += G::wave)
    own += pieces.costs[i];
  std::uint64_t const all = sum(own), fair = all / at.ctas;
  std::uint64_t taken = 0, lacking = 0, lacking_before = 0, lacking_here = 0;
  for (auto cta = static_cast<unsigned>(g.lane()); cta < at.ctas; cta += G::wave) {
    std::uint64_t cost = 0;
    for (std::int64_t i = cta; i < first; i += at.ctas)
      cost += pieces.costs[i];
    std::uint64_t const lack = cost < fair ? fair - cost : 0;
    taken += cost, lacking += lack;
    lacking_before += cta < at.cta ? lack : 0;
    lacking_here += cta == at.cta ? lack : 0;
  }
  std::uint64_t const left = all - sum(taken), lacking_all = sum(lacking);
  double const scale = double(left) / double(lacking_all > 0 ? lacking_all : 1);
  lacking_before = sum(lacking_before), lacking_here = sum(lacking_here);
  CtaShare share;
  share.begin = static_cast<std::uint64_t>(double(lacking_before) * scale);
  share.end = at.cta + 1 == at.ctas
                  ? left
                  : static_cast<std::uint64_t>(double(lacking_before + lacking_here) * scale);
  Reached const reached = reach(g, groups - first, share.begin + 1,
                                [&](std::int64_t i) { return pieces.costs[first + i]; });
  share.group = first + reached.count - 1, share.before = reached.before;
  return share;
}

/// Of listed rows, where groups differ: of the tiles of the groups that are left, one group behind
/// the other, a CTA takes those that begin in its share of the sum of costs. By a wave, all lanes
/// together.
/// @tparam Find  find() returns the CTA's share when it is needed
template <Group G, class Find>
class SharedGroups {
public:
  HISA_FUNCTION SharedGroups(const G& g, const PieceLists& pieces, std::int64_t groups, CtaOf at,
                             const Find& find)
      : g_(g), pieces_(pieces), find_(find), groups_(groups),
        first_(whole_groups(groups, at.ctas)) {}

  HISA_FUNCTION bool any() const { return first_ < groups_; }
  HISA_FUNCTION Item next() {
    if (group_ < 0) {
      CtaShare const share = find_();
      group_ = share.group, before_ = share.before, begin_ = share.begin, end_ = share.end;
    }
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
  G g_;
  const PieceLists& pieces_;
  Find find_;
  std::int64_t groups_, first_, group_ = -1;
  std::uint64_t begin_ = 0, end_ = 0; ///< of the CTA's share
  std::uint64_t before_ = 0;          ///< cost of the groups first_ .. group_ - 1

  /// The group's tiles that have a sum of costs below `limit` before them.
  HISA_FUNCTION int tiles_before(std::uint64_t limit) const {
    const std::uint32_t* const masks = pieces_.masks_of(group_);
    return static_cast<int>(reach(g_, pieces_.tiles(group_), limit, [&](std::int64_t tile) {
                              return tile_cost(masks[tile]);
                            }).count);
  }
};

/// @tparam Left  CutGroups or SharedGroups
template <class Left>
class Items {
public:
  HISA_FUNCTION Items(std::int64_t groups, CtaOf at, const Left& left)
      : whole_(whole_groups(groups, at.ctas)), next_(at.cta), ctas_(at.ctas), left_(left) {}

  /// Whether the next item is a whole group, which is known before anything is read.
  HISA_FUNCTION bool whole() const { return next_ < whole_; }
  HISA_FUNCTION Item next() {
    if (!whole())
      return left_.next();
    Item item;
    item.group = next_;
    next_ += ctas_;
    item.last = next_ >= whole_ && !left_.any();
    return item;
  }

private:
  std::int64_t whole_, next_, ctas_;
  Left left_;
};

} // namespace gpu
HISA_NAMESPACE_END
