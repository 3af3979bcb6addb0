// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "fidelity.hpp"

#include <algorithm>

namespace hisa::tools {

namespace {

using Tokens = Tally::Tokens;

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

void Tally::add(const Dump& dump, std::int32_t row, Tokens flat, Tokens selected) {
  double const value = iou(flat, selected);
  ++rows_;
  iou_ += value;
  iou_min_ = std::min(iou_min_, value);
  if (dump.attention)
    for (std::size_t a = 0; a < dump.attention->rows.size(); ++a)
      if (dump.attention->rows[a] == row) {
        auto const attention =
            dump.attention->values.subspan(a * std::size_t(dump.keys), std::size_t(dump.keys));
        mass_ += mass_on(selected, attention);
        mass_by_flat_ += mass_on(flat, attention);
      }
  if (dump.needles)
    for (std::size_t n = 0; n < dump.needles->rows.size(); ++n)
      if (dump.needles->rows[n] == row) {
        auto const [begin, end] = dump.needles->ranges[n];
        for (std::int32_t token : flat)
          if (token >= begin && token < end) {
            ++needles_by_flat_;
            needles_ += std::binary_search(selected.begin(), selected.end(), token);
          }
      }
}

Fidelity Tally::result() const {
  Fidelity f;
  f.iou_mean = rows_ == 0 ? 1 : iou_ / double(rows_);
  f.iou_min = iou_min_;
  if (mass_by_flat_ > 0)
    f.mass = mass_ / mass_by_flat_;
  if (needles_by_flat_ > 0)
    f.needles = double(needles_) / double(needles_by_flat_);
  return f;
}

Fidelity measure(const Dump& dump, const RowRange& rows, const Selected& flat,
                 const Selected& selected) {
  Tally tally;
  for (std::int32_t i = 0; i < rows.count(); ++i)
    tally.add(dump, rows.first + i, flat.row(i), selected.row(i));
  return tally.result();
}

} // namespace hisa::tools
