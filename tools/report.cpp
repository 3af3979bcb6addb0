// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "report.hpp"

#include "format.hpp"

#include <iomanip>

namespace hisa::tools {

namespace {

/// The cells of a method's row behind its name.
void print_row(std::ostream& out, const std::string& name, const Method* method,
               std::int32_t queries, double flat_seconds) {
  out << "  " << std::left << std::setw(34) << name << std::right;
  if (method == nullptr) {
    out << "  (the block size does not divide topk)\n";
    return;
  }
  const Fidelity& f = method->fidelity;
  out << std::setw(10) << fixed(method->keys_per_query, 0) << std::setw(10)
      << fixed(1e3 * method->seconds / queries, 3) << std::setw(9)
      << fixed(flat_seconds / method->seconds, 1) + "x" << std::setw(9) << fixed(f.iou_mean, 3)
      << std::setw(9) << fixed(f.iou_min, 3) << std::setw(9) << fixed_or_dash(f.mass, 4)
      << std::setw(9) << fixed_or_dash(f.needles, 3) << '\n';
}

Json to_json(const Method& method) {
  return {{"keys_per_query", method.keys_per_query}, {"seconds", method.seconds},
          {"iou_mean", method.fidelity.iou_mean},    {"iou_min", method.fidelity.iou_min},
          {"mass", or_null(method.fidelity.mass)},   {"needles", or_null(method.fidelity.needles)}};
}

Json to_json(const Report& report) {
  const auto& [dump, evaluation] = report;
  Json settings = Json::array();
  for (const Outcome& outcome : evaluation.outcomes)
    settings.push_back(
        {{"levels", outcome.setting.block_size},
         {"budgets", outcome.setting.block_topk},
         {"topk", evaluation.topk},
         {"pooling", outcome.setting.pooling},
         {"pool_seconds", outcome.pool_seconds},
         {"flat", to_json(evaluation.flat)},
         {"hierarchical", to_json(outcome.hierarchical)},
         {"block_sparse", outcome.block_sparse ? to_json(*outcome.block_sparse) : Json(nullptr)}});
  return {{"file", dump.file.string()},
          {"keys", dump.keys},
          {"heads", dump.heads},
          {"head_dim", dump.head_dim},
          {"queries", evaluation.rows.count()},
          {"first_query", evaluation.rows.first},
          {"settings", std::move(settings)}};
}

} // namespace

void print_table(std::ostream& out, const Report& report) {
  const auto& [dump, evaluation] = report;
  std::int32_t const queries = evaluation.rows.count();
  out << dump.file.stem().string() << ": " << queries << " queries, " << dump.keys << " keys, "
      << dump.heads << " heads x " << dump.head_dim << ", top " << evaluation.topk << '\n';
  out << "  " << std::left << std::setw(34) << "indexer (block size:blocks kept)" << std::right
      << std::setw(10) << "keys/q" << std::setw(10) << "ms/q" << std::setw(9) << "speed"
      << std::setw(9) << "IoU" << std::setw(9) << "IoU min" << std::setw(9) << "mass"
      << std::setw(9) << "needles" << '\n';
  double const flat_seconds = evaluation.flat.seconds;
  print_row(out, "flat", &evaluation.flat, queries, flat_seconds);
  for (const Outcome& outcome : evaluation.outcomes) {
    std::string const name = name_of(outcome.setting);
    print_row(out, "hierarchical " + name, &outcome.hierarchical, queries, flat_seconds);
    print_row(out, "block-sparse " + std::to_string(outcome.setting.block_size.back()),
              outcome.block_sparse ? &*outcome.block_sparse : nullptr, queries, flat_seconds);
  }
  out << std::flush;
}

void write_json(const std::filesystem::path& file, const std::vector<Report>& reports) {
  Json dumps = Json::array();
  for (const Report& report : reports)
    dumps.push_back(to_json(report));
  write_json(file, Json{{"dumps", std::move(dumps)}});
}

void write_selections(const std::filesystem::path& file, const Report& report) {
  const Evaluation& evaluation = report.evaluation;
  const Outcome& outcome = evaluation.outcomes.front();
  std::vector<TensorView> tensors;
  auto const add = [&](const char* name, const Selected& selected) {
    tensors.push_back({name,
                       "I32",
                       {evaluation.rows.count(), selected.topk},
                       std::as_bytes(std::span(selected.indices))});
  };
  add("flat.indices", evaluation.flat.selected);
  add("hierarchical.indices", outcome.hierarchical.selected);
  if (outcome.block_sparse)
    add("block_sparse.indices", outcome.block_sparse->selected);
  write_safetensors(file, tensors);
}

} // namespace hisa::tools
