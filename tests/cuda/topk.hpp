// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Top-k alone: rows of every kind, length and alignment, one by one and in numbers, for k below and
// above every buffer.
#pragma once

#include "topk_rows.hpp"

namespace suite {

/// What a row looks like, for `n` columns. Rows of every kind, in turn.
inline float row_score(Random& random, std::int64_t kind, std::int64_t n, std::int64_t p) {
  float const x = random.normal() + float(random.below(1 << 16)) * 0x1p-20f;
  switch (kind) {
  case 1:
    return float(p); // ascending
  case 2:
    return float(-p); // descending
  case 3:
    return p % 2 != 0 ? 0.0f : -0.0f;
  case 4:
    return just_above_one(std::uint64_t(p * 7919 % 1024)); // one bin, ties
  case 5:
    return p % 3 != 0 ? std::numeric_limits<float>::quiet_NaN() : x;
  case 6:
    return p < n / 50 ? x + 9 : x; // most winners in one place
  case 7:                          // large scores exactly where a seed is looked for
    return p % std::max<std::int64_t>(n / 512 / 8 * 8, 8) < 8 ? x + 9 : x;
  case 8:
    return 1.5f; // all equal
  case 9:
    return p % 2 != 0 ? minus_infinity : -minus_infinity;
  case 10: // NaN of both signs and many payloads, and little else
    return p % 100 != 0 ? std::bit_cast<float>((p % 2 != 0 ? 0xff800001u : 0x7fc00000u) +
                                               std::uint32_t(p % 1000))
                        : -x;
  case 11:
    return std::bit_cast<float>(std::uint32_t(random())); // any bits at all
  case 12:                                                // small scores exactly there
    return p % std::max<std::int64_t>(n / 512 / 8 * 8, 8) < 8 ? x - 9 : x;
  default:
    return x;
  }
}
inline constexpr std::int64_t row_kinds = 13;

inline void topk(const Scale& scale) {
  Random random(3);
  std::int64_t round = 0;
  for (std::int64_t n : {1, 5, 100, 2047, 2048, 2049, 4095, 8188, 8189, 8191, 8192, 8193, 16383,
                         16384, 16385, 40001, 100001, 200003}) {
    if (n > scale.row)
      continue;
    std::int64_t const gap = round % 4, offset = round / 2 % 4;
    ++round;
    std::string const at = "top-k, n=" + std::to_string(n) + ", stride +" + std::to_string(gap) +
                           ", address +" + std::to_string(offset);
    item(at, [&] {
      ScoreRows table(row_kinds + 2, n, gap, offset,
                      [&](std::int64_t r, std::int64_t p) { return row_score(random, r, n, p); });
      constexpr int most = cuda::SelectSizes::Long::max_k; // the next goes to other kernels
      check_topk(at, table, {1, 2, 511, 2048, most, most + 1, 9000});
      for (std::int64_t r = 0; r < table.rows; ++r)
        table.lengths.push_back(std::int32_t(n * r / row_kinds - 1)); // the first -1, the last > n
      check_topk(at + ", lengths", table, {3, 512, 2047, 4096, 20000});
    });
  }
}

/// The longest row that there may be, nearly all of it alike, so that it is known what wins.
inline void longest_row(const Scale& scale, int byte) {
  constexpr std::int64_t n = 2147483391, marked = 3000, gap = n / marked;
  if (!affordable(scale, std::size_t{n} * 4))
    return;
  Random random(5);
  Device<float> scores(std::size_t{n});
  scores.fill(byte);
  std::vector<std::int64_t> places(std::size_t{marked});
  std::vector<float> values;
  for (std::int64_t i = 0; i < marked; ++i) {
    places[std::size_t(i)] = i + 1 == marked ? n - 1 : i * gap + random.below(gap);
    values.push_back(float(1 + random.below(500)));
    cuda::check(
        cudaMemcpy(scores.data + places[std::size_t(i)], &values.back(), 4, cudaMemcpyDefault),
        "copy");
  }
  for (int k : {1, 2048, 20000}) {
    std::vector<std::int64_t> expected;
    for (std::int64_t i : reference::select(values, k))
      expected.push_back(places[std::size_t(i)]);
    for (std::int64_t p = 0; std::int64_t(expected.size()) < k; ++p)
      if (!std::binary_search(places.begin(), places.end(), p))
        expected.push_back(p);
    std::sort(expected.begin(), expected.end());
    Outputs const out(1, k);
    cuda::topk(nullptr, {scores.data, n, nullptr, n, k, out.view()}, 1);
    synchronize("topk");
    Result const got = out.host();
    expect(out.intact() && got.counts[0] == k &&
               std::equal(expected.begin(), expected.end(), got.indices.begin(), got.indices.end()),
           "a row of 2^31 - 257 scores, k=" + std::to_string(k));
  }
}

/// Few long rows are shared by the CTAs of clusters; many are not.
inline void topk_rows(const Scale& scale) {
  Random random(4);
  for (std::int64_t n : {40000, 131073, 262143, 262144, 262145, 1 << 20})
    for (std::int64_t rows : {1, 2, 17, 40, 300}) {
      if (n > scale.row || rows * n > std::min<std::int64_t>(12000000, 20 * scale.row))
        continue;
      std::string const at = "top-k, " + std::to_string(rows) + " rows of " + std::to_string(n);
      item(at, [&] {
        check_topk(at,
                   ScoreRows(rows, n, rows % 4, 0,
                             [&](std::int64_t r, std::int64_t p) {
                               return row_score(random, r % row_kinds, n, p);
                             }),
                   {1, 1024, 2048, 14337});
      });
    }
  if (scale.row < 40000)
    skip("clusters: rows of 40000 scores and more");
  item("top-k, a row of 2^31 - 257 scores, nearly all 0", [&] { longest_row(scale, 0); });
  item("top-k, a row of 2^31 - 257 scores, nearly all NaN", [&] { longest_row(scale, 0xff); });
}

} // namespace suite
