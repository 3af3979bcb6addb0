// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "fidelity.hpp"

#include <algorithm>

namespace hisa::tools {

namespace {

using Tokens = std::span<const std::int32_t>;

std::int64_t intersection(Tokens a, Tokens b) {
  std::int64_t both = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    both += a[i] == b[j];
    bool const advance_a = a[i] <= b[j], advance_b = b[j] <= a[i];
    i += advance_a;
    j += advance_b;
  }
  return both;
}

double iou(Tokens a, Tokens b) {
  std::int64_t const both = intersection(a, b);
  std::int64_t const either = std::int64_t(a.size() + b.size()) - both;
  return either == 0 ? 1.0 : double(both) / double(either);
}

double mass_on(Tokens tokens, std::span<const fp16> attention) {
  double sum = 0;
  for (std::int32_t token : tokens)
    sum += double(to_float(attention[std::size_t(token)]));
  return sum;
}

} // namespace

Tokens Selected::row(std::int32_t i) const {
  Tokens const all(indices.data() + std::ptrdiff_t(i) * topk, std::size_t(topk));
  return all.first(std::size_t(std::find(all.begin(), all.end(), -1) - all.begin()));
}

Fidelity measure(const Dump& dump, const RowRange& rows, const Selected& flat,
                 const Selected& selected) {
  Fidelity f;
  f.iou_min = 1;
  for (std::int32_t i = 0; i < rows.count(); ++i) {
    double const value = iou(flat.row(i), selected.row(i));
    f.iou_mean += value / rows.count();
    f.iou_min = std::min(f.iou_min, value);
  }

  if (dump.attention) {
    double kept = 0, by_flat = 0;
    for (std::size_t a = 0; a < dump.attention->rows.size(); ++a) {
      std::int32_t const row = dump.attention->rows[a];
      if (!rows.contains(row))
        continue;
      auto const attention =
          dump.attention->values.subspan(a * std::size_t(dump.keys), std::size_t(dump.keys));
      kept += mass_on(selected.row(row - rows.first), attention);
      by_flat += mass_on(flat.row(row - rows.first), attention);
    }
    if (by_flat > 0)
      f.mass = kept / by_flat;
  }

  if (dump.needles) {
    std::int64_t kept = 0, by_flat = 0;
    for (std::size_t n = 0; n < dump.needles->rows.size(); ++n) {
      std::int32_t const row = dump.needles->rows[n];
      if (!rows.contains(row))
        continue;
      auto const [begin, end] = dump.needles->ranges[n];
      for (std::int32_t token : flat.row(row - rows.first)) {
        if (token < begin || token >= end)
          continue;
        Tokens const chosen = selected.row(row - rows.first);
        ++by_flat;
        kept += std::binary_search(chosen.begin(), chosen.end(), token);
      }
    }
    if (by_flat > 0)
      f.needles = double(kept) / double(by_flat);
  }
  return f;
}

} // namespace hisa::tools
