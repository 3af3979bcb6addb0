// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A dump is loaded whole or refused with a sentence that says what and where.
#include "../tools/dump.hpp"

#include "support/make_safetensors.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <limits>

namespace fs = std::filesystem;
using namespace hisa::tools;
using hisa::test::FileBuilder;
using hisa::test::raw;
using hisa::test::raw_file;
using hisa::test::read_file;
using hisa::test::small_dump;
using hisa::test::TemporaryFolder;

namespace {

using I32 = std::int32_t;
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

/// What load_dump says of @p file; empty if it accepts it.
std::string refusal(const fs::path& file) {
  try {
    const Dump accepted = load_dump(file);
    return {};
  } catch (const BadInput& error) {
    return error.what();
  }
}

void check_refused(const FileBuilder& builder, const std::vector<std::string>& words) {
  const TemporaryFolder folder;
  const auto file = folder.write("bad.safetensors", builder.file());
  const std::string sentence = refusal(file);
  INFO("said: " << sentence);
  CHECK(sentence.starts_with(file.string() + ": "));
  for (const std::string& word : words) {
    INFO("wanted: " << word);
    CHECK(sentence.find(word) != std::string::npos);
  }
}

Dump load(const FileBuilder& builder, std::size_t skew = 0) {
  const TemporaryFolder folder; // the mapping outlives the name
  return load_dump(folder.write("good.safetensors", builder.file(true, skew)));
}

template <class T>
std::string raw_span(std::span<const T> span) {
  return raw(std::vector<T>(span.begin(), span.end()));
}

/// Everything in @p dump as bytes.
std::string contents(const Dump& dump) {
  std::string out = raw_span(dump.q) + raw_span(dump.w) + raw_span(dump.k) +
                    raw_span(dump.k_scale) + raw_span(dump.pos);
  if (dump.attention)
    out += raw_span(dump.attention->rows) + raw_span(dump.attention->values);
  if (dump.needles)
    out += raw_span(dump.needles->rows) + raw_span(dump.needles->ranges);
  return out;
}

fs::path examples() {
#ifdef HISA_EXAMPLE_DATA
  return HISA_EXAMPLE_DATA;
#else
  return fs::absolute(__FILE__).parent_path().parent_path() / "examples" / "data";
#endif
}

} // namespace

TEST_CASE("a valid dump is loaded", "[dump]") {
  const Dump dump = load(small_dump());
  CHECK(dump.queries == 3);
  CHECK(dump.heads == 2);
  CHECK(dump.head_dim == 4);
  CHECK(dump.keys == 5);
  CHECK(dump.metadata == Metadata{{"name", "small"}});
  CHECK(dump.q.size() == 24);
  CHECK(dump.q[3].bits == 3 * 37);
  CHECK(dump.k.size() == 20);
  CHECK(dump.k[2].bits == 2 * 37);
  CHECK(std::ranges::equal(dump.w, std::vector{0.5F, -0.25F, 1.0F, 0.0F, -2.0F, 3.0F}));
  CHECK(std::ranges::equal(dump.k_scale, std::vector{1.0F, 0.5F, 0.25F, 2.0F, 1e-40F}));
  CHECK(std::ranges::equal(dump.pos, std::vector<I32>{0, 3, 4}));
  REQUIRE(dump.attention);
  CHECK(std::ranges::equal(dump.attention->rows, std::vector<I32>{0, 2}));
  REQUIRE(dump.attention->values.size() == 10);
  CHECK(dump.attention->values[4].bits == 0x7bff);
  REQUIRE(dump.needles);
  CHECK(std::ranges::equal(dump.needles->rows, std::vector<I32>{2, 0}));
  REQUIRE(dump.needles->ranges.size() == 2);
  CHECK(dump.needles->ranges[1] == std::array<I32, 2>{4, 5});
}

TEST_CASE("a dump is the same at any alignment", "[dump]") {
  const std::string expected = contents(load(small_dump()));
  for (std::size_t skew = 1; skew < 8; ++skew) {
    const Dump dump = load(small_dump(), skew);
    CHECK(contents(dump) == expected);
    CHECK(reinterpret_cast<std::uintptr_t>(dump.w.data()) % alignof(float) == 0);
  }
  // Odd bytes first: every tensor behind them is misaligned although the data start is not.
  FileBuilder odd = small_dump();
  odd.set<std::uint8_t>("unused", "U8", {1}, {0}).first("unused");
  CHECK(contents(load(odd)) == expected);
}

TEST_CASE("a dump stays valid in copies", "[dump]") {
  std::optional<Dump> dump = load(small_dump(), 1);
  const std::string expected = contents(*dump);
  const Dump copy = *dump;
  dump.reset();
  CHECK(contents(copy) == expected);
}

TEST_CASE("attention and needles are optional", "[dump]") {
  FileBuilder none = small_dump();
  none.remove("attn").remove("attn_rows").remove("needle").remove("needle_row");
  CHECK_FALSE(load(none).attention);
  CHECK_FALSE(load(none).needles);
  FileBuilder empty = small_dump();
  empty.set<I32>("needle", "I32", {0, 2}, {}).set<I32>("needle_row", "I32", {0}, {});
  empty.set<std::uint16_t>("attn", "F16", {0, 5}, {}).set<I32>("attn_rows", "I32", {0}, {});
  CHECK_FALSE(load(empty).attention);
  CHECK_FALSE(load(empty).needles);
}

TEST_CASE("NaN codes in q and k are the contract's business", "[dump]") {
  FileBuilder codes = small_dump();
  codes.set("q", "F8_E4M3", {3, 2, 4}, std::vector<std::uint8_t>(24, 0x7f));
  codes.set("k", "F8_E4M3", {5, 4}, std::vector<std::uint8_t>(20, 0xff));
  CHECK(load(codes).q[0].bits == 0x7f);
}

TEST_CASE("missing tensors are refused", "[dump]") {
  for (const std::string name : {"q", "w", "k", "k_scale", "pos"})
    check_refused(small_dump().remove(name), {"tensor `" + name + "` is missing"});
  for (const auto& [gone, left] : {std::pair<std::string, std::string>{"attn", "attn_rows"},
                                   {"attn_rows", "attn"},
                                   {"needle", "needle_row"},
                                   {"needle_row", "needle"}})
    check_refused(small_dump().remove(gone),
                  {"tensor `" + left + "` needs tensor `" + gone + "`, which is missing"});
}

TEST_CASE("wrong dtypes are refused", "[dump]") {
  const auto floats = [](std::size_t n) { return std::vector<float>(n, 1.0F); };
  const auto halves = [](std::size_t n) { return std::vector<std::uint16_t>(n, 1); };
  const auto bytes = [](std::size_t n) { return std::vector<std::uint8_t>(n, 1); };
  check_refused(small_dump().set("q", "F8_E5M2", {3, 2, 4}, bytes(24)),
                {"`q` is F8_E5M2 [3, 2, 4]", "expected F8_E4M3 [M, H, D]"});
  check_refused(small_dump().set("k", "BF16", {5, 4}, halves(20)),
                {"`k` is BF16 [5, 4]", "expected F8_E4M3 [N, D = 4]"});
  check_refused(small_dump().set("w", "F16", {3, 2}, halves(6)),
                {"`w` is F16 [3, 2]", "expected F32 [M = 3, H = 2]"});
  check_refused(small_dump().set("k_scale", "I32", {5}, floats(5)),
                {"`k_scale` is I32 [5]", "expected F32 [N = 5]"});
  check_refused(small_dump().set("pos", "U32", {3}, floats(3)),
                {"`pos` is U32 [3]", "expected I32 [M = 3]"});
  check_refused(small_dump().set("attn", "BF16", {2, 5}, halves(10)),
                {"`attn` is BF16 [2, 5]", "expected F16 [A, N = 5]"});
  check_refused(small_dump().set("attn_rows", "F32", {2}, floats(2)),
                {"`attn_rows` is F32 [2]", "expected I32 [A = 2]"});
  check_refused(small_dump().set("needle", "F32", {2, 2}, floats(4)),
                {"`needle` is F32 [2, 2]", "expected I32 [n, 2]"});
  check_refused(small_dump().set("needle_row", "F32", {2}, floats(2)),
                {"`needle_row` is F32 [2]", "expected I32 [n = 2]"});
}

TEST_CASE("wrong ranks and shapes are refused", "[dump]") {
  const auto refused = [](const std::string& name, const std::string& dtype,
                          const std::vector<std::int64_t>& shape, const std::string& expected) {
    std::size_t size = *dtype_size(dtype);
    for (std::int64_t extent : shape)
      size *= static_cast<std::size_t>(extent);
    INFO(name << " " << display(shape));
    check_refused(small_dump().set(name, dtype, shape, std::vector<std::uint8_t>(size)),
                  {"tensor `" + name + "` is " + dtype + " " + display(shape),
                   "expected " + dtype + " " + expected});
  };
  refused("q", "F8_E4M3", {3, 8}, "[M, H, D]");
  refused("q", "F8_E4M3", {1, 3, 2, 4}, "[M, H, D]");
  refused("q", "F8_E4M3", {}, "[M, H, D]");
  refused("k", "F8_E4M3", {20}, "[N, D = 4]");
  refused("k", "F8_E4M3", {4, 5}, "[N, D = 4]");
  refused("w", "F32", {6}, "[M = 3, H = 2]");
  refused("w", "F32", {2, 3}, "[M = 3, H = 2]");
  refused("w", "F32", {3, 2, 1}, "[M = 3, H = 2]");
  refused("k_scale", "F32", {4}, "[N = 5]");
  refused("k_scale", "F32", {5, 1}, "[N = 5]");
  refused("pos", "I32", {2}, "[M = 3]");
  refused("pos", "I32", {}, "[M = 3]");
  refused("attn", "F16", {2, 4}, "[A, N = 5]");
  refused("attn", "F16", {10}, "[A, N = 5]");
  refused("attn_rows", "I32", {3}, "[A = 2]");
  refused("needle", "I32", {2, 3}, "[n, 2]");
  refused("needle", "I32", {4}, "[n, 2]");
  refused("needle_row", "I32", {1}, "[n = 2]");
}

TEST_CASE("empty extents are refused", "[dump]") {
  const std::vector<std::uint8_t> none;
  const auto q = [&](std::int64_t m, std::int64_t h, std::int64_t d) {
    return small_dump().set("q", "F8_E4M3", {m, h, d}, none);
  };
  check_refused(q(0, 2, 4), {"tensor `q` has shape [0, 2, 4]", "M must be from 1 to 2147483647"});
  check_refused(q(3, 0, 4), {"tensor `q`", "H must be from 1"});
  check_refused(q(3, 2, 0), {"tensor `q`", "D must be from 1"});
  check_refused(small_dump().set("k", "F8_E4M3", {0, 4}, none), {"tensor `k`", "N must be from 1"});
}

TEST_CASE("extents beyond int32 are refused before the data are read", "[dump]") {
  const TemporaryFolder folder;
  constexpr std::uint64_t huge = std::uint64_t{1} << 31;
  const std::string header = R"({"q":{"dtype":"F8_E4M3","shape":[2147483648,1,1],)"
                             R"("data_offsets":[0,2147483648]}})";
  const auto file = folder.write("huge", raw_file(header));
  std::error_code error;
  fs::resize_file(file, 8 + header.size() + huge, error); // sparse
  if (error)
    SKIP("no sparse file of 2 GiB can be made here: " << error.message());
  const std::string said = refusal(file);
  INFO(said);
  CHECK(said.find("M must be from 1 to 2147483647") != std::string::npos);
}

TEST_CASE("weights that are not finite are refused", "[dump]") {
  const float bad = GENERATE(nan, infinity, -infinity);
  check_refused(small_dump().set<float>("w", "F32", {3, 2}, {1, 1, 1, bad, bad, 1}),
                {"w[1, 1] is ", "finite weight"});
}

TEST_CASE("scales that are not positive and finite are refused", "[dump]") {
  const float bad = GENERATE(nan, infinity, -infinity, 0.0F, -0.0F, -1.5F);
  check_refused(small_dump().set<float>("k_scale", "F32", {5}, {1, 1, bad, 1, bad}),
                {"k_scale[2] is ", "finite positive scale"});
  check_refused(small_dump().set<float>("k_scale", "F32", {5}, {1, 1, 1, 1, -1.5F}),
                {"k_scale[4] is -1.5,"});
}

TEST_CASE("indices out of range are refused", "[dump]") {
  const I32 low = std::numeric_limits<I32>::min(), high = std::numeric_limits<I32>::max();
  for (I32 bad : {-1, 5, low, high})
    check_refused(small_dump().set<I32>("pos", "I32", {3}, {4, bad, bad}),
                  {"pos[1] is " + std::to_string(bad) + ",", "less than N = 5"});
  for (I32 bad : {-1, 3, low, high}) {
    check_refused(small_dump().set<I32>("attn_rows", "I32", {2}, {2, bad}),
                  {"attn_rows[1] is " + std::to_string(bad) + ",", "less than M = 3"});
    check_refused(small_dump().set<I32>("needle_row", "I32", {2}, {bad, bad}),
                  {"needle_row[0] is " + std::to_string(bad) + ",", "less than M = 3"});
  }
}

TEST_CASE("needle ranges outside the keys are refused", "[dump]") {
  const auto [begin, end] =
      GENERATE(std::pair<I32, I32>{-1, 2}, std::pair<I32, I32>{2, 2}, std::pair<I32, I32>{3, 2},
               std::pair<I32, I32>{4, 6}, std::pair<I32, I32>{5, 6}, std::pair<I32, I32>{0, -1});
  check_refused(small_dump().set<I32>("needle", "I32", {2, 2}, {0, 5, begin, end}),
                {"needle[1] is [" + std::to_string(begin) + ", " + std::to_string(end) + ")",
                 "0 <= begin < end <= N = 5"});
}

TEST_CASE("attention that is negative or not finite is refused", "[dump]") {
  const auto [bits, word] = GENERATE(
      std::pair<int, std::string>{0x7c00, "infinite"}, std::pair<int, std::string>{0xfc00, "inf"},
      std::pair<int, std::string>{0x7c01, "nan"}, std::pair<int, std::string>{0xfe00, "nan"},
      std::pair<int, std::string>{0x8001, "negative"},
      std::pair<int, std::string>{0xbc00, "negative"});
  std::vector<std::uint16_t> values(10, 0x3c00);
  values[7] = values[9] = static_cast<std::uint16_t>(bits);
  check_refused(small_dump().set("attn", "F16", {2, 5}, values), {"attn[1, 2] is " + word});
}

TEST_CASE("the committed dumps load with the documented shapes", "[dump]") {
  for (const std::string name : {"code-32k-l7", "needle-32k-l4"}) {
    INFO(name);
    const Dump dump = load_dump(examples() / (name + ".safetensors"));
    CHECK(dump.queries == 64);
    CHECK(dump.heads == 64);
    CHECK(dump.head_dim == 128);
    CHECK(dump.keys == 32768);
    CHECK(dump.q.size() == 64U * 64 * 128);
    CHECK(dump.w.size() == 64U * 64);
    CHECK(dump.k.size() == 32768U * 128);
    CHECK(dump.k_scale.size() == 32768);
    CHECK(dump.pos.size() == 64);
    CHECK(std::ranges::is_sorted(dump.pos));
    CHECK(dump.metadata.at("name") == name);
    REQUIRE(dump.attention);
    CHECK(dump.attention->rows.size() == 8);
    CHECK(dump.attention->values.size() == 8U * 32768);
    CHECK(dump.needles.has_value() == (name == "needle-32k-l4"));
    if (dump.needles) {
      CHECK(dump.needles->ranges.size() == 8);
      CHECK(dump.needles->rows.size() == 8);
    }
  }
}

namespace {

/// Loads @p bytes. 1 if it is a dump, 0 if it is refused with BadInput; anything else fails the
/// test that calls. What is accepted is read to the last byte and must lie within the file.
int accepted(const TemporaryFolder& folder, const std::string& bytes) {
  const auto file = folder.write("mutant", bytes);
  try {
    const SafetensorsFile tensors(file);
    std::size_t total = 0;
    for (const std::string& name : tensors.names())
      total += tensors.tensor(name).bytes.size();
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    REQUIRE(8 + length + total == bytes.size());
    const Dump dump = load_dump(file);
    REQUIRE(contents(dump).size() < bytes.size());
    return 1;
  } catch (const BadInput& error) {
    const std::string said = error.what();
    REQUIRE(said.starts_with(file.string() + ": "));
    REQUIRE(std::ranges::none_of(said, [](char c) { return c >= 0 && c < ' '; }));
    return 0;
  }
}

} // namespace

TEST_CASE("no damage to length or header does worse than BadInput", "[dump]") {
  const TemporaryFolder folder;
  const std::string good = small_dump().file();
  REQUIRE(accepted(folder, good) == 1);
  const std::size_t header_end = good.size() - small_dump().data().size();
  int kept = 0, refused = 0;
  const auto count = [&](const std::string& bytes) {
    (accepted(folder, bytes) == 1 ? kept : refused)++;
  };
  for (std::size_t at = 0; at < header_end; ++at) {
    std::string bytes = good;
    for (int bit = 0; bit < 8; ++bit) {
      bytes[at] = static_cast<char>(good[at] ^ (1 << bit));
      count(bytes);
    }
    for (const char c : {'\0', '\xff', '"', '9', '-', '[', '}', ','}) {
      bytes[at] = c;
      count(bytes);
    }
    if (at < 8)
      continue;
    // One byte less or more in the header, its length corrected.
    std::uint64_t length = header_end - 8;
    const auto corrected = [&](std::string changed, std::uint64_t n) {
      std::memcpy(changed.data(), &n, sizeof n);
      count(changed);
    };
    corrected(std::string(good).erase(at, 1), length - 1);
    corrected(std::string(good).insert(at, 1, good[at]), length + 1);
  }
  // Some mutants are as good as the original (a changed name of the metadata, spaces).
  CHECK(kept > 0);
  CHECK(refused > kept);
}

TEST_CASE("every truncation is refused", "[dump]") {
  const TemporaryFolder folder;
  const std::string good = small_dump().file();
  int kept = 0;
  for (std::size_t size = 0; size < good.size(); ++size)
    kept += accepted(folder, good.substr(0, size));
  CHECK(kept == 0);
  CHECK(accepted(folder, good + '\0') == 0);
}
