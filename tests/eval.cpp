// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// hisa-eval as its users run it: figures, files, exit codes and sentences.
#include "safetensors.hpp"
#include "support/make_safetensors.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/wait.h>

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

/// A folder that goes with the test.
struct Folder {
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "hisa-eval-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  Folder(const Folder&) = delete;
  ~Folder() { fs::remove_all(path); }
};

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Run {
  int status;
  std::string out, error;
};

/// Runs hisa-eval through the shell, output into files.
Run eval(const Folder& folder, const std::string& arguments) {
  fs::path const out = folder.path / "stdout", error = folder.path / "stderr";
  std::string const command = std::string(HISA_EVAL) + " " + arguments + " >" + out.string() +
                              " 2>" + error.string() + " </dev/null";
  int const status = std::system(command.c_str());
  REQUIRE(WIFEXITED(status));
  return {WEXITSTATUS(status), read(out), read(error)};
}

std::string example(const std::string& name) {
  return (fs::path(HISA_EXAMPLE_DATA) / (name + ".safetensors")).string();
}

Json figures(const Folder& folder, const std::string& arguments) {
  fs::path const file = folder.path / "figures.json";
  auto const run = eval(folder, arguments + " --json " + file.string());
  INFO(run.error);
  REQUIRE(run.status == 0);
  REQUIRE(run.error.empty()); // no progress when piped
  return Json::parse(read(file));
}

void require_close(const Json& found, double expected) {
  REQUIRE(found.get<double>() == Catch::Approx(expected).margin(0.003).epsilon(0));
}

/// Exit code 2 and one sentence that holds the words.
void require_refused(const Folder& folder, const std::string& arguments,
                     std::initializer_list<const char*> words) {
  auto const run = eval(folder, arguments);
  INFO(arguments << "\n" << run.error);
  REQUIRE(run.status == 2);
  REQUIRE(run.out.empty());
  REQUIRE(std::count(run.error.begin(), run.error.end(), '\n') == 1);
  for (const char* word : words)
    REQUIRE(run.error.find(word) != std::string::npos);
}

} // namespace

TEST_CASE("figures agree with the published table of the committed dumps") {
  struct Row {
    const char *pooling, *size, *keep;
    double needle_iou, needle_min, needle_mass, needles, code_iou, code_min, code_mass;
  };
  // same candidate budget of 8192 tokens, two levels in the last row
  Row const rows[] = {{"mean", "128", "64", .647, .437, .9473, .743, .903, .675, .9958},
                      {"mean", "64", "128", .695, .459, .9673, .890, .921, .766, .9973},
                      {"mean", "32", "256", .761, .514, .9998, 1.00, .933, .789, .9983},
                      {"mean", "16", "512", .823, .575, .9500, .982, .950, .817, .9990},
                      {"max", "128", "64", .542, .334, .9186, .890, .868, .609, .9951},
                      {"sub-mean:8", "128", "64", .659, .457, .9991, 1.00, .924, .754, .9983},
                      {"moments:1.0", "32", "256", .692, .396, .9954, .954, .950, .844, .9993},
                      {"mean", "128,16", "128,512", .798, .538, .9495, .890, .949, .819, .9986}};
  Folder const folder;
  std::string arguments = example("needle-32k-l4") + " " + example("code-32k-l7");
  for (const Row& row : rows)
    arguments += std::string(" --pooling ") + row.pooling + " --block-size " + row.size +
                 " --block-topk " + row.keep;
  Json const dumps = figures(folder, arguments).at("dumps");
  REQUIRE(dumps.size() == 2);
  for (std::size_t i = 0; i < std::size(rows); ++i) {
    const Json& needle = dumps[0].at("settings")[i].at("hierarchical");
    require_close(needle.at("iou_mean"), rows[i].needle_iou);
    require_close(needle.at("iou_min"), rows[i].needle_min);
    require_close(needle.at("mass"), rows[i].needle_mass);
    require_close(needle.at("needles"), rows[i].needles);
    const Json& code = dumps[1].at("settings")[i].at("hierarchical");
    require_close(code.at("iou_mean"), rows[i].code_iou);
    require_close(code.at("iou_min"), rows[i].code_min);
    require_close(code.at("mass"), rows[i].code_mass);
    REQUIRE(code.at("needles").is_null());
  }
  const Json& flat = dumps[0].at("settings")[0].at("flat");
  REQUIRE(flat.at("iou_mean") == 1.0);
  REQUIRE(flat.at("seconds") > 0.0);
  REQUIRE(flat.at("keys_per_query") > 20000.0);
  const Json& hierarchical = dumps[0].at("settings")[0].at("hierarchical");
  REQUIRE(hierarchical.at("keys_per_query") < 8192.0 + 256.0);
  REQUIRE(dumps[0].at("settings")[7].at("levels") == Json({128, 16}));
  REQUIRE(dumps[0].at("settings")[7].at("budgets") == Json({128, 512}));
}

TEST_CASE("figures agree with the published table of the 64K dumps") {
  const char* const data = std::getenv("HISA_DATA");
  if (data == nullptr)
    SKIP("HISA_DATA is not set: the 64K dumps were not tested");
  Folder const folder;
  auto const dump = [&](const char* name) {
    return (fs::path(data) / (std::string(name) + ".safetensors")).string();
  };
  struct Row {
    const char *pooling, *size, *keep;
    double needle_iou, needle_mass, needles, code_iou, code_mass;
  };
  Row const rows[] = {{"mean", "128", "64", .516, .762, .00, .760, .9941},
                      {"mean", "128", "128", .732, .842, .42, .912, .9974},
                      {"mean", "64", "128", .589, .825, .43, .794, .9944},
                      {"mean", "32", "256", .668, .875, .60, .821, .9945},
                      {"mean", "16", "512", .747, .957, .89, .851, .9960},
                      {"sub-mean:16", "128", "64", .535, .937, 1.0, .804, .9970},
                      {"sub-mean:2", "32", "256", .691, .938, .85, .836, .9955},
                      {"moments:1", "32", "256", .551, .955, .97, .844, .9970},
                      {"mean", "128,16", "256,512", .736, .923, .66, .851, .9960},
                      {"max", "128", "64", .413, .779, .26, .700, .9864},
                      {"min-max", "128", "64", .093, .756, 1.0, .266, .771}};
  std::string arguments = dump("needle-64k-l4") + " " + dump("code-64k-l7");
  for (const Row& row : rows)
    arguments += std::string(" --pooling ") + row.pooling + " --block-size " + row.size +
                 " --block-topk " + row.keep;
  Json const dumps = figures(folder, arguments).at("dumps");
  for (std::size_t i = 0; i < std::size(rows); ++i) {
    const Json& n = dumps[0].at("settings")[i].at("hierarchical");
    INFO(rows[i].pooling << " " << rows[i].size);
    require_close(n.at("iou_mean"), rows[i].needle_iou);
    require_close(n.at("mass"), rows[i].needle_mass);
    REQUIRE(n.at("needles").get<double>() ==
            Catch::Approx(rows[i].needles).margin(0.006).epsilon(0)); // two digits in the table
    const Json& c = dumps[1].at("settings")[i].at("hierarchical");
    require_close(c.at("iou_mean"), rows[i].code_iou);
    require_close(c.at("mass"), rows[i].code_mass);
  }
  const Json& moments = dumps[0].at("settings")[7];
  REQUIRE(moments.at("pooling") == "moments:1");
  REQUIRE(moments.at("hierarchical").at("keys_per_query").get<double>() ==
          Catch::Approx(8192 + 2 * 1865).margin(50)); // two rows a block
}

TEST_CASE("--out holds the selections that the figures were taken from") {
  Folder const folder;
  fs::path const out = folder.path / "selected.safetensors";
  Json const settings =
      figures(folder, example("code-32k-l7") + " --topk 1024 --queries 4:12 --out " + out.string())
          .at("dumps")[0]
          .at("settings");
  hisa::tools::SafetensorsFile const file(out);
  hisa::tools::SafetensorsFile const dump(example("code-32k-l7"));
  auto const pos = dump.tensor("pos").as<std::int32_t>();
  auto const flat = file.tensor("flat.indices").as<std::int32_t>();
  for (const char* name : {"flat", "hierarchical", "block_sparse"}) {
    auto const& tensor = file.tensor(std::string(name) + ".indices");
    REQUIRE(tensor.shape == std::vector<std::int64_t>{8, 1024});
    auto const rows = tensor.as<std::int32_t>();
    double iou = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      auto const row = rows.subspan(i * 1024, 1024), reference = flat.subspan(i * 1024, 1024);
      auto const end = std::find(row.begin(), row.end(), -1);
      REQUIRE(std::all_of(end, row.end(), [](std::int32_t x) { return x == -1; }));
      REQUIRE(std::is_sorted(row.begin(), end, std::less_equal<>()));
      REQUIRE(*(end - 1) <= pos[4 + i]);
      std::vector<std::int32_t> both;
      std::set_intersection(row.begin(), end, reference.begin(), reference.end(),
                            std::back_inserter(both));
      double const either = double(end - row.begin()) + 1024 - double(both.size());
      iou += double(both.size()) / either / 8;
    }
    REQUIRE(settings[0].at(name).at("iou_mean").get<double>() == Catch::Approx(iou));
  }
}

TEST_CASE("block-sparse is absent where the block size does not divide topk") {
  Folder const folder;
  fs::path const out = folder.path / "selected.safetensors";
  Json const settings =
      figures(folder, example("code-32k-l7") + " --topk 1000 --queries 2 --out " + out.string())
          .at("dumps")[0]
          .at("settings");
  REQUIRE(settings[0].at("block_sparse").is_null());
  REQUIRE_FALSE(hisa::tools::SafetensorsFile(out).contains("block_sparse.indices"));
}

TEST_CASE("the table names every indexer") {
  Folder const folder;
  auto const run = eval(folder, example("needle-32k-l4") + " --queries 2");
  REQUIRE(run.status == 0);
  for (const char* word :
       {"needle-32k-l4", "flat", "hierarchical 128:64", "block-sparse 128", "IoU", "needles"})
    REQUIRE(run.out.find(word) != std::string::npos);
}

TEST_CASE("--sweep writes a table, JSON and a plot") {
  Folder const folder;
  fs::path const json = folder.path / "sweep.json", svg = folder.path / "sweep.svg";
  auto const run = eval(folder, example("needle-32k-l4") + " " + example("code-32k-l7") +
                                    " --sweep --queries 8 --pooling mean --pooling max --json " +
                                    json.string() + " --plot " + svg.string());
  INFO(run.error);
  REQUIRE(run.status == 0);
  REQUIRE(run.out.find("every dump") != std::string::npos);
  Json const figures = Json::parse(read(json));
  REQUIRE(figures.at("dumps").size() == 2);
  REQUIRE(figures.at("settings").size() > 60);
  for (const Json& setting : figures.at("settings"))
    REQUIRE((setting.at("pooling") == "mean" || setting.at("pooling") == "max"));
  REQUIRE(read(svg).starts_with("<svg"));
}

TEST_CASE("audit prints an interval") {
  Folder const folder;
  fs::path const json = folder.path / "audit.json";
  auto const run =
      eval(folder, "audit " + example("code-32k-l7") +
                       " --queries 8 --block-size 16 --block-topk 512 --sample 16 --json " +
                       json.string());
  INFO(run.error);
  REQUIRE(run.status == 0);
  REQUIRE(run.out.find("of flat's tokens missed") != std::string::npos);
  Json const audit = Json::parse(read(json)).at("audits")[0];
  REQUIRE(audit.at("low") <= audit.at("missed"));
  REQUIRE(audit.at("missed") <= audit.at("high"));
  REQUIRE(audit.at("extra_keys_per_query") == 256.0);
}

TEST_CASE("help and exit code 0") {
  Folder const folder;
  auto const run = eval(folder, "--help");
  REQUIRE(run.status == 0);
  REQUIRE(run.out.find("--block-size") != std::string::npos);
}

TEST_CASE("bad arguments: exit code 2 and one sentence") {
  Folder const folder;
  std::string const dump = example("code-32k-l7");
  require_refused(folder, "", {"DUMP"});
  require_refused(folder, dump + " --no-such-option", {"--no-such-option"});
  require_refused(folder, dump + " --topk many", {"--topk"});
  require_refused(folder, dump + " --topk 0", {"topk", "0"});
  require_refused(folder, dump + " --topk -5", {"topk"});
  require_refused(folder, dump + " --topk 9000", {"topk", "9000", "8192"});
  require_refused(folder, dump + " --topk 16000000 --block-topk 125000", {"--topk", "32768"});
  require_refused(folder, dump + " --json " + dump, {"input", "overwritten"});
  require_refused(folder, dump + " --block-size 0", {"--block-size", "0"});
  require_refused(folder, dump + " --block-size 12x", {"--block-size", "12x"});
  require_refused(folder, dump + " --block-size 99999999999", {"--block-size"});
  require_refused(folder, dump + " --block-size 128,48 --block-topk 64,64", {"48", "128"});
  require_refused(folder, dump + " --block-size 16,128 --block-topk 64,64", {"128"});
  require_refused(folder, dump + " --block-size 128,16 --block-topk 64,2000", {"2000", "512"});
  require_refused(folder, dump + " --block-size 128,16 --block-topk 64", {"levels"});
  require_refused(folder, dump + " --block-size 128, --block-topk 64,", {"--block-size"});
  require_refused(folder, dump + " --block-size 128 --block-size 64 --block-topk 64", {"pairs"});
  require_refused(folder, dump + " --block-size 64,32,16,8,4,2,1 --block-topk 64,64,64,64,64,64,64",
                  {"levels"});
  require_refused(folder, dump + " --pooling median", {"--pooling", "median", "sub-mean:16"});
  require_refused(folder, dump + " --pooling sub-mean:3", {"--pooling", "sub-mean:3"});
  require_refused(folder, dump + " --pooling sub-mean", {"--pooling", "sub-mean"});
  require_refused(folder, dump + " --pooling moments:1.0x", {"--pooling", "moments:1.0x"});
  require_refused(folder, dump + " --pooling sub-mean:16 --block-size 8 --block-topk 512",
                  {"block size", "16"});
  require_refused(folder, dump + " --pooling mean --pooling max", {"--pooling", "2 times"});
  require_refused(folder, dump + " --plot x.svg", {"--sweep"});
  require_refused(folder, dump + " --sweep --block-size 64", {"--sweep", "--block-size"});
  require_refused(folder, dump + " --sweep --topk 1", {"--topk", "1"});
  require_refused(folder, dump + " --sweep --pooling median", {"--pooling", "median"});
  require_refused(folder, "audit", {"DUMP"});
  require_refused(folder, "audit " + dump + " --sample 1", {"--sample"});
  require_refused(folder, "audit " + dump + " --sweep", {"audit", "--sweep"});
  require_refused(folder, dump + " --queries none", {"--queries", "none"});
  require_refused(folder, dump + " --queries 65", {"--queries", "65"});
  require_refused(folder, dump + " --queries 5:5", {"--queries"});
  require_refused(folder, dump + " " + dump + " --out x", {"--out"});
  require_refused(folder,
                  dump + " --block-size 64 --block-topk 64 --block-size 32 --block-topk 64 --out x",
                  {"--out"});
}

TEST_CASE("bad files: exit code 2 and one sentence that names the file") {
  Folder const folder;
  std::string const missing = (folder.path / "missing.safetensors").string();
  require_refused(folder, missing, {"missing.safetensors"});
  require_refused(folder, folder.path.string(), {"directory"});
  fs::path const bad = folder.path / "bad.safetensors";
  std::string const whole = read(example("code-32k-l7"));
  auto const put = [&](const std::string& bytes) { std::ofstream(bad, std::ios::binary) << bytes; };
  put("");
  require_refused(folder, bad.string(), {"bad.safetensors", "empty"});
  put(whole.substr(0, 1000));
  require_refused(folder, bad.string(), {"bad.safetensors", "header"});
  put(whole.substr(0, whole.size() - 1));
  require_refused(folder, bad.string(), {"bad.safetensors"});
  put(whole + "x");
  require_refused(folder, bad.string(), {"bad.safetensors"});
  std::string renamed = whole;
  renamed.replace(renamed.find("\"k_scale\""), 9, "\"k_scalf\"");
  put(renamed);
  require_refused(folder, bad.string(), {"bad.safetensors", "k_scale", "missing"});
  std::string negative = whole; // k_scale[0] becomes negative
  std::size_t const header = 8 + std::size_t(1400);
  negative[header + 16384 + 3] = char(negative[header + 16384 + 3] | char(0x80));
  put(negative);
  require_refused(folder, bad.string(), {"bad.safetensors", "k_scale"});
}

TEST_CASE("files that cannot be written: exit code 1 and one sentence") {
  Folder const folder;
  for (const char* option : {"--json", "--out"}) {
    auto const run = eval(folder, example("code-32k-l7") + " --queries 1 " + option + " " +
                                      (folder.path / "no" / "such" / "folder").string());
    REQUIRE(run.status == 1);
    REQUIRE(std::count(run.error.begin(), run.error.end(), '\n') == 1);
  }
}
