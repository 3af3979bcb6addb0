// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The selection that CUDA and HIP share, in lockstep on the host, against the reference.
#include <hisa/gpu/lockstep.hpp>
#include <hisa/gpu/running.hpp>
#include <hisa/gpu/select.hpp>
#include <hisa/reference.hpp>

#include <catch2/catch_test_macros.hpp>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using hisa::gpu::Lockstep;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// A row for the shared code, of which position 0 is the `first`-th from an aligned address.
struct Row {
  const std::vector<float>* all;
  std::uint32_t shift, first, end;

  Row(const std::vector<float>& scores, std::uint32_t offset)
      : all(&scores), shift(offset), first(offset), end(offset + std::uint32_t(scores.size())) {}
  bool plain(std::uint32_t at, std::uint32_t count) const {
    return at >= first && at + count <= end;
  }
  const hisa::gpu::Words* address(std::uint32_t at) const {
    return reinterpret_cast<const hisa::gpu::Words*>(&all->at(at - shift));
  }
  hisa::gpu::Scores scores(std::uint32_t at) const {
    hisa::gpu::Scores four;
    for (std::uint32_t i = 0; i < 4; ++i)
      four.v[i] = all->at(at + i - shift);
    return four;
  }
  hisa::gpu::Scores masked(std::uint32_t at, const hisa::gpu::Scores&) const {
    hisa::gpu::Scores four;
    for (std::uint32_t i = 0; i < 4; ++i)
      four.v[i] = at + i >= first && at + i < end ? all->at(at + i - shift) : hisa::gpu::no_score;
    return four;
  }
  std::uint32_t key(std::uint32_t at) const {
    return hisa::gpu::candidate_key(all->at(at - shift));
  }
  hisa::gpu::Four keys(std::uint32_t at, const hisa::gpu::Scores&) const {
    hisa::gpu::Four four;
    four.first = at;
    for (std::uint32_t i = 0; i < 4; ++i)
      if (at + i >= first && at + i < end)
        four.key[i] = hisa::gpu::candidate_key(all->at(at + i - shift));
    return four;
  }
};

/// How a selection is run.
struct Setup {
  int lanes = 64, ranks = 1;
  std::uint32_t offset = 0;
  int skipped = -1;
};

/// What `select` emits for a row, by the lanes of each rank over a storage of its own. The barriers
/// that the machine went through go to `barriers`.
template <class Storage, class Select>
std::vector<std::int64_t> run(const std::vector<float>& scores, int k, const Setup& setup,
                              const Select& select, int* barriers = nullptr) {
  auto storage = std::make_unique<Storage[]>(std::size_t(setup.ranks));
  std::vector<std::int64_t> chosen(std::size_t(k), -1);
  Row const row(scores, setup.offset);
  Lockstep machine(setup.lanes, setup.skipped, setup.ranks);
  machine.run([&](const Lockstep::Lane& lane) {
    Lockstep::Cluster const cluster(lane, sizeof(Storage));
    Storage& own = storage[std::size_t(cluster.rank())];
    prepare(lane, own);
    lane.barrier();
    select(lane, cluster, own, row, [&](std::int32_t rank, std::uint32_t position) {
      REQUIRE(chosen.at(std::size_t(rank)) == -1);
      chosen[std::size_t(rank)] = std::int64_t(position) - setup.offset;
    });
    // The memory of a group that has ended is somebody else's.
    if (setup.ranks == 1)
      lane.barrier();
    int const words = sizeof(Storage) / 4;
    for (int i = lane.size() - 1 - lane.lane(); i < words; i += lane.size())
      lane.store(reinterpret_cast<std::uint32_t*>(&own) + i, 0xdeadbeefu);
  });
  if (barriers != nullptr)
    *barriers = machine.barriers();
  chosen.resize(std::min(chosen.size(), scores.size()));
  return chosen;
}

/// By way of a buffer of `Capacity`.
template <int Capacity, int Bins>
std::vector<std::int64_t> stream(const std::vector<float>& scores, int k, const Setup& setup = {},
                                 int* barriers = nullptr) {
  return run<hisa::gpu::StreamStorage<Capacity, Bins, 2, 128>>(
      scores, k, setup,
      [&](const auto& g, const auto& cluster, auto& storage, const Row& row, const auto& emit) {
        hisa::gpu::select_stream(g, cluster, storage, row, k, emit);
      },
      barriers);
}

/// From registers, 8 scores a lane.
std::vector<std::int64_t> from_registers(const std::vector<float>& scores, int k,
                                         const Setup& setup = {}, int* barriers = nullptr) {
  return run<hisa::gpu::HeldStorage<512, 256>>(
      scores, k, setup,
      [&](const auto& g, const auto&, auto& storage, const Row& row, const auto& emit) {
        hisa::gpu::select_held<2>(g, storage, row, k, emit);
      },
      barriers);
}

/// With a pass over the row for every digit.
std::vector<std::int64_t> again(const std::vector<float>& scores, int k, const Setup& setup = {},
                                int* barriers = nullptr) {
  return run<hisa::gpu::RadixStorage<512>>(
      scores, k, setup,
      [&](const auto& g, const auto&, auto& storage, const Row& row, const auto& emit) {
        hisa::gpu::select_again(g, storage, row, k, emit);
      },
      barriers);
}

std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;
  std::vector<float> scores(n);
  for (float& s : scores)
    s = draw(random);
  return scores;
}

std::vector<std::vector<float>> adversarial(std::size_t n) {
  std::vector<std::vector<float>> rows{normal(n, 1)};
  std::vector<float> ascending = normal(n, 2);
  std::sort(ascending.begin(), ascending.end());
  rows.push_back(ascending);
  rows.emplace_back(ascending.rbegin(), ascending.rend());
  rows.emplace_back(n, -infinity);
  rows.emplace_back(n, std::bit_cast<float>(0x7fc00000u));
  std::vector<float> zeros = normal(n, 3), one_bin(n), mixed = normal(n, 4);
  for (std::size_t i = 0; i < n; ++i) {
    zeros[i] = i % 3 == 0 ? zeros[i] : (i % 2 ? 0.0f : -0.0f); // a plateau of both zeros
    one_bin[i] = std::bit_cast<float>(0x3f800000u + unsigned(i * 7919 % 64)); // equal leading bits
    if (i % 5 == 0)
      mixed[i] = std::bit_cast<float>(0x7fc00000u);
    if (i % 7 == 0)
      mixed[i] = i % 2 ? infinity : -infinity;
  }
  rows.insert(rows.end(), {zeros, one_bin, mixed});
  return rows;
}

/// In parts of 3072 scores, by 96 lanes over a list of 8192, from which the reference then chooses.
/// The first part begins at `skip`.
std::vector<std::int64_t> in_parts(const std::vector<float>& scores, int k, std::uint32_t skip = 0,
                                   int skipped = -1, int* barriers = nullptr,
                                   std::int32_t* listed = nullptr) {
  constexpr int lanes = 96, capacity = 8192;
  using Select = hisa::gpu::RunningSelect<Lockstep::Lane, lanes, capacity, 1024>;
  auto storage = std::make_unique<hisa::gpu::RunningStorage<1024>>();
  std::vector<hisa::gpu::Contender> memory(capacity, {infinity, -1}); // aligned as large memory is
  hisa::gpu::ContenderList list;
  list.contenders = memory.data();
  Lockstep machine(lanes, skipped);
  std::size_t const parts = (scores.size() + skip + Select::batch - 1) / Select::batch;
  std::vector<float> padded(parts * Select::batch, infinity); // what does not count
  std::copy(scores.begin(), scores.end(), padded.begin() + skip);
  machine.run([&](const Lockstep::Lane& lane) {
    prepare(lane, *storage);
    Select select(lane, *storage);
    hisa::gpu::ContenderList own = list;
    auto const end = std::uint32_t(scores.size()) + skip;
    for (std::uint32_t first = 0; first < end; first += Select::batch)
      select.take(own, k,
                  {padded.data() + first, first < skip ? skip - first : 0,
                   std::min<std::uint32_t>(end - first, Select::batch)},
                  std::int32_t(first) - std::int32_t(skip));
    if (lane.lane() == 0)
      list = own;
  });
  if (barriers != nullptr)
    *barriers = machine.barriers();
  std::vector<std::int64_t> chosen;
  if (skipped < 0) {
    CHECK(list.count <= capacity);
    CHECK(list.count >= std::min<std::int64_t>(k, std::int64_t(scores.size())));
  }
  if (listed != nullptr)
    *listed = list.count;
  std::vector<float> left;
  for (int i = 0; i < list.count; ++i)
    left.push_back(memory[std::size_t(i)].score);
  for (std::int64_t i : hisa::reference::select(left, k))
    chosen.push_back(memory[std::size_t(i)].position);
  return chosen;
}

} // namespace

TEST_CASE("streamed selection is exact on adversarial rows") {
  for (std::size_t n : {0, 1, 31, 100, 255, 256, 257, 511, 512, 513, 1500, 5000})
    for (const std::vector<float>& scores : adversarial(n))
      for (int k : {1, 7, 100, 127, 256}) {
        INFO("n = " << n << ", k = " << k);
        auto const expected = hisa::reference::select(scores, k);
        CHECK(stream<512, 256>(scores, k) == expected);
        CHECK(stream<512, 512>(scores, k, {.lanes = 32, .offset = 3}) == expected);
        CHECK(stream<512, 256>(scores, k, {.ranks = 4, .offset = 1}) == expected);
        CHECK(stream<1024, 512>(scores, k, {.lanes = 128, .ranks = 2}) == expected);
      }
}

TEST_CASE("a seed that is too high costs a second reading, not correctness") {
  std::vector<float> scores = normal(6000, 5); // the sample sees the row's only large scores
  for (std::size_t i = 0; i < scores.size(); ++i)
    scores[i] = i % (6000 / 64 / 8 * 8) < 8 ? scores[i] + 100 : scores[i];
  for (int ranks : {1, 2, 5})
    for (int k : {100, 250})
      CHECK(stream<512, 256>(scores, k, {.ranks = ranks}) == hisa::reference::select(scores, k));
}

TEST_CASE("selection from registers is exact on adversarial rows") {
  for (std::size_t n : {2, 31, 100, 255, 257, 511, 512})
    for (const std::vector<float>& scores : adversarial(n))
      for (int k : {1, 7, 100, 256, 500})
        if (std::size_t(k) < n)
          CHECK(from_registers(scores, k) == hisa::reference::select(scores, k));
}

TEST_CASE("selection from registers is exact with 32 scores a lane, and of rows that do not fit") {
  auto const held = [](const std::vector<float>& scores, int k, const Setup& setup,
                       int* barriers = nullptr) {
    return run<hisa::gpu::HeldStorage<1024, 256>>(
        scores, k, setup,
        [&](const auto& g, const auto&, auto& storage, const Row& row, const auto& emit) {
          hisa::gpu::select_held<8>(g, storage, row, k, emit);
        },
        barriers);
  };
  int in_bins = 0, by_digits = 0;
  held(normal(2045, 1), 200, {.offset = 3}, &in_bins);
  held(normal(2048, 1), 200, {.offset = 3}, &by_digits);
  CHECK(in_bins < by_digits); // bins serve a row that fits
  for (std::size_t n : {1025, 1500, 2045, 2048, 2049, 5000})
    for (const std::vector<float>& scores : adversarial(n))
      for (int k : {1, 200, 1024}) {
        INFO("n = " << n << ", k = " << k);
        auto const expected = hisa::reference::select(scores, k);
        CHECK(held(scores, k, {.offset = 3}) == expected);
        CHECK(held(scores, k, {.lanes = 32}) == expected);
      }
}

/// Scores that bins of equal width tell apart badly, or not at all.
std::vector<std::vector<float>> uneven(std::size_t n) {
  std::vector<float> outlier = normal(n, 11), outliers = normal(n, 12), octaves(n), tiny(n),
                     close = normal(n, 13), few(n, std::bit_cast<float>(0x7fc00000u)), huge(n);
  outlier[n / 3] = 1e6f;
  for (std::size_t i = 0; i < n; ++i) {
    outliers[i] *= i % 50 == 0 ? 1e9f : (i % 3 == 0 ? 1e4f : 1); // an outlier in every sample
    octaves[i] = std::ldexp(1.0f, int(i * 37 % 200) - 100);
    tiny[i] = std::bit_cast<float>(std::uint32_t(i * 7919 % 1000) | (i % 2 ? 0x80000000u : 0));
    close[i] = i % 2 ? 1 + 0x1p-23f * float(i % 16) : close[i] * 0.1f;
    few[i] = i % 9 == 0 ? float(i % 20) : few[i];
    huge[i] = (i % 2 ? 3e38f : -3e38f) * float(i % 31 + 1) / 32;
  }
  return {outlier, outliers, octaves, tiny, close, few, huge};
}

TEST_CASE("selection from registers is exact on scores that are spread unevenly") {
  for (std::size_t n : {65, 200, 511, 512})
    for (const std::vector<float>& scores : uneven(n))
      for (int k : {1, 2, 20, 64, 100, 199, 300, 511}) {
        if (std::size_t(k) >= n)
          continue;
        INFO("n = " << n << ", k = " << k);
        auto const expected = hisa::reference::select(scores, k);
        CHECK(from_registers(scores, k) == expected);
        if (n <= 200)
          CHECK(from_registers(scores, k, {.lanes = 32, .offset = 1}) == expected);
      }
}

TEST_CASE("selection by several passes is exact on adversarial rows, for any k") {
  for (std::size_t n : {0, 1, 100, 255, 511, 2500})
    for (const std::vector<float>& scores : adversarial(n))
      for (int k : {1, 100, 256, 2499, 4000})
        CHECK(again(scores, k, {.offset = 2}) == hisa::reference::select(scores, k));
}

TEST_CASE("n from k to 2k") {
  for (int n = 120; n <= 240; n += 5)
    CHECK(stream<512, 256>(normal(std::size_t(n), unsigned(n)), 120, {.lanes = 32}) ==
          hisa::reference::select(normal(std::size_t(n), unsigned(n)), 120));
}

/// Expects a race to be found, whichever barrier from the `first` on is left out.
template <class Select>
void every_barrier_is_needed(const Select& select, int at_least, int first = 0) {
  int barriers = 0;
  select(-1, &barriers);
  REQUIRE(barriers >= at_least);
  for (int skipped = first; skipped < barriers; ++skipped) {
    INFO("without barrier " << skipped << " of " << barriers);
    CHECK_THROWS_AS(select(skipped, nullptr), hisa::gpu::lockstep_error);
  }
}

TEST_CASE("streamed selection is exact wherever the k-th lies, above the seed or from zero") {
  for (std::size_t n : {600, 3000}) {
    std::vector<std::vector<float>> rows = uneven(n);
    for (float scale : {1e-8f, 1.0f, 1e8f})
      for (float shift : {-100.0f, 0.0f, 100.0f}) {
        rows.push_back(normal(n, 21));
        for (float& score : rows.back())
          score = scale * (score + shift);
      }
    for (const std::vector<float>& scores : rows)
      for (int k : {1, 50, 200}) {
        INFO("n = " << n << ", k = " << k);
        auto const expected = hisa::reference::select(scores, k);
        CHECK(stream<512, 256>(scores, k) == expected);
        CHECK(stream<512, 256>(scores, k, {.ranks = 2, .offset = 1}) == expected);
      }
  }
}

TEST_CASE("groups of a cluster agree though the buffer of one was full before the end") {
  std::vector<float> scores = normal(12000, 22);
  for (std::size_t i = 0; i < scores.size(); ++i)
    scores[i] += i < scores.size() / 3 || i % 8 == 0 ? 3.0f : 0.0f;
  for (int ranks : {2, 3})
    for (int k : {200, 250})
      CHECK(stream<512, 256>(scores, k, {.ranks = ranks}) == hisa::reference::select(scores, k));
}

TEST_CASE("every barrier of the selections is needed") {
  auto const rows = adversarial(1500);
  every_barrier_is_needed(
      [&](int skipped, int* barriers) { // ascending: compacts again and again
        stream<512, 256>(rows[1], 100, {.skipped = skipped}, barriers);
      },
      30);
  every_barrier_is_needed(
      [&](int skipped, int* barriers) {
        stream<512, 256>(rows[6], 100, {.ranks = 3, .skipped = skipped}, barriers);
      },
      30);
  // From registers: in bins, and by digits. Two waves pass another barrier before
  // they count in the storage that was prepared; one wave does not.
  for (const std::vector<float>& row : {normal(512, 1), uneven(512)[0], adversarial(512)[5]}) {
    every_barrier_is_needed(
        [&](int skipped, int* barriers) {
          from_registers(row, 100, {.skipped = skipped}, barriers);
        },
        8, 1);
    CHECK_THROWS_AS(
        from_registers({row.begin(), row.begin() + 250}, 100, {.lanes = 32, .skipped = 0}),
        hisa::gpu::lockstep_error);
  }
  every_barrier_is_needed(
      [&](int skipped, int* barriers) { again(rows[6], 700, {.skipped = skipped}, barriers); }, 8);
  for (int k : {2048, 4608, 60}) { // by bins, by bins so that batches overlap, by digits and ties
    std::vector<float> row = k == 60 ? std::vector<float>(7000, 1.0f) : normal(7000, 4);
    every_barrier_is_needed(
        [&](int skipped, int* barriers) { in_parts(row, k, 100, skipped, barriers); }, 8);
  }
  every_barrier_is_needed( // nothing has to be decided, so no radix select waits for the first
      [&](int skipped, int* barriers) {
        stream<512, 256>(normal(50, 9), 100, {.offset = 2, .skipped = skipped}, barriers);
      },
      3, 1);
}

TEST_CASE("selection from a row that comes in parts is exact on adversarial rows") {
  for (std::size_t n : {std::size_t(1), std::size_t(2047), std::size_t(6144), std::size_t(40001)})
    for (const auto& scores : adversarial(n))
      for (int k : {1, 63, 2048})
        for (std::uint32_t skip : {0u, 3u, 127u}) {
          INFO("n = " << n << ", k = " << k << ", skip = " << skip);
          CHECK(in_parts(scores, k, skip) == hisa::reference::select(scores, k));
        }
}

TEST_CASE("2^31 candidates in one bin") {
  // As many as the longest row has, its last round counted whole.
  auto storage = std::make_unique<hisa::gpu::RadixStorage<512>>();
  for (int k : {3, 4, 20000}) {
    hisa::gpu::Bin bin{};
    Lockstep(64).run([&](const Lockstep::Lane& lane) {
      prepare(lane, *storage);
      lane.barrier();
      if (lane.lane() == 0)
        storage->histogram[0][0] = 1u << 31, storage->histogram[0][5] = 3;
      hisa::gpu::Radix<Lockstep::Lane, 512> radix(lane, *storage);
      hisa::gpu::Bin const chosen = radix.choose(k, [](const auto&) {});
      if (lane.lane() == 0)
        bin = chosen;
    });
    CHECK(bin.index == (k > 3 ? 0u : 5u));
    CHECK(bin.need == (k > 3 ? k - 3 : k));
    CHECK(bin.count == (k > 3 ? 1u << 31 : 3u));
  }
}

TEST_CASE("rows in parts whose scores equal the bound") {
  std::int32_t listed = 0;
  in_parts(std::vector<float>(20000, 1.0f), 60, 0, -1, nullptr, &listed);
  CHECK(listed == 60); // behind k that reach it, none can win
  // The least of the k best is the least of a bin.
  std::vector<float> row(9000, 0.5f);
  for (std::size_t i = 0; i < 2300; ++i)
    row[2 * i] = i < 1000 ? 3 + float(i) / 1000 : std::nextafter(2.0f, 3.0f);
  CHECK(in_parts(row, 2048) == hisa::reference::select(row, 2048));
}

TEST_CASE("rows in parts whose scores rise") {
  std::vector<float> rising(60000);
  for (std::size_t i = 0; i < rising.size(); ++i)
    rising[i] = float(i) - 30000;
  CHECK(in_parts(rising, 2048) == hisa::reference::select(rising, 2048));
  CHECK(in_parts(rising, 1) == hisa::reference::select(rising, 1));
  CHECK(in_parts(rising, 4608) == hisa::reference::select(rising, 4608)); // the most
  for (float& score : rising) // not normal, and zeros that equal what is not, if that is flushed
    score = score > 20000 ? score * 0x1p-149f : 0;
  CHECK(in_parts(rising, 2048) == hisa::reference::select(rising, 2048));
}
