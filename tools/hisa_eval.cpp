// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// hisa-eval: what hierarchical indexing costs and keeps on dumps of trained indexers.
#include "audit.hpp"
#include "format.hpp"
#include "report.hpp"
#include "rules.hpp"
#include "sweep_report.hpp"

#include <hisa/error.hpp>
#include <hisa/shape.hpp>

#include <CLI/CLI.hpp>
#include <Kokkos_Core.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <unistd.h>

namespace {

using namespace hisa::tools;

constexpr int exit_failure = 1, exit_bad_input = 2;

/// The command line as it was typed.
struct Arguments {
  std::vector<std::string> dumps;
  std::vector<std::string> block_size, block_topk, pooling;
  int topk = 2048;
  std::string queries = "all";
  std::string json, out, plot;
  bool sweep = false;
  CLI::App* audit = nullptr; ///< parsed, if it is the command
  AuditOptions audit_options;
};

void declare(CLI::App& app, Arguments& a) {
  app.add_option("DUMP", a.dumps, "safetensors dumps of an indexer's q, w, k, k_scale, pos");
  app.add_option("--block-size", a.block_size,
                 "tokens a block; commas separate levels, coarse to fine; repeat the pair of "
                 "--block-size and --block-topk to add a setting [128]")
      ->allow_extra_args(false)
      ->take_all();
  app.add_option("--block-topk", a.block_topk, "blocks kept a query on each level [64]")
      ->allow_extra_args(false)
      ->take_all();
  app.add_option("--topk", a.topk, "tokens kept a query")->capture_default_str();
  app.add_option(
         "--pooling", a.pooling,
         "pooling rule: mean, max, sub-mean:PARTS, moments:LAMBDA, min-max; once, or once a "
         "setting [mean]")
      ->allow_extra_args(false)
      ->take_all();
  app.add_option("--queries", a.queries,
                 "rows of the dump to evaluate: all, the first N, or FIRST:END")
      ->capture_default_str();
  app.add_option("--json", a.json, "also write the figures to this file");
  app.add_flag(
      "--sweep", a.sweep,
      "try a grid of levels, budgets and rules (those of --pooling, else all) over all dumps "
      "together");
  app.add_option("--plot", a.plot, "with --sweep: also draw the settings into this SVG file");
  a.audit = app.add_subcommand("audit", "estimate the share of flat's tokens that each setting "
                                        "misses, from a random sample of the blocks that it prunes")
                ->fallthrough();
  a.audit->add_option("--sample", a.audit_options.sample, "pruned blocks drawn for each query")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  a.audit->add_option("--confidence", a.audit_options.confidence, "of the interval")
      ->check(CLI::Range(0.01, 0.9999))
      ->capture_default_str();
  a.audit->add_option("--seed", a.audit_options.seed, "of the draw")->capture_default_str();
  app.add_option("--out", a.out,
                 "also write the selected indices to this safetensors file; needs one dump and one "
                 "setting");
}

/// A whole number between `least` and `most`, or BadInput naming the option.
int parse_int(const std::string& option, std::string_view text, int least, int most) {
  int value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
    throw BadInput(option + " is " + quote(text) + ", expected a whole number from " +
                   std::to_string(least) + " to " + std::to_string(most));
  return value;
}

std::vector<int> parse_levels(const std::string& option, std::string_view text) {
  std::vector<int> values;
  while (true) {
    std::size_t const comma = text.find(',');
    values.push_back(parse_int(option, text.substr(0, comma), 1, std::numeric_limits<int>::max()));
    if (comma == std::string_view::npos)
      return values;
    text.remove_prefix(comma + 1);
  }
}

std::vector<Setting> parse_settings(Arguments a) {
  if (a.block_size.empty() && a.block_topk.size() <= 1)
    a.block_size = {"128"};
  if (a.block_topk.empty() && a.block_size.size() <= 1)
    a.block_topk = {"64"};
  if (a.block_size.size() != a.block_topk.size())
    throw BadInput("--block-size is given " + std::to_string(a.block_size.size()) +
                   " times and --block-topk " + std::to_string(a.block_topk.size()) +
                   " times, expected pairs");
  if (a.pooling.empty())
    a.pooling = {"mean"};
  if (a.pooling.size() == 1)
    a.pooling.resize(a.block_size.size(), a.pooling.front());
  if (a.pooling.size() != a.block_size.size())
    throw BadInput("--pooling is given " + std::to_string(a.pooling.size()) +
                   " times, expected once, or once for each of the " +
                   std::to_string(a.block_size.size()) + " settings");
  std::vector<Setting> settings;
  for (std::size_t i = 0; i < a.block_size.size(); ++i) {
    Setting const setting{a.pooling[i], parse_levels("--block-size", a.block_size[i]),
                          parse_levels("--block-topk", a.block_topk[i])};
    if (setting.block_size.size() != setting.block_topk.size())
      throw BadInput("--block-size " + quote(a.block_size[i]) + " and --block-topk " +
                     quote(a.block_topk[i]) + " have different numbers of levels");
    if (setting.block_size.size() > std::size_t(hisa::max_levels))
      throw BadInput("--block-size " + quote(a.block_size[i]) + " has more than " +
                     std::to_string(hisa::max_levels) + " levels");
    settings.push_back(setting);
  }
  return settings;
}

/// `all`, `N` or `FIRST:END` as rows of a dump.
RowRange parse_rows(const std::string& text, const Dump& dump) {
  if (text == "all")
    return {0, dump.queries};
  std::string const option = "--queries of " + display(dump.file);
  std::size_t const colon = text.find(':');
  if (colon == std::string::npos)
    return {0, parse_int(option, text, 1, dump.queries)};
  int const first = parse_int(option, text.substr(0, colon), 0, dump.queries - 1);
  return {first, parse_int(option, text.substr(colon + 1), first + 1, dump.queries)};
}

/// Refuses, before anything is computed, an output that cannot be made or that is an input.
void check_output(const std::string& output, const std::string& input) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (output.empty())
    return;
  if (fs::equivalent(output, input, error))
    throw BadInput(display(output) + " is an input and would be overwritten");
  fs::path const folder = fs::absolute(output).parent_path();
  if (!fs::is_directory(folder, error))
    throw std::runtime_error(display(output) + ": there is no folder to write it in");
}

/// A line on the terminal for anything that takes longer than two seconds; nothing when piped.
class TerminalProgress {
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool const terminal_ = isatty(STDERR_FILENO) != 0;
  bool shown_ = false;

public:
  TerminalProgress() = default;
  TerminalProgress(const TerminalProgress&) = delete;
  ~TerminalProgress() { clear(); }

  void operator()(const std::string& step, double share) {
    if (!terminal_ || std::chrono::steady_clock::now() - start_ < std::chrono::seconds(2))
      return;
    std::cerr << "\r\033[K" << step << "  " << static_cast<int>(100 * share) << " %" << std::flush;
    shown_ = true;
  }
  void clear() {
    if (shown_)
      std::cerr << "\r\033[K" << std::flush;
    shown_ = false;
  }
};

/// The dumps of a command, and the rows of them that it is about.
struct Inputs {
  std::vector<Dump> dumps;
  std::vector<RowRange> rows;
};

/// Reads the dumps and refuses outputs that cannot be written.
Inputs read_inputs(const Arguments& a) {
  if (a.dumps.empty()) // required() would take the name of a command for a dump
    throw BadInput("DUMP is missing: expected one safetensors file or more");
  Inputs inputs;
  for (const std::string& file : a.dumps) {
    const Dump& dump = inputs.dumps.emplace_back(load_dump(file));
    inputs.rows.push_back(parse_rows(a.queries, dump));
    int const most = std::max(dump.keys, 16384);
    if (a.topk < 1 || a.topk > most)
      throw BadInput("--topk is " + std::to_string(a.topk) + ", expected 1 to " +
                     std::to_string(most) + " for " + display(dump.file));
    for (const std::string* output : {&a.json, &a.out, &a.plot})
      check_output(*output, file);
  }
  return inputs;
}

auto quiet_kokkos() {
  return Kokkos::InitializationSettings().set_disable_warnings(true);
}

void run_sweep(const Arguments& a) {
  if (!a.block_size.empty() || !a.block_topk.empty() || !a.out.empty())
    throw BadInput("--sweep brings its own levels and budgets, without --block-size, --block-topk "
                   "and --out");
  std::vector<Setting> const grid =
      sweep_grid(a.pooling.empty() ? rule_names() : a.pooling, a.topk);
  if (grid.empty())
    throw BadInput("--topk is " + std::to_string(a.topk) +
                   ", expected a multiple of the sweep's smallest block size 16");
  Inputs const inputs = read_inputs(a);
  Kokkos::ScopeGuard const kokkos(quiet_kokkos());
  TerminalProgress progress;
  Sweep const result = sweep(inputs.dumps, inputs.rows, grid, a.topk,
                             [&](const std::string& step, double share) { progress(step, share); });
  progress.clear();
  print_table(std::cout, inputs.dumps, result);
  if (!a.json.empty())
    write_json(a.json, inputs.dumps, result);
  if (!a.plot.empty())
    write_plot(a.plot, inputs.dumps, result);
}

void print_audit(const Dump& dump, const Setting& setting, const AuditOptions& options,
                 const Audit& a) {
  std::cout << dump.file.stem().string() << ", " << name_of(setting) << ": "
            << fixed(100 * a.missed, 2) << " % of flat's tokens missed, " << fixed(100 * a.low, 2)
            << " to " << fixed(100 * a.high, 2) << " % with confidence " << options.confidence
            << "; in truth " << fixed(100 * a.truth, 2) << " %. "
            << fixed(a.extra_keys_per_query, 0) << " keys a query on top of "
            << fixed(a.keys_per_query, 0) << ".\n"
            << std::flush;
}

Json to_json(const Dump& dump, const Setting& setting, const AuditOptions& options,
             const Audit& a) {
  return {{"file", dump.file.string()},
          {"pooling", setting.pooling},
          {"levels", setting.block_size},
          {"budgets", setting.block_topk},
          {"topk", options.topk},
          {"sample", options.sample},
          {"confidence", options.confidence},
          {"seed", options.seed},
          {"missed", a.missed},
          {"low", a.low},
          {"high", a.high},
          {"truth", a.truth},
          {"keys_per_query", a.keys_per_query},
          {"extra_keys_per_query", a.extra_keys_per_query}};
}

void run_audit(const Arguments& a) {
  if (a.sweep || !a.plot.empty() || !a.out.empty())
    throw BadInput("audit takes neither --sweep nor --plot nor --out");
  std::vector<Setting> const settings = parse_settings(a);
  Inputs const inputs = read_inputs(a);
  Kokkos::ScopeGuard const kokkos(quiet_kokkos());
  TerminalProgress progress;
  Json audits = Json::array();
  for (const Dump& dump : inputs.dumps)
    check_settings(dump, settings, a.topk);
  for (std::size_t d = 0; d < inputs.dumps.size(); ++d)
    for (const Setting& setting : settings) {
      AuditOptions options = a.audit_options;
      options.setting = setting;
      options.topk = a.topk;
      auto const report = [&](const std::string& step, double share) { progress(step, share); };
      Audit const result =
          audit(inputs.dumps[d], inputs.rows[d], options, std::span(&options.seed, 1), report)
              .front();
      progress.clear();
      print_audit(inputs.dumps[d], setting, options, result);
      audits.push_back(to_json(inputs.dumps[d], setting, options, result));
    }
  if (!a.json.empty())
    write_json(a.json, Json{{"audits", audits}});
}

void run_settings(const Arguments& a) {
  if (!a.plot.empty())
    throw BadInput("--plot draws a sweep, and --sweep is not given");
  std::vector<Setting> const settings = parse_settings(a);
  for (const Setting& setting : settings)
    with_rule(setting.pooling, [](auto) {});
  if (!a.out.empty() && (a.dumps.size() != 1 || settings.size() != 1))
    throw BadInput("--out needs one dump and one setting, and there are " +
                   std::to_string(a.dumps.size()) + " and " + std::to_string(settings.size()));
  Inputs const inputs = read_inputs(a);

  Kokkos::ScopeGuard const kokkos(quiet_kokkos());
  for (const Dump& dump : inputs.dumps)
    check_settings(dump, settings, a.topk);
  TerminalProgress progress;
  std::vector<Report> reports;
  for (std::size_t i = 0; i < inputs.dumps.size(); ++i) {
    const Dump& dump = inputs.dumps[i];
    reports.push_back(
        {dump, evaluate(dump, inputs.rows[i], settings, a.topk,
                        [&](const std::string& step, double share) { progress(step, share); })});
    progress.clear();
    print_table(std::cout, reports[i]);
  }
  if (!a.json.empty())
    write_json(a.json, reports);
  if (!a.out.empty())
    write_selections(a.out, reports.front());
}

/// What the parser says, as one sentence on one line.
std::string one_line(std::string text) {
  for (char& c : text)
    c = c == '\n' ? ' ' : c;
  return text;
}

} // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("What hierarchical indexing costs and keeps, beside the flat indexer, on dumps of "
               "trained indexers.",
               "hisa-eval");
  declare(app, arguments);
  try {
    app.parse(argc, argv);
    auto* const command = arguments.audit->parsed() ? run_audit
                          : arguments.sweep         ? run_sweep
                                                    : run_settings;
    command(arguments);
    if (!std::cout)
      throw std::runtime_error("standard output cannot be written");
    return 0;
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::Error& error) {
    std::cerr << "hisa-eval: " << one_line(error.what()) << '\n';
    return exit_bad_input;
  } catch (const BadInput& error) {
    std::cerr << "hisa-eval: " << error.what() << '\n';
    return exit_bad_input;
  } catch (const hisa::precondition_error& error) {
    std::cerr << "hisa-eval: " << error.what() << '\n';
    return exit_bad_input;
  } catch (const std::exception& error) {
    std::cerr << "hisa-eval: " << one_line(error.what()) << '\n';
    return exit_failure;
  }
}
