// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Lengths live on the device, where the host cannot refuse them: values out of range are clamped.
/// These calls print which ones are. Plans make them where Options::report_clamped is set.
#pragma once

#include <hisa/launch.hpp>
#include <hisa/pool.hpp>
#include <hisa/tensors.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace detail {

/// One line on standard output if a value is out of range.
KOKKOS_INLINE_FUNCTION void report_outside(const char* what, std::int64_t row, std::int64_t value,
                                           std::int64_t first, std::int64_t last) {
  if (value < first || value > last)
    Kokkos::printf("hisa: %s[%lld] is %lld, outside of %lld .. %lld\n", what,
                   static_cast<long long>(row), static_cast<long long>(value),
                   static_cast<long long>(first), static_cast<long long>(last));
}

KOKKOS_INLINE_FUNCTION void report_row(const Ranges& ranges, std::int64_t t, std::int64_t keys) {
  Visible const v = ranges.visible(t, keys);
  report_outside("ranges.ks", t, ranges.ks[t], 0, keys);
  report_outside("ranges.ke", t, ranges.ke[t], v.begin, keys);
  if (ranges.anchor != nullptr)
    report_outside("ranges.anchor", t, ranges.anchor[t], 0, v.begin);
}

KOKKOS_INLINE_FUNCTION void report_row(const Lengths& lengths, std::int64_t t, std::int64_t keys) {
  if (lengths.form == LengthsForm::per_query)
    report_outside("lengths.lengths", t, lengths.lengths[t], 0, keys);
  else if (t % lengths.next_n == 0)
    report_outside("lengths.lengths", t / lengths.next_n, lengths.lengths[t / lengths.next_n], 0,
                   keys);
}

KOKKOS_INLINE_FUNCTION void report_row(const Ragged& ragged, std::int64_t t, std::int64_t keys) {
  report_outside("ragged.row_seq", t, ragged.row_seq[t], -1, ragged.batch - 1); // -1 is padding
  report_outside("ragged.row_visible", t, ragged.row_visible[t], 0, keys);
}

KOKKOS_INLINE_FUNCTION void report_row(const Sequences& sequences, std::int64_t s,
                                       std::int64_t keys) {
  Visible const v = sequences.visible(s, keys);
  if (sequences.begin != nullptr)
    report_outside("sequences.begin", s, sequences.begin[s], 0, keys);
  report_outside("sequences.new_length", s, sequences.new_length[s], 0, keys - v.begin);
  if (sequences.old_length != nullptr)
    report_outside("sequences.old_length", s, sequences.old_length[s], 0, v.count());
}

/// Thread i, row first + i.
template <class Lengths>
struct ReportRows {
  Lengths lengths;
  std::int64_t first, keys;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const { report_row(lengths, first + i, keys); }
};

template <class Exec, class Lengths>
void report_rows(const Exec& exec, const Lengths& lengths, const QueryRows& rows,
                 std::int64_t keys) {
  Kokkos::parallel_for(
      "hisa::report",
      Kokkos::Experimental::require(Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::int64_t>>(
                                        exec, 0, rows.end - rows.first),
                                    Kokkos::Experimental::WorkItemProperty::HintLightWeight),
      ReportRows<Lengths>{lengths, rows.first, keys});
}

} // namespace detail

/// Prints what a call with these arguments would clamp, one line a value, on standard output, in
/// any order. Asynchronous on `exec`; device output appears as Kokkos::printf's does. For
/// debugging.
/// @param rows  the queries to look at, [first, end)
template <class Exec, class Keys, VisibilityOf<Keys> Visibility>
void report_clamped(const Exec& exec, const Keys& keys, const Visibility& visibility,
                    const QueryRows& rows) {
  detail::report_rows(exec, visibility, rows, keys.capacity());
}

/// The same for a pooling call; also where old_length is beyond new_length, which pools nothing.
template <class Exec, class Keys>
void report_clamped(const Exec& exec, const Keys& keys, const Sequences& sequences) {
  detail::report_rows(exec, sequences, {0, sequences.count}, keys.capacity());
}

HISA_NAMESPACE_END
