// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A problem on the device, with the pooled rows of its levels.
#pragma once

#include "device.hpp"
#include "problem.hpp"

#include <cstring>

namespace suite {

/// One pooled level, pooled on the device. Rows that no complete block has would win every contest
/// that read them.
struct PooledLevel {
  int size = 0;
  std::int64_t blocks = 0;
  std::vector<std::int32_t> sequence_begin; ///< first row of each sequence
  std::vector<std::int32_t> begin;          ///< first row of each query's sequence
  Device<e4m3fn> values;
  Device<float> scales;
  Device<std::int32_t> d_begin;

  PooledLevel(const Problem& p, const ContiguousKeys<e4m3fn>& keys, int block_size)
      : size(block_size) {
    std::vector<std::int32_t> first, length;
    for (const Sequence& s : p.sequences) {
      sequence_begin.push_back(std::int32_t(blocks));
      blocks += (s.length + size - 1) / size;
      first.push_back(s.first), length.push_back(s.length);
    }
    for (std::int32_t s : p.sequence)
      begin.push_back(sequence_begin[std::size_t(s)]);
    blocks = std::max(blocks, p.N / size);
    values = Device<e4m3fn>(std::vector(std::size_t(blocks * D), e4m3fn{0x7e}));
    scales = Device<float>(std::vector(std::size_t(blocks), 1e30f));
    d_begin = Device<std::int32_t>(begin);
    Device<std::int32_t> const d_first(first), d_length(length), rows(sequence_begin);
    cuda::pool_rebuild<MeanPool>(
        nullptr, keys, {values.data, scales.data, blocks, size, D, rows.data},
        {std::int64_t(first.size()), nullptr, d_length.data, d_first.data});
    synchronize("pool");
  }

  /// As a call takes it. One sequence needs no `begin`.
  PooledKeys<const e4m3fn> view() const {
    return {values.data, scales.data, blocks,
            size,        D,           sequence_begin.size() > 1 ? d_begin.data : nullptr};
  }
  /// The rows as keys, to be scored.
  ContiguousKeys<e4m3fn> rows() const { return {values.data, scales.data, blocks, D, 0}; }
};

struct Inputs {
  Device<e4m3fn> q, k;
  Device<float> w, scale;
  Device<std::int32_t> ks, ke, anchor, lists;
  std::int64_t M, N, stride, capacity;
  int H;
  std::vector<PooledLevel> levels;

  Inputs(const Problem& p, const std::vector<reference::LevelSize>& sizes)
      : q(p.q), k(p.k), w(p.w), scale(p.scale), ks(p.ks), ke(p.ke), anchor(p.anchor),
        lists(p.lists), M(p.M), N(p.N), stride(p.stride), capacity(p.capacity), H(p.H) {
    for (const auto& l : sizes)
      if (capacity == 0) // lists stand for the pooled rows
        levels.emplace_back(p, keys(), int(l.block_size));
  }

  Queries<e4m3fn> queries() const { return {q.data, w.data, M, H, D}; }
  ContiguousKeys<e4m3fn> keys() const { return {k.data, scale.data, N, D, stride}; }
  Ranges ranges() const { return {ks.data, ke.data, anchor.size == 0 ? nullptr : anchor.data}; }
  BlockLists block_lists() const { return {lists.data, capacity}; }
  std::vector<PooledKeys<const e4m3fn>> pooled() const {
    std::vector<PooledKeys<const e4m3fn>> all;
    for (const PooledLevel& l : levels)
      all.push_back(l.view());
    return all;
  }
};

/// Rows of complete blocks, all or some of many, are the reference's to the bit.
inline void check_pooled(const std::string& what, const Problem& p, const PooledLevel& level) {
  auto const values = level.values.host();
  auto const scales = level.scales.host();
  for (std::size_t s = 0; s < p.sequences.size(); ++s) {
    std::int64_t const complete = p.sequences[s].length / level.size;
    for (std::int64_t b = 0; b < complete; b += complete / 64 + 1) {
      e4m3fn row[D];
      float scale = 0;
      Visible v;
      v.anchor = v.begin = p.sequences[s].first + b * level.size;
      reference::pool(p.keys(), PooledKeys<e4m3fn>{row, &scale, 1, level.size, D, nullptr}, v,
                      level.size);
      auto const at = std::size_t(level.sequence_begin[s] + b);
      expect(std::memcmp(row, &values[at * D], D) == 0 &&
                 std::memcmp(&scale, &scales[at], sizeof scale) == 0,
             what + ": pooled row " + std::to_string(b) + " of " + std::to_string(level.size));
    }
  }
}

} // namespace suite
