// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The safetensors reader refuses every broken file with a sentence, and the writer round-trips.
#include "../tools/safetensors.hpp"

#include "support/make_safetensors.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <csignal>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace hisa::tools;
using hisa::test::FileBuilder;
using hisa::test::raw;
using hisa::test::raw_file;
using hisa::test::read_file;
using hisa::test::TemporaryFolder;

namespace {

/// What the reader says of @p file; empty if it accepts it.
std::string refusal(const fs::path& file) {
  try {
    const SafetensorsFile accepted(file);
    return {};
  } catch (const BadInput& error) {
    return error.what();
  }
}

/// One line that names the file first and holds every one of @p words.
void check_sentence(const std::string& sentence, const fs::path& file,
                    const std::vector<std::string>& words) {
  INFO("said: " << sentence);
  CHECK(sentence.starts_with(file.string() + ": "));
  CHECK(std::ranges::none_of(sentence, [](char c) { return c >= 0 && c < ' '; }));
  for (const std::string& word : words) {
    INFO("wanted: " << word);
    CHECK(sentence.find(word) != std::string::npos);
  }
}

void check_refused(const std::string& bytes, const std::vector<std::string>& words) {
  const TemporaryFolder folder;
  const auto file = folder.write("bad.safetensors", bytes);
  check_sentence(refusal(file), file, words);
}

void check_accepted(const std::string& bytes) {
  const TemporaryFolder folder;
  CHECK(refusal(folder.write("good.safetensors", bytes)) == "");
}

/// A file of one tensor `x` with this entry and four data bytes.
std::string with_entry(const std::string& entry) {
  return raw_file(R"({"x":{)" + entry + "}}", "abcd");
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

FileBuilder two_tensors() {
  FileBuilder out;
  out.prefix(R"("__metadata__":{"who":"me","what":"a \"test\""})");
  out.set<float>("a", "F32", {2, 3}, {0, 1, 2, 3, 4, 5});
  out.set<std::int16_t>("b", "I16", {3}, {-1, 0, 1});
  return out;
}

} // namespace

TEST_CASE("a valid file gives its tensors and metadata", "[safetensors]") {
  const TemporaryFolder folder;
  std::optional<SafetensorsFile> opened(folder.write("good", two_tensors().file()));
  const SafetensorsFile file = std::move(*opened);
  opened.reset(); // the mapping has moved
  CHECK(file.names() == std::vector<std::string>{"a", "b"});
  CHECK(file.metadata() == Metadata{{"who", "me"}, {"what", "a \"test\""}});
  CHECK(file.contains("a"));
  CHECK_FALSE(file.contains("c"));
  CHECK_FALSE(file.contains("__metadata__"));
  const TensorView& a = file.tensor("a");
  CHECK(a.name == "a");
  CHECK(a.dtype == "F32");
  CHECK(a.shape == std::vector<std::int64_t>{2, 3});
  REQUIRE(a.fits<float>());
  CHECK(std::ranges::equal(a.as<float>(), std::vector<float>{0, 1, 2, 3, 4, 5}));
  CHECK(std::ranges::equal(file.tensor("b").as<std::int16_t>(), std::vector{-1, 0, 1}));
  CHECK_FALSE(a.fits<std::int16_t>());
  CHECK_THROWS_AS(a.as<double>(), std::logic_error);
  std::vector<float> short_copy(5);
  CHECK_THROWS_AS(a.copy_to(std::span(short_copy)), std::logic_error);
}

TEST_CASE("a missing tensor is named", "[safetensors]") {
  const TemporaryFolder folder;
  const SafetensorsFile file(folder.write("good", two_tensors().file()));
  try {
    static_cast<void>(file.tensor("q"));
    FAIL("must throw");
  } catch (const BadInput& error) {
    CHECK(error.what() == file.path().string() + ": tensor `q` is missing");
  }
}

TEST_CASE("misaligned data are copied, not viewed", "[safetensors]") {
  const std::size_t skew = GENERATE(1U, 2U, 3U);
  const TemporaryFolder folder;
  const SafetensorsFile file(folder.write("odd", two_tensors().file(true, skew)));
  const TensorView& a = file.tensor("a");
  CHECK_FALSE(a.fits<float>());
  CHECK_THROWS_AS(a.as<float>(), std::logic_error);
  std::vector<float> copy(6);
  a.copy_to(std::span(copy));
  CHECK(copy == std::vector<float>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("unusual but valid files are accepted", "[safetensors]") {
  check_accepted(raw_file("{}"));
  check_accepted(raw_file("{}   "));
  check_accepted(raw_file(R"({"__metadata__":{}})"));
  // A scalar, and tensors of no bytes at the start, between two others and at the end.
  check_accepted(raw_file(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", "abcd"));
  check_accepted(raw_file(R"({"z":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
                          R"("s":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                          R"("y":{"dtype":"F32","shape":[0],"data_offsets":[2,2]},)"
                          R"("t":{"dtype":"U8","shape":[2],"data_offsets":[2,4]},)"
                          R"("x":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
                          "abcd"));
  // Names in another order than the data; fields that the format may add one day.
  check_accepted(raw_file(R"({"b":{"data_offsets":[2,4],"dtype":"I16","shape":[1]},)"
                          R"("a":{"shape":[2],"extra":{"dtype":[1,{"x":-1.5}],"y":null},)"
                          R"("more":[[],{}],"note":"-","dtype":"U8","data_offsets":[0,2]}})",
                          "abcd"));
  const std::string dtypes[] = {"BOOL", "U8",  "I8",  "F8_E4M3", "F8_E5M2", "I16", "U16", "F16",
                                "BF16", "I32", "U32", "F32",     "F64",     "I64", "U64"};
  const std::int64_t per_dtype[] = {1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8, 8};
  for (std::size_t i = 0; i < std::size(dtypes); ++i) {
    INFO(dtypes[i]);
    CHECK(dtype_size(dtypes[i]) == static_cast<std::size_t>(per_dtype[i]));
    check_accepted(with_entry("\"dtype\":\"" + dtypes[i] + "\",\"shape\":[" +
                              std::to_string(8 / per_dtype[i]) + "],\"data_offsets\":[0,8]") +
                   "efgh");
  }
}

TEST_CASE("what is no readable regular file is refused", "[safetensors]") {
  const TemporaryFolder folder;
  const auto missing = folder.path() / "missing";
  check_sentence(refusal(missing), missing, {"no such file"});
  check_sentence(refusal(folder.path()), folder.path(), {"is a directory"});
  check_sentence(refusal("/dev/null"), "/dev/null", {"not a regular file"});
  const auto fifo = folder.path() / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  check_sentence(refusal(fifo), fifo, {"not a regular file"}); // and does not wait for a writer
  const auto below = folder.write("file", "x") / "below";
  check_sentence(refusal(below), below, {"cannot be opened", "Not a directory"});
  CHECK(refusal(fs::path("a\nb")) == "a\\x0ab: there is no such file");
}

TEST_CASE("a file without permission is refused", "[safetensors]") {
  const TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms::all);
  const auto file = folder.write("secret", two_tensors().file());
  fs::permissions(file, fs::perms::none);
  const bool root = ::geteuid() == 0;
  if (root && ::seteuid(65534) != 0)
    SKIP("root cannot become another user here, and root may read everything");
  const std::string said = refusal(file);
  if (root)
    REQUIRE(::seteuid(0) == 0);
  check_sentence(said, file, {"cannot be opened", "Permission denied"});
}

TEST_CASE("a wrong header length is refused", "[safetensors]") {
  check_refused("", {"empty"});
  check_refused("1234567", {"7 bytes", "shorter than the 8 bytes"});
  check_refused(std::string(8, '\0'), {"byte 8", "not a JSON object"});
  check_refused(raw_file("{}", "", 3), {"header length 3", "beyond the file of 10 bytes"});
  check_refused(raw_file("{}", "", ~std::uint64_t{0}),
                {"header length 18446744073709551615", "beyond the file"});
  check_refused(raw_file("{}", "", ~std::uint64_t{7}), {"beyond the file"});
}

TEST_CASE("a header beyond the limit is refused unread", "[safetensors]") {
  const TemporaryFolder folder;
  const auto file = folder.write("huge", raw_file("{}", "", SafetensorsFile::max_header + 1));
  fs::resize_file(file, SafetensorsFile::max_header + 100); // sparse
  check_sentence(refusal(file), file, {"header length 100000001", "exceeds the limit"});
}

TEST_CASE("a header that is not a JSON object is refused", "[safetensors]") {
  check_refused(raw_file("[]"), {"byte 8", "not a JSON object"});
  check_refused(raw_file(" {}"), {"byte 8", "not a JSON object"});
  check_refused(raw_file("\xef\xbb\xbf{}"), {"byte 8", "not a JSON object"});
  check_refused(raw_file("{"), {"not valid JSON at byte"});
  check_refused(raw_file("{}}"), {"not valid JSON at byte 10"});
  check_refused(raw_file("{} {}"), {"not valid JSON at byte 11"});
  check_refused(raw_file("{]"), {"not valid JSON at byte 9"});
  check_refused(raw_file("{\"a\":\"\xff\"}"), {"not valid JSON"});
  check_refused(raw_file("{\"a\":1e999}"), {"not valid JSON"});
  check_refused(raw_file("{\"a\":NaN}"), {"not valid JSON"});
  check_refused(raw_file("{/**/}"), {"not valid JSON"});
  check_refused(raw_file(std::string("{}\0garbage", 10)), {"not valid JSON at byte 10"});
  check_refused(raw_file(std::string("{}\0", 3)), {"not valid JSON at byte 10"});
}

TEST_CASE("values of a wrong JSON type are refused", "[safetensors]") {
  check_refused(raw_file(R"({"x":1})"), {"tensor `x` holds 1", "expected an object"});
  check_refused(raw_file(R"({"x":[]})"), {"tensor `x` holds a list", "expected an object"});
  check_refused(raw_file(R"({"x":"y"})"), {"tensor `x` holds the string `y`", "an object"});
  check_refused(raw_file(R"({"x":null})"), {"tensor `x` holds null", "expected an object"});
  check_refused(raw_file(R"({"__metadata__":true})"), {"`__metadata__` holds true", "an object"});
  check_refused(raw_file(R"({"__metadata__":{"a":1}})"), {"`a`", "holds 1", "expected a string"});
  check_refused(raw_file(R"({"__metadata__":{"a":{}}})"), {"`a`", "an object", "a string"});
  check_refused(raw_file(R"({"__metadata__":{"a":["b"]}})"), {"`a`", "a list", "a string"});
  check_refused(with_entry(R"("dtype":8)"), {"`dtype` of tensor `x` holds 8", "a string"});
  check_refused(with_entry(R"("dtype":["F32"])"), {"`dtype` of tensor `x` holds a list"});
  check_refused(with_entry(R"("dtype":{})"), {"`dtype` of tensor `x` holds an object"});
  check_refused(with_entry(R"("shape":"2")"), {"`shape` of tensor `x`", "a list of integers"});
  check_refused(with_entry(R"("shape":2)"), {"`shape` of tensor `x` holds 2", "a list"});
  check_refused(with_entry(R"("shape":{})"), {"`shape` of tensor `x` holds an object"});
  check_refused(with_entry(R"("shape":[[2]])"), {"`shape` of tensor `x` holds a list", "integers"});
  check_refused(with_entry(R"("shape":["2"])"), {"`shape` of tensor `x`", "the string `2`"});
  check_refused(with_entry(R"("shape":[true])"), {"`shape` of tensor `x` holds true"});
  check_refused(with_entry(R"("data_offsets":null)"), {"`data_offsets` of tensor `x` holds null"});
}

TEST_CASE("numbers outside 0 to 2^63 - 1 are refused", "[safetensors]") {
  const std::string field = GENERATE("shape", "data_offsets");
  for (const std::string number : {"-1", "-0", "1.0", "2e0", "9223372036854775808",
                                   "18446744073709551615", "18446744073709551616", "-1e400"}) {
    INFO(field << " " << number);
    check_refused(with_entry("\"" + field + "\":[1," + number + "]"),
                  number == "-1e400"
                      ? std::vector<std::string>{"not valid JSON"}
                      : std::vector<std::string>{"`" + field + "` of tensor `x`", "holds " + number,
                                                 "integers from 0 to 2^63 - 1"});
  }
  // 2^63 - 1 itself is a number like any other.
  check_refused(with_entry(R"("dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,4])"),
                {"U8 [9223372036854775807] needs 9223372036854775807"});
}

TEST_CASE("lacking fields are refused", "[safetensors]") {
  check_refused(with_entry(R"("shape":[4],"data_offsets":[0,4])"), {"tensor `x` has no `dtype`"});
  check_refused(with_entry(R"("dtype":"U8","data_offsets":[0,4])"), {"tensor `x` has no `shape`"});
  check_refused(with_entry(R"("dtype":"U8","shape":[4])"), {"tensor `x` has no `data_offsets`"});
  check_refused(with_entry(""), {"tensor `x` has no"});
  for (const std::string offsets : {"[]", "[0]", "[0,4,4]"})
    check_refused(with_entry(R"("dtype":"U8","shape":[4],"data_offsets":)" + offsets),
                  {"`data_offsets` of tensor `x`", "expected 2"});
}

TEST_CASE("duplicate names are refused", "[safetensors]") {
  const std::string x = R"("x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  check_accepted(raw_file("{" + x + "}", "abcd"));
  check_refused(raw_file("{" + x + "," + x + "}", "abcd"), {"tensor `x` occurs twice"});
  const std::string escaped = R"("\u0078":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  check_refused(raw_file("{" + x + "," + escaped + "}", "abcd"), {"tensor `x` occurs twice"});
  check_refused(raw_file(R"({"__metadata__":{},"__metadata__":{}})"),
                {"`__metadata__` occurs twice"});
  check_refused(raw_file(R"({"__metadata__":{"a":"1","a":"1"}})"), {"`a` twice"});
  for (const std::string field : {R"("dtype":"U8")", R"("shape":[4])", R"("data_offsets":[0,4])"}) {
    const std::string name = field.substr(1, field.find('"', 1) - 1);
    check_refused(with_entry(field + "," + field), {"tensor `x` has `" + name + "` twice"});
  }
}

TEST_CASE("deep nesting is refused", "[safetensors]") {
  const auto nested = [](std::size_t depth) {
    return with_entry("\"deep\":" + std::string(depth, '[') + std::string(depth, ']') +
                      R"(,"dtype":"U8","shape":[4],"data_offsets":[0,4])");
  };
  check_accepted(nested(14));
  check_refused(nested(15), {"nests deeper than 16 levels", "`x`"});
  check_refused(raw_file("{\"x\":{\"deep\":" + std::string(10'000'000, '[')), {"nests deeper"});
  std::string objects = "{";
  for (int i = 0; i < 100'000; ++i)
    objects += "\"x\":{";
  check_refused(raw_file(objects), {"nests deeper"});
  std::string ones = "1";
  for (int i = 0; i < 64; ++i)
    ones += ",1";
  check_refused(with_entry("\"shape\":[" + ones + "]"), {"`shape`", "more than 64 numbers"});
}

TEST_CASE("shapes and offsets that disagree are refused", "[safetensors]") {
  const auto entry = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return with_entry("\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
                      ",\"data_offsets\":" + offsets);
  };
  check_accepted(entry("F32", "[1]", "[0,4]"));
  check_refused(entry("F33", "[1]", "[0,4]"), {"tensor `x`", "unknown dtype `F33`"});
  check_refused(entry("f32", "[1]", "[0,4]"), {"unknown dtype `f32`"});
  check_refused(entry("", "[1]", "[0,4]"), {"unknown dtype ``"});
  check_refused(entry("U8", "[4294967296,4294967296]", "[0,0]"), {"tensor `x`", "overflows"});
  // 2^62 * 4 elements fit 64 bits in neither count nor bytes; 2^61 * 8 only not in bytes.
  check_refused(entry("U8", "[4611686018427387904,4]", "[0,0]"), {"overflows"});
  check_refused(entry("F64", "[2305843009213693952]", "[0,0]"), {"overflows"});
  check_refused(entry("U8", "[2]", "[3,1]"), {"tensor `x`", "[3, 1]", "reversed"});
  check_refused(entry("U8", "[5]", "[0,5]"), {"tensor `x`", "out of range of the 4 data bytes"});
  check_refused(entry("U8", "[1]", "[9223372036854775806,9223372036854775807]"), {"out of range"});
  check_refused(entry("F32", "[2]", "[0,4]"), {"hold 4 bytes", "F32 [2] needs 8"});
  check_refused(entry("U8", "[3]", "[0,4]"), {"hold 4 bytes", "U8 [3] needs 3"});
}

TEST_CASE("overlaps, gaps and trailing bytes are refused", "[safetensors]") {
  const auto two = [](int a, int b, int c, int d) {
    const auto one = [](char name, int begin, int end) {
      return std::string("\"") + name + R"(":{"dtype":"U8","shape":[)" +
             std::to_string(end - begin) + "],\"data_offsets\":[" + std::to_string(begin) + "," +
             std::to_string(end) + "]}";
    };
    return raw_file("{" + one('x', a, b) + "," + one('y', c, d) + "}", "abcdefgh");
  };
  check_accepted(two(0, 4, 4, 8));
  check_accepted(two(4, 8, 0, 4));
  check_refused(two(0, 5, 4, 8), {"`x`", "`y`", "overlap at data byte 4"});
  check_refused(two(0, 8, 0, 8), {"`x`", "`y`", "overlap at data byte 0"});
  check_refused(two(0, 8, 2, 4), {"overlap at data byte 2"});
  check_refused(two(0, 8, 3, 3), {"overlap at data byte 3"});
  check_refused(two(0, 3, 4, 8), {"gap of 1 bytes", "tensor `y`", "data byte 3"});
  check_refused(two(1, 4, 4, 8), {"gap of 1 bytes", "tensor `x`", "data byte 0"});
  check_refused(two(0, 4, 4, 7), {"1 trailing bytes", "data byte 7"});
  check_refused(raw_file("{}", "x"), {"1 trailing bytes"});
}

TEST_CASE("a hostile name stays one short line", "[safetensors]") {
  check_refused(raw_file(R"({"a\n\u001b[31m\u0085\u007f":1})"), {R"(`a\x0a\x1b[31m\x85\x7f`)"});
  const std::string said = [] {
    const TemporaryFolder folder;
    return refusal(folder.write("bad", raw_file("{\"" + std::string(1'000'000, 'n') + "\":1}")));
  }();
  CHECK(said.size() < 400);
  CHECK(said.find("nnn...`") != std::string::npos);
  // A cut never splits a character.
  std::string accents;
  for (int i = 0; i < 60; ++i)
    accents += "\u00e9";
  CHECK(quote("x" + accents) == "`x" + accents.substr(0, 78) + "...`");
}

TEST_CASE("the writer round-trips", "[safetensors]") {
  const TemporaryFolder folder;
  const auto file = folder.path() / "out.safetensors";
  const std::string floats = raw<float>({1, 2, 3, 4, 5, 6}), indices = raw<std::int32_t>({-1, 7});
  const std::vector<TensorView> tensors = {{"b", "F32", {2, 3}, bytes_of(floats)},
                                           {"a\"\n\u00e9", "I32", {2}, bytes_of(indices)},
                                           {"none", "I32", {0, 4}, {}}};
  const Metadata metadata = {{"key", "value"}, {"", "\\"}};
  write_safetensors(file, tensors, metadata);
  const SafetensorsFile back(file);
  CHECK(back.metadata() == metadata);
  REQUIRE(back.names().size() == tensors.size());
  for (const TensorView& t : tensors) {
    const TensorView& read = back.tensor(t.name);
    CHECK(read.dtype == t.dtype);
    CHECK(read.shape == t.shape);
    CHECK(std::ranges::equal(read.bytes, t.bytes));
  }
  // The order given, data aligned to 8, nothing else left in the folder.
  CHECK(back.tensor("b").bytes.data() < back.tensor("a\"\n\u00e9").bytes.data());
  std::uint64_t length = 0;
  std::memcpy(&length, read_file(file).data(), sizeof length);
  CHECK(length % 8 == 0);
  CHECK(back.tensor("b").fits<float>());
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("the writer replaces a file whole, through a link, and only a file", "[safetensors]") {
  const TemporaryFolder folder;
  const auto file = folder.path() / "out", link = folder.path() / "link";
  write_safetensors(file, {}, {{"version", "1"}});
  const SafetensorsFile old(file);
  fs::create_symlink(file, link);
  write_safetensors(link, {}, {{"version", "2"}});
  CHECK(fs::is_symlink(link));
  CHECK(SafetensorsFile(file).metadata().at("version") == "2");
  CHECK(old.metadata().at("version") == "1");
  // A FIFO stands for /dev/null: a writer that were wrong would replace the machine's own.
  const auto fifo = folder.path() / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK_THROWS_AS(write_safetensors(fifo, {}), std::runtime_error);
  CHECK(fs::is_fifo(fifo));
  CHECK_THROWS_AS(write_safetensors(folder.path(), {}), std::runtime_error);
  CHECK_THROWS_AS(write_safetensors(folder.path() / "no" / "folder", {}), std::runtime_error);
}

TEST_CASE("a failing write keeps the old file and is no BadInput", "[safetensors]") {
  const TemporaryFolder folder;
  const auto file = folder.path() / "out";
  write_safetensors(file, {}, {{"version", "1"}});
  const std::string before = read_file(file), big(1 << 20, 'x');
  const TensorView tensor{"x", "U8", {1 << 20}, bytes_of(big)};
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const auto signal = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string said;
  bool bad_input = false;
  try {
    write_safetensors(file, std::span(&tensor, 1));
  } catch (const BadInput& error) {
    bad_input = true;
    said = error.what();
  } catch (const std::runtime_error& error) {
    said = error.what();
  }
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  std::signal(SIGXFSZ, signal);
  CHECK_FALSE(bad_input);
  check_sentence(said, file, {"cannot be written", "File too large"});
  CHECK(read_file(file) == before);
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("the writer refuses inconsistent tensors", "[safetensors]") {
  const TemporaryFolder folder;
  const auto file = folder.path() / "out";
  const std::string four = "abcd";
  const auto bytes = bytes_of(four);
  const std::vector<std::vector<TensorView>> bad = {
      {{"x", "F32", {2}, bytes}},
      {{"x", "F33", {1}, bytes}},
      {{"x", "U8", {-4}, bytes}},
      {{"x", "U8", {-2, -2}, bytes}},
      {{"__metadata__", "F32", {1}, bytes}},
      {{"x", "F32", {1}, bytes}, {"x", "F32", {1}, bytes}},
      {{"\xff", "F32", {1}, bytes}}};
  for (const auto& tensors : bad)
    CHECK_THROWS_AS(write_safetensors(file, tensors), std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(file, {}, {{"a", "\xff"}}), std::invalid_argument);
  CHECK(fs::is_empty(folder.path()));
}
