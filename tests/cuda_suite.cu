// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CUDA indexers on a device: scores within the contract's bound, selections exact against the
// kernel's own score bits, repeats and batches to the bit, graphs, refusals, and what users of
// others report. Prints what it covered; exit code 1 if a check failed, 2 if nothing could be run.
//
//   cuda_suite [full | reduced | tiny] [DUMP.safetensors] [SECTION ...]
//
// reduced is for compute-sanitizer. Sections run in the order of cuda/sections.hpp; all by default.
#include "cuda/sections.hpp"
#include "cuda/trained.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace {

using suite::Scale, suite::Section, suite::sections;

struct Arguments {
  Scale scale = suite::full();
  std::vector<std::string> dumps, chosen;

  bool takes(const std::string& section) const {
    return chosen.empty() || std::find(chosen.begin(), chosen.end(), section) != chosen.end();
  }
  /// Whether the argument is known.
  bool read(const std::string& a) {
    for (const Scale& s : {suite::full(), suite::reduced(), suite::tiny()})
      if (s.name == a)
        return scale = s, true;
    if (a.ends_with(".safetensors"))
      return dumps.push_back(a), true;
    for (const Section& s : sections)
      if (s.name == a)
        return chosen.push_back(a), true;
    return false;
  }
};

} // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i)
    if (!arguments.read(argv[i])) {
      std::printf("%s is no scale, no .safetensors file and no section. Sections:", argv[i]);
      for (const Section& s : sections)
        std::printf(" %s", s.name);
      std::printf("\n");
      return 2;
    }
  try {
    auto const device = hisa::cuda::Device::current();
    std::string const why = device.not_covered();
    std::printf("device: sm_%d, %d multiprocessors; scale: %s\n", device.architecture,
                device.processors, arguments.scale.name.c_str());
    if (!why.empty()) {
      std::printf("nothing can be run: %s\n", why.c_str());
      return 2;
    }
  } catch (const std::exception& e) {
    std::printf("nothing can be run: %s\n", e.what());
    return 2;
  }
  for (const Section& s : sections)
    if (arguments.takes(s.name))
      suite::section(s.name, [&] { s.run(arguments.scale); });
  if (!arguments.dumps.empty())
    suite::section("trained", [&] {
      for (const std::string& dump : arguments.dumps)
        suite::trained(dump);
    });
  suite::print_covered();
  std::printf("\nqueries of these calls: %lld, compared: %lld", (long long)suite::called_rows,
              (long long)suite::compared_rows);
  std::printf("\n%ld tests, %ld checks, %ld failures, %ld skipped; worst score errors, of their "
              "bounds: native %.3g, precise %.3g\n",
              suite::tally.items, suite::tally.checks, suite::tally.failures, suite::tally.skipped,
              suite::worst_error[0], suite::worst_error[1]);
  return suite::tally.failures != 0;
}
