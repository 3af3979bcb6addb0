// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The items of a sift kernel by number, so that who chooses from a group's lists finds them.
#pragma once

#include <hisa/gpu/items.hpp>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// The items of a launch: whole groups, and then up to two of each CTA.
struct SiftItems {
  std::int64_t groups = 0, whole = 0;
  std::int64_t tiles = 0; ///< of a group, at most, but enough for a share of each CTA
  unsigned ctas = 1;

  SiftItems() {}
  SiftItems(std::int64_t all, std::int64_t tiles_of_group, std::int64_t of_launch)
      : groups(all), whole(whole_groups(all, static_cast<unsigned>(of_launch))),
        tiles(tiles_of_group < of_launch ? of_launch : tiles_of_group),
        ctas(static_cast<unsigned>(of_launch)) {}

  /// Of a CTA and a group of which it has tiles.
  HISA_FUNCTION std::int64_t item(std::int64_t group, unsigned cta) const {
    if (group < whole)
      return group;
    bool const second = begin(cta) < (group - whole) * tiles;
    return whole + 2 * std::int64_t(cta) + (second ? 1 : 0);
  }
  /// Where the share of a CTA begins in the tiles of the groups that are left.
  HISA_FUNCTION std::int64_t begin(unsigned cta) const {
    return SplitGroups::begin(groups - whole, tiles, {cta, ctas});
  }

  /// Of up to `most` groups.
  static std::int64_t max_items(std::int64_t most, std::int64_t of_launch) {
    return (most - 1) / of_launch * of_launch + 2 * of_launch;
  }
};

/// The items of a group: `first`, and then the first ones of some CTAs behind.
struct GroupItems {
  std::int64_t first = 0, next = 0; ///< next: the second item, whose successors are two behind
  int count = 1;

  GroupItems() = default;
  HISA_FUNCTION GroupItems(const SiftItems& items, std::int64_t group) : first(group) {
    if (group < items.whole)
      return;
    std::int64_t const begin = (group - items.whole) * items.tiles;
    auto cta = static_cast<unsigned>(detail::quotient(
        begin * items.ctas, (items.groups - items.whole) * items.tiles)); // or one of the next
    while (items.begin(cta + 1) <= begin)
      ++cta;
    first = items.item(group, cta);
    next = items.whole + 2 * (std::int64_t(cta) + 1);
    while (cta + static_cast<unsigned>(count) < items.ctas &&
           items.begin(cta + static_cast<unsigned>(count)) < begin + items.tiles)
      ++count;
  }
  HISA_FUNCTION std::int64_t operator[](int i) const { return i == 0 ? first : next + 2 * (i - 1); }
};

} // namespace gpu
HISA_NAMESPACE_END
