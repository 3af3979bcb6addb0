// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dump.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <limits>

namespace hisa::tools {
namespace {

static_assert(sizeof(e4m3fn) == 1 && sizeof(fp16) == 2 && sizeof(float) == 4);

constexpr std::int64_t max_extent = std::numeric_limits<std::int32_t>::max();

/// An extent that a shape must have, or one that it defines.
struct Extent {
  const char* symbol;
  std::optional<std::int64_t> value{};
  std::int64_t least = 1; ///< smallest value that may be defined
};

std::string number(float value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.9g", static_cast<double>(value));
  return text.data();
}

class Loader {
public:
  explicit Loader(const std::filesystem::path& path)
      : file_(std::make_shared<const SafetensorsFile>(path)) {
    out_.file = path;
    out_.metadata = file_->metadata();
    out_.storage.push_back(file_);
  }

  Dump load() && {
    // All shapes before any value, so that a bad dump is refused before its data are paged in.
    const TensorView& q = expect("q", "F8_E4M3", {{"M"}, {"H"}, {"D"}});
    const std::int64_t m = q.shape[0], h = q.shape[1], d = q.shape[2];
    const TensorView& k = expect("k", "F8_E4M3", {{"N"}, {"D", d}});
    const std::int64_t n = k.shape[0];
    const TensorView& w = expect("w", "F32", {{"M", m}, {"H", h}});
    const TensorView& k_scale = expect("k_scale", "F32", {{"N", n}});
    const TensorView& pos = expect("pos", "I32", {{"M", m}});
    const bool has_attention = both("attn", "attn_rows");
    const bool has_needles = both("needle", "needle_row");
    if (has_attention) {
      const TensorView& attn = expect("attn", "F16", {{"A", {}, 0}, {"N", n}});
      expect("attn_rows", "I32", {{"A", attn.shape[0]}});
    }
    if (has_needles) {
      const TensorView& needle = expect("needle", "I32", {{"n", {}, 0}, {"2", 2}});
      expect("needle_row", "I32", {{"n", needle.shape[0]}});
    }

    out_.queries = static_cast<std::int32_t>(m);
    out_.heads = static_cast<std::int32_t>(h);
    out_.head_dim = static_cast<std::int32_t>(d);
    out_.keys = static_cast<std::int32_t>(n);
    out_.q = elements<e4m3fn>(q);
    out_.k = elements<e4m3fn>(k);
    out_.w = elements<float>(w);
    out_.k_scale = elements<float>(k_scale);
    out_.pos = elements<std::int32_t>(pos);
    check_w();
    check_k_scale();
    check_indices("pos", out_.pos, "N", out_.keys);
    if (has_attention)
      load_attention();
    if (has_needles)
      load_needles();
    return std::move(out_);
  }

private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw BadInput(display(out_.file) + ": " + what);
  }

  /// The tensor of this name, of this dtype and shape. Extents without a value are defined here.
  const TensorView& expect(const char* name, const char* dtype,
                           std::initializer_list<Extent> extents) const {
    const TensorView& tensor = file_->tensor(name);
    bool right = tensor.dtype == dtype && tensor.shape.size() == extents.size();
    std::string expected;
    for (std::size_t i = 0; const Extent& extent : extents) {
      right = right && extent.value.value_or(tensor.shape[i]) == tensor.shape[i];
      expected += i == 0 ? "" : ", ";
      const std::string value = extent.value ? std::to_string(*extent.value) : "";
      expected +=
          value.empty() || value == extent.symbol ? extent.symbol : extent.symbol + (" = " + value);
      ++i;
    }
    if (!right)
      refuse("tensor " + quote(name) + " is " + tensor.dtype + " " + display(tensor.shape) +
             ", expected " + dtype + " [" + expected + "]");
    for (std::size_t i = 0; const Extent& extent : extents) {
      if (!extent.value && (tensor.shape[i] < extent.least || tensor.shape[i] > max_extent))
        refuse("tensor " + quote(name) + " has shape " + display(tensor.shape) + ", but " +
               extent.symbol + " must be from " + std::to_string(extent.least) + " to " +
               std::to_string(max_extent));
      ++i;
    }
    return tensor;
  }

  /// Whether the file has both tensors; one alone is refused.
  [[nodiscard]] bool both(const char* a, const char* b) const {
    const bool has_a = file_->contains(a), has_b = file_->contains(b);
    if (has_a != has_b)
      refuse("tensor " + quote(has_a ? a : b) + " needs tensor " + quote(has_a ? b : a) +
             ", which is missing");
    return has_a;
  }

  /// The elements in the file where alignment permits, else a copy. The copy cannot exceed the
  /// file.
  template <class T>
  std::span<const T> elements(const TensorView& tensor) {
    if (tensor.fits<T>())
      return tensor.as<T>();
    auto copy = std::make_shared<std::vector<T>>(tensor.bytes.size() / sizeof(T));
    tensor.copy_to(std::span(*copy));
    out_.storage.push_back(copy);
    return *copy;
  }

  void check_w() const {
    const auto bad = std::ranges::find_if(out_.w, [](float x) { return !std::isfinite(x); });
    if (bad == out_.w.end())
      return;
    const auto at = bad - out_.w.begin();
    refuse("w[" + std::to_string(at / out_.heads) + ", " + std::to_string(at % out_.heads) +
           "] is " + number(*bad) + ", expected a finite weight");
  }

  void check_k_scale() const {
    const auto bad =
        std::ranges::find_if(out_.k_scale, [](float x) { return !(std::isfinite(x) && x > 0.0F); });
    if (bad != out_.k_scale.end())
      refuse("k_scale[" + std::to_string(bad - out_.k_scale.begin()) + "] is " + number(*bad) +
             ", expected a finite positive scale");
  }

  void check_indices(const char* name, std::span<const std::int32_t> indices, const char* symbol,
                     std::int32_t bound) const {
    const auto bad =
        std::ranges::find_if(indices, [bound](std::int32_t i) { return i < 0 || i >= bound; });
    if (bad != indices.end())
      refuse(std::string(name) + "[" + std::to_string(bad - indices.begin()) + "] is " +
             std::to_string(*bad) + ", expected at least 0 and less than " + symbol + " = " +
             std::to_string(bound));
  }

  void load_attention() {
    Attention attention{elements<std::int32_t>(file_->tensor("attn_rows")),
                        elements<fp16>(file_->tensor("attn"))};
    check_indices("attn_rows", attention.rows, "M", out_.queries);
    // By bits: +0 to the largest finite number, or -0.
    const auto bad = std::ranges::find_if(
        attention.values, [](fp16 x) { return x.bits >= 0x7c00 && x.bits != 0x8000; });
    if (bad != attention.values.end()) {
      const auto at = bad - attention.values.begin();
      const bool infinite = (bad->bits & 0x7fff) == 0x7c00, nan = (bad->bits & 0x7fff) > 0x7c00;
      refuse("attn[" + std::to_string(at / out_.keys) + ", " + std::to_string(at % out_.keys) +
             "] is " +
             (nan        ? "nan"
              : infinite ? "infinite"
                         : "negative") +
             ", expected a finite value of at least 0");
    }
    if (!attention.rows.empty())
      out_.attention = attention;
  }

  void load_needles() {
    const std::span<const std::int32_t> flat = elements<std::int32_t>(file_->tensor("needle"));
    Needles needles{elements<std::int32_t>(file_->tensor("needle_row")), {}};
    check_indices("needle_row", needles.rows, "M", out_.queries);
    auto ranges = std::make_shared<std::vector<std::array<std::int32_t, 2>>>();
    for (std::size_t i = 0; i < flat.size() / 2; ++i) {
      const std::int32_t begin = flat[2 * i], end = flat[2 * i + 1];
      if (begin < 0 || begin >= end || end > out_.keys)
        refuse("needle[" + std::to_string(i) + "] is [" + std::to_string(begin) + ", " +
               std::to_string(end) +
               "), expected 0 <= begin < end <= N = " + std::to_string(out_.keys));
      ranges->push_back({begin, end});
    }
    needles.ranges = *ranges;
    out_.storage.push_back(ranges);
    if (!needles.rows.empty())
      out_.needles = needles;
  }

  std::shared_ptr<const SafetensorsFile> file_;
  Dump out_;
};

} // namespace

Dump load_dump(const std::filesystem::path& file) {
  return Loader(file).load();
}

} // namespace hisa::tools
