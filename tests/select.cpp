// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Team-level selection inside a kernel of the test's own, by every strategy, on every host space
// and the default one, against a sort by the words of the contract.
#include "support/device.hpp"

#include <hisa/row_rules.hpp>
#include <hisa/select.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

using namespace hisa_test;

namespace {

constexpr float NaN = std::numeric_limits<float>::quiet_NaN();
constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float denormal = std::numeric_limits<float>::denorm_min();

using Scores = std::vector<float>;
using Positions = std::vector<std::int32_t>;

/// A strategy of a user's own: the rank of each score is counted.
struct CountSelect {
  static constexpr const char* name = "count";
  KOKKOS_FUNCTION static constexpr std::size_t scratch_bytes(std::int64_t) { return 0; }
  template <class Member, class Emit>
  KOKKOS_FUNCTION static void select(const Member& team, const float* scores, std::int64_t n,
                                     std::int64_t k, std::byte*, const Emit& emit) {
    auto const selected = [=](std::int64_t i) {
      std::int64_t before = 0;
      for (std::int64_t j = 0; j < n && before < k; ++j)
        before += hisa::precedes(scores[j], j, scores[i], i);
      return before < k;
    };
    Kokkos::parallel_scan(Kokkos::TeamThreadRange(team, n),
                          [&](std::int64_t i, std::int64_t& rank, bool final) {
                            if (!selected(i))
                              return;
                            if (final)
                              emit(rank, i, scores[i]);
                            ++rank;
                          });
  }
};

/// StreamSelect, told the scores in pieces of N, which is neither its own size nor a divisor.
template <std::int64_t N>
struct Pieces : hisa::StreamSelect {
  template <class Member>
  KOKKOS_FUNCTION void push(const Member& team, const float* scores, std::int64_t n,
                            std::int64_t first) {
    for (std::int64_t i = 0; i < n; i += N)
      hisa::StreamSelect::push(team, scores + i, n - i < N ? n - i : N, first + i);
  }
};

static_assert(hisa::SelectStrategy<hisa::RadixSelect> && !hisa::StreamStrategy<hisa::RadixSelect>);
static_assert(hisa::SelectStrategy<hisa::SortSelect> && !hisa::StreamStrategy<hisa::SortSelect>);
static_assert(hisa::SelectStrategy<CountSelect> && !hisa::StreamStrategy<CountSelect>);
static_assert(hisa::StreamStrategy<hisa::StreamSelect> && hisa::StreamStrategy<Pieces<7>>);
static_assert(!hisa::SelectStrategy<int> && !hisa::SelectStrategy<hisa::MeanPool>);

/// Rows must not share bytes, and each begins at a multiple of 16.
template <class Strategy>
KOKKOS_FUNCTION std::size_t scratch_of_a_row(std::int64_t k) {
  return (Strategy::scratch_bytes(k) + 15) / 16 * 16;
}

/// The first overload: every rank must be emitted exactly once, with its position's score.
template <class Space, class Strategy>
struct EmitKernel {
  const float* scores;
  std::int64_t n, k;
  std::int32_t* positions; ///< [rows, k]
  std::int32_t* calls;     ///< [rows, k]: emissions of a rank, or -1000 for a wrong score
  std::byte* scratch;      ///< [rows, scratch_of_a_row]

  using Member = typename Kokkos::TeamPolicy<Space>::member_type;
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    std::int64_t const row = team.league_rank();
    const float* const mine = scores + row * n;
    hisa::select<Strategy>(team, mine, n, k,
                           scratch + row * std::int64_t(scratch_of_a_row<Strategy>(k)),
                           [&](std::int64_t rank, std::int64_t position, float score) {
                             positions[row * k + rank] = static_cast<std::int32_t>(position);
                             bool const right = Kokkos::bit_cast<std::uint32_t>(score) ==
                                                Kokkos::bit_cast<std::uint32_t>(mine[position]);
                             Kokkos::atomic_add(&calls[row * k + rank], right ? 1 : -1000);
                           });
  }
};

/// The second overload: Views in and out.
template <class Space, class Strategy>
struct ViewKernel {
  const float* scores;
  std::int64_t n, k;
  std::int32_t* positions; ///< [rows, k]

  using Member = typename Kokkos::TeamPolicy<Space>::member_type;
  KOKKOS_FUNCTION void operator()(const Member& team) const {
    std::int64_t const row = team.league_rank();
    using Unmanaged = Kokkos::MemoryTraits<Kokkos::Unmanaged>;
    using Memory = Exec::memory_space;
    Kokkos::View<const float*, Memory, Unmanaged> const in(scores + row * n, std::size_t(n));
    Kokkos::View<std::int32_t*, Memory, Unmanaged> const out(positions + row * k, std::size_t(k));
    hisa::select<Strategy>(team, in, k, out);
  }
};

template <class Strategy, class Kernel>
auto policy_of(std::int64_t k, int rows, int team_size) {
  using Space = typename Kernel::Member::execution_space;
  Kokkos::TeamPolicy<Space> policy(Space(), rows, team_size);
  policy.set_scratch_size(0, Kokkos::PerTeam(int(hisa::select_scratch_bytes<Strategy>(k))));
  return policy;
}

/// Team sizes that the execution space allows: one thread, two, a number that is no power of two,
/// most.
template <class Kernel>
std::vector<int> team_sizes() {
  auto const policy = policy_of<hisa::RadixSelect, Kernel>(1, 1, 1);
  int const most = policy.team_size_max(Kernel{}, Kokkos::ParallelForTag());
  std::vector<int> sizes;
  for (int size : {1, 2, 3, most})
    if (size <= most && (sizes.empty() || size > sizes.back()))
      sizes.push_back(size);
  return sizes;
}

/// Positions of the k best, ascending; -1 beyond them.
Positions expected_positions(const Scores& scores, std::int64_t k) {
  Positions order;
  for (std::size_t i = 0; i < scores.size(); ++i)
    order.push_back(std::int32_t(i));
  auto const before = [&](std::int32_t i, std::int32_t j) {
    float const a = scores[std::size_t(i)], b = scores[std::size_t(j)];
    if (std::isnan(a) != std::isnan(b))
      return std::isnan(b);
    if (!std::isnan(a) && a != b) // -0 == +0
      return a > b;
    return i < j;
  };
  std::sort(order.begin(), order.end(), before);
  order.resize(std::min(order.size(), std::size_t(k)));
  std::sort(order.begin(), order.end());
  order.resize(std::size_t(k), -1);
  return order;
}

/// Rows of equal length and what is expected of them, both overloads.
template <class Space, class Strategy>
void require_selected_by(const Device<float>& in, std::int64_t n, std::int64_t k, int rows,
                         const Positions& expected) {
  using Emitting = EmitKernel<Space, Strategy>;
  using Viewing = ViewKernel<Space, Strategy>;
  std::size_t const scratch = scratch_of_a_row<Strategy>(k);
  for (int team_size : team_sizes<Emitting>()) {
    INFO(Strategy::name << " on " << Space::name() << ", n = " << n << ", k = " << k << ", team of "
                        << team_size);
    Device<std::int32_t> const emitted(Positions(expected.size(), -1)),
        calls(Positions(expected.size(), 0)), viewed(Positions(expected.size(), -77));
    Device<std::uint64_t> const memory(
        std::vector<std::uint64_t>(std::size_t(rows) * scratch / 8 + 2, 0x0123456789abcdef));
    Kokkos::parallel_for("test::select", policy_of<Strategy, Emitting>(1, rows, team_size),
                         Emitting{in.data(), n, k, emitted.data(), calls.data(),
                                  reinterpret_cast<std::byte*>(memory.data())});
    Kokkos::fence();
    Positions once;
    for (std::int32_t position : expected)
      once.push_back(position >= 0);
    bool const each_once = calls.host() == once, emits = emitted.host() == expected;
    REQUIRE(each_once);
    REQUIRE(emits);
    if (hisa::select_scratch_bytes<Strategy>(k) > (1 << 15)) // what level 0 promises
      continue;
    Kokkos::parallel_for("test::select", policy_of<Strategy, Viewing>(k, rows, team_size),
                         Viewing{in.data(), n, k, viewed.data()});
    Kokkos::fence();
    bool const views = viewed.host() == expected;
    REQUIRE(views);
  }
}

/// By every strategy, on a space that reaches the default one's memory.
template <class Space>
void require_selected_on(const Device<float>& in, std::int64_t n, std::int64_t k, int rows,
                         const Positions& expected) {
  if constexpr (Kokkos::SpaceAccessibility<Space, Exec::memory_space>::accessible) {
    require_selected_by<Space, hisa::RadixSelect>(in, n, k, rows, expected);
    require_selected_by<Space, hisa::SortSelect>(in, n, k, rows, expected);
    require_selected_by<Space, hisa::StreamSelect>(in, n, k, rows, expected);
    require_selected_by<Space, Pieces<83>>(in, n, k, rows, expected);
    if (n < 1500)
      require_selected_by<Space, CountSelect>(in, n, k, rows, expected);
  }
}

void require_selected(const Scores& scores, std::int64_t k, const Positions& expected,
                      int rows = 1) {
  Device<float> const in(scores);
  std::int64_t const n = std::int64_t(scores.size()) / rows;
  require_selected_on<Exec>(in, n, k, rows, expected);
#ifdef KOKKOS_ENABLE_SERIAL
  if (!std::is_same_v<Exec, Kokkos::Serial>)
    require_selected_on<Kokkos::Serial>(in, n, k, rows, expected);
#endif
#ifdef KOKKOS_ENABLE_OPENMP
  if (!std::is_same_v<Exec, Kokkos::OpenMP>)
    require_selected_on<Kokkos::OpenMP>(in, n, k, rows, expected);
#endif
#ifdef KOKKOS_ENABLE_THREADS
  if (!std::is_same_v<Exec, Kokkos::Threads>)
    require_selected_on<Kokkos::Threads>(in, n, k, rows, expected);
#endif
}

/// One row, for several k.
void require_exact(const Scores& scores, const std::vector<std::int64_t>& topk) {
  for (std::int64_t k : topk)
    require_selected(scores, k, expected_positions(scores, k));
}

/// n - 1, n, n + 1 and the like around interesting numbers of selected scores.
std::vector<std::int64_t> around(const std::vector<std::int64_t>& numbers) {
  std::vector<std::int64_t> out;
  for (std::int64_t number : numbers)
    for (std::int64_t k : {number - 1, number, number + 1})
      if (k > 0)
        out.push_back(k);
  return out;
}

Scores normal_scores(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Scores scores(n);
  for (float& s : scores)
    s = normal(random);
  return scores;
}

} // namespace

TEST_CASE("random scores, any k from 1 to beyond n") {
  require_exact(normal_scores(1000, 1),
                {1, 2, 3, 7, 64, 255, 256, 257, 511, 999, 1000, 1001, 2000});
}

TEST_CASE("no scores and no room") {
  require_selected({}, 5, Positions(5, -1));
  require_selected({1, 2, 3}, 0, {});
  require_selected({NaN}, 1, {0});
}

TEST_CASE("n sweeps from k to 2k (vllm 50576)") {
  for (std::int64_t k : {1, 2, 13, 64})
    for (std::int64_t n = k - 1; n <= 2 * k + 1; ++n)
      require_exact(normal_scores(std::size_t(n), unsigned(n)), {k});
}

TEST_CASE("n = k - 1, k, k + 1, 2k at the sizes of serving") {
  for (std::int64_t k : {129, 512, 2048, 2049})
    for (std::int64_t n : {k - 1, k, k + 1, 2 * k})
      require_exact(normal_scores(std::size_t(n), unsigned(n)), {k});
}

TEST_CASE("odd k and ragged n (cudnn-frontend 406)") {
  for (std::size_t n : {31, 33, 65, 127, 1023, 4097, 4099})
    require_exact(normal_scores(n, unsigned(n)), {1, 3, 5, 31, 63, 101, 1021});
}

TEST_CASE("all equal: the lowest positions") {
  for (float value : {0.0f, -0.0f, 1.0f, -1.0f, inf, -inf, NaN, -NaN, denormal, -denormal})
    require_exact(Scores(100, value), {1, 2, 77, 99, 100, 101});
  for (float value : {-0.0f, inf, NaN})
    require_exact(Scores(5000, value), {1, 100, 4096, 4999});
}

TEST_CASE("a plateau of ReLU zeros at the boundary: the lowest zeros (sglang 31115, 35257)") {
  Scores scores(8192, 0.0f);
  std::mt19937 random(3);
  for (std::size_t i = 0; i < 500; ++i)
    scores[random() % 8192] = 1.0f + float(random() % 100);
  std::int64_t const winners =
      std::int64_t(std::count_if(scores.begin(), scores.end(), [](float s) { return s > 0; }));
  require_exact(scores, around({1, winners, winners + 1000, 2048, 8191}));
}

TEST_CASE("a plateau above negative scores: half of the weights are negative") {
  std::mt19937 random(4);
  Scores scores;
  for (int i = 0; i < 6000; ++i)
    scores.push_back(float(int(random() % 3) - 1) * float(random() % 4));
  require_exact(scores, around({500, 1000, 2048, 3000, 4500, 6000}));
}

TEST_CASE("plus and minus zero are one plateau in any mixture") {
  std::mt19937 random(5);
  Scores scores;
  for (int i = 0; i < 3000; ++i)
    scores.push_back(random() % 2 ? 0.0f : -0.0f);
  require_exact(scores, {1, 2, 1499, 1500, 2048, 2999});
  std::sort(scores.begin(), scores.end(), [](float a, float b) { // all -0 first, then all +0
    return std::signbit(a) && !std::signbit(b);
  });
  require_exact(scores, {1, 700, 1500, 2048});
  std::reverse(scores.begin(), scores.end());
  require_exact(scores, {1, 700, 1500, 2048});
  for (std::size_t i = 0; i < 3000; i += 7) // between the smallest of either sign
    scores[i] = i % 2 ? denormal : -denormal;
  require_exact(scores, around({100, 214, 2571, 2900}));
}

TEST_CASE("the plateau's choice is the same over 1000 repeats") {
  Scores scores;
  for (int i = 0; i < 600; ++i)
    scores.push_back(i % 5 == 0 ? 1.0f : (i % 2 ? 0.0f : -0.0f));
  Positions const expected = expected_positions(scores, 256);
  int const rows = 1000;
  Scores all;
  Positions all_expected;
  for (int r = 0; r < rows; ++r) {
    all.insert(all.end(), scores.begin(), scores.end());
    all_expected.insert(all_expected.end(), expected.begin(), expected.end());
  }
  require_selected(all, 256, all_expected, rows);
}

TEST_CASE("rows of -inf (cudnn-frontend 446): an index is always a position") {
  Scores scores(2500, -inf);
  require_exact(scores, {1, 2048, 2499, 2500, 2501});
  scores[2499] = -3e38f;
  scores[1200] = -1.0f;
  require_exact(scores, {1, 2, 3, 2048});
}

TEST_CASE("NaN comes after -inf, whatever its sign and payload (vllm 49896)") {
  std::mt19937 random(6);
  Scores scores;
  for (int i = 0; i < 4000; ++i) {
    std::uint32_t const payload = 0x7f800001u + std::uint32_t(random()) % 0x7fffffu;
    switch (random() % 4) {
    case 0:
      scores.push_back(std::bit_cast<float>(payload));
      break;
    case 1:
      scores.push_back(std::bit_cast<float>(payload | 0x80000000u));
      break;
    case 2:
      scores.push_back(-inf);
      break;
    default:
      scores.push_back(random() % 2 ? inf : float(random() % 9));
    }
  }
  std::int64_t const numbers =
      std::int64_t(std::count_if(scores.begin(), scores.end(), [](float s) { return s > -inf; }));
  std::int64_t const not_nan = std::int64_t(
      std::count_if(scores.begin(), scores.end(), [](float s) { return !std::isnan(s); }));
  require_exact(scores, around({1, numbers, not_nan, 3500, 4000}));
}

TEST_CASE("exactly k and k + 1 equal at the threshold") {
  std::int64_t const k = 300;
  for (float threshold : {1.0f, 0.0f, -0.0f, -2.0f, denormal, -inf, NaN})
    for (std::int64_t above : {std::int64_t(0), std::int64_t(1), k / 2, k - 1})
      for (std::int64_t equal : {k - above, k - above + 1, std::int64_t(2 * k)}) {
        // Better scores behind the equal ones, worse ones before and after (there are none for
        // NaN).
        Scores scores(50, std::isnan(threshold) || threshold == -inf ? threshold : -1e30f);
        scores.resize(scores.size() + std::size_t(equal), threshold);
        scores.resize(scores.size() + std::size_t(above), 100.0f);
        scores.resize(scores.size() + 40, std::isnan(threshold) ? NaN : -inf);
        require_exact(scores, {k});
      }
}

TEST_CASE("more winners than a 4096-entry buffer holds (sglang 36807, 37893, 38144)") {
  // All scores share sign, exponent and leading bits; winners arrive late, so that a buffer of any
  // size below n is full of losers first.
  for (std::size_t n : {4095, 4096, 4097, 12000, 40000}) {
    Scores ascending;
    for (std::size_t i = 0; i < n; ++i)
      ascending.push_back(1.0f + float(i) * 0x1p-20f);
    require_exact(ascending, {1, 512, 2048, 4096});
    std::reverse(ascending.begin(), ascending.end());
    require_exact(ascending, {2048});
    std::shuffle(ascending.begin(), ascending.end(), std::mt19937(7));
    require_exact(ascending, {2047, 2048});
  }
}

TEST_CASE("16384 and 16385 scores in one bin (vllm 51782, 52149; flashinfer 2604)") {
  for (std::size_t n : {16383, 16384, 16385, 20000})
    for (float bin : {1.0f, -1.0f, 0x1p-126f, 2.0f}) {
      std::mt19937 random(8);
      auto const upper = std::bit_cast<std::uint32_t>(bin);
      Scores last_bits, last_byte, few;
      for (std::size_t i = 0; i < n; ++i) {
        last_bits.push_back(std::bit_cast<float>(upper | (std::uint32_t(random()) & 0xffffu)));
        last_byte.push_back(std::bit_cast<float>(upper | (std::uint32_t(random()) & 0xffu)));
        few.push_back(std::bit_cast<float>(upper | (std::uint32_t(random()) & 1u)));
      }
      require_exact(last_bits, {2048});
      require_exact(last_byte, {2048});
      require_exact(few, {2048, 16383});
      require_exact(Scores(n, bin), {2048, 16384});
    }
}

TEST_CASE("bits that differ in one digit only, in each digit") {
  for (int shift : {0, 8, 16, 24})
    for (std::uint32_t base : {0x3f800000u, 0x00000000u, 0xbf8f0f0fu}) {
      std::mt19937 random(9);
      Scores scores;
      for (int i = 0; i < 3000; ++i)
        scores.push_back(std::bit_cast<float>(base ^ ((std::uint32_t(random()) & 0x7fu) << shift)));
      require_exact(scores, {1, 1000, 2999});
    }
}

TEST_CASE("denormals are told apart, from each other and from zero") {
  std::mt19937 random(10);
  Scores scores;
  for (int i = 0; i < 2000; ++i) {
    std::uint32_t const magnitude = std::uint32_t(random()) % 1000u;
    scores.push_back(std::bit_cast<float>(magnitude | (random() % 2 ? 0x80000000u : 0u)));
  }
  require_exact(scores, {1, 500, 998, 1000, 1003, 1999});
}

TEST_CASE("every bit pattern is a legal score") {
  std::mt19937 random(11);
  for (int repeat = 0; repeat < 10; ++repeat) {
    Scores scores;
    for (int i = 0; i < 3000; ++i)
      scores.push_back(std::bit_cast<float>(std::uint32_t(random())));
    require_exact(scores, {1, 17, 1500, 2048, 2990});
  }
}

TEST_CASE("values beyond the range of fp16 and at the ends of fp32's") {
  Scores scores;
  for (int i = 0; i < 3000; ++i)
    scores.push_back(std::ldexp(i % 2 ? 1.0f + float(i) * 1e-3f : -1.0f, i % 250 - 125));
  scores[5] = std::numeric_limits<float>::max();
  scores[6] = std::numeric_limits<float>::lowest();
  require_exact(scores, {1, 5, 100, 2048, 2999});
}

TEST_CASE("rows of one launch do not disturb each other") {
  std::int64_t const n = 700, k = 123;
  int const rows = 64;
  Scores all;
  Positions expected;
  for (int r = 0; r < rows; ++r) {
    Scores const row = r % 3 ? normal_scores(std::size_t(n), unsigned(r)) : Scores(700, float(r));
    all.insert(all.end(), row.begin(), row.end());
    Positions const best = expected_positions(row, k);
    expected.insert(expected.end(), best.begin(), best.end());
  }
  require_selected(all, k, expected, rows);
}

TEST_CASE("arrival orders that make a stream compact as often as can be") {
  for (std::int64_t k : {1, 5, 100, 512, 700})
    for (std::size_t n : {511, 512, 513, 1800, 5000}) {
      Scores ascending, saw, plateau, steps;
      for (std::size_t i = 0; i < n; ++i) {
        steps.push_back(std::bit_cast<float>(0x3f800000u + std::uint32_t(i) / 7)); // neighbours
        ascending.push_back(float(i));
        saw.push_back(float(i % 613) +
                      float(i / 613) * 0.5f); // each tooth beats the last by little
        plateau.push_back(i < n / 2 ? 1.0f
                                    : float(i % 2) + 1.0f); // equals first, then half of them
      }
      Scores late(n, -1.0f); // the winners come last, all equal
      std::fill(late.end() - std::ptrdiff_t(std::min<std::size_t>(n, std::size_t(k) + 1)),
                late.end(), 2.0f);
      Scores nan_first(n, NaN); // the buffer fills with NaN, which everything precedes
      for (std::size_t i = n / 3; i < n; ++i)
        nan_first[i] = -inf;
      for (const Scores& scores : {ascending, saw, plateau, steps, late, nan_first})
        require_exact(scores, {k});
    }
}

TEST_CASE("ten million scores (vllm 46074), and k beyond 2^20") {
  std::size_t const n = 10'000'019;
  Scores scores(n, 1.0f);
  Positions const winners{0, 325'001, 524'288, 8'388'609, 9'999'999, std::int32_t(n - 1)};
  for (std::int32_t i : winners)
    scores[std::size_t(i)] = std::nextafter(1.0f, 2.0f);
  require_selected(scores, 6, winners);

  std::size_t const k = 1'500'001; // the winners and the first of the others
  Positions expected;
  for (std::int32_t i = 0; expected.size() < k - 3; ++i)
    expected.push_back(i);
  expected.insert(expected.end(), winners.end() - 3, winners.end());
  require_selected(scores, std::int64_t(k), expected);
}
