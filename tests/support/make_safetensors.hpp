// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Safetensors files made by hand for tests, well-formed or not. Nothing here uses the library's
/// own writer, so that reader and writer cannot be wrong together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stdlib.h>

namespace hisa::test {

/// A folder of its own that is removed with everything in it.
class TemporaryFolder {
public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "hisa-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      throw std::runtime_error("TemporaryFolder: mkdtemp failed for " + name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  /// Writes @p bytes to the file @p name here and returns its path.
  [[nodiscard]] std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    const auto file = path_ / name;
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.close();
    if (!out)
      throw std::runtime_error("TemporaryFolder: cannot write " + file.string());
    return file;
  }

private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  if (!in)
    throw std::runtime_error("read_file: cannot read " + file.string());
  return out.str();
}

/// The elements of @p values as raw bytes.
template <class T>
std::string raw(const std::vector<T>& values) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::string out(values.size() * sizeof(T), '\0');
  if (!values.empty())
    std::memcpy(out.data(), values.data(), out.size());
  return out;
}

/// The file of this header text and data. @p length overrides the true header length.
inline std::string raw_file(std::string_view header, std::string_view data = {},
                            std::optional<std::uint64_t> length = {}) {
  const std::uint64_t n = length.value_or(header.size());
  std::string out(sizeof n, '\0');
  std::memcpy(out.data(), &n, sizeof n);
  return out.append(header).append(data);
}

/// Tensors by name in file order, each replaceable; the header is their plain JSON.
class FileBuilder {
public:
  struct Tensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
  };

  /// Adds the tensor @p name, or replaces it where it stands.
  template <class T>
  FileBuilder& set(const std::string& name, const std::string& dtype,
                   std::vector<std::int64_t> shape, const std::vector<T>& values) {
    Tensor tensor{dtype, std::move(shape), raw(values)};
    if (const auto at = find(name); at != tensors_.end())
      at->second = std::move(tensor);
    else
      tensors_.emplace_back(name, std::move(tensor));
    return *this;
  }

  FileBuilder& remove(const std::string& name) {
    tensors_.erase(find(name));
    return *this;
  }

  /// Moves the tensor @p name to the front of the data.
  FileBuilder& first(const std::string& name) {
    const auto at = find(name);
    std::rotate(tensors_.begin(), at, at + 1);
    return *this;
  }

  /// Adds @p json, such as `"__metadata__":{}`, before the tensors.
  FileBuilder& prefix(std::string json) {
    prefix_ = std::move(json);
    return *this;
  }

  [[nodiscard]] std::string header() const {
    std::string out = "{" + prefix_;
    std::size_t offset = 0;
    for (const auto& [name, tensor] : tensors_) {
      out += out.size() > 1 ? "," : "";
      out += "\"" + name + "\":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[";
      for (std::size_t i = 0; i < tensor.shape.size(); ++i)
        out += (i == 0 ? "" : ",") + std::to_string(tensor.shape[i]);
      out += "],\"data_offsets\":[" + std::to_string(offset) + ",";
      offset += tensor.bytes.size();
      out += std::to_string(offset) + "]}";
    }
    return out + "}";
  }

  [[nodiscard]] std::string data() const {
    std::string out;
    for (const auto& [name, tensor] : tensors_)
      out += tensor.bytes;
    return out;
  }

  /// The file; with @p pad the header is padded with spaces to a multiple of 8, plus @p skew.
  [[nodiscard]] std::string file(bool pad = true, std::size_t skew = 0) const {
    std::string text = header();
    if (pad)
      text.resize((text.size() + 7) / 8 * 8 + skew, ' ');
    return raw_file(text, data());
  }

private:
  using Tensors = std::vector<std::pair<std::string, Tensor>>;

  [[nodiscard]] Tensors::iterator find(const std::string& name) {
    return std::find_if(tensors_.begin(), tensors_.end(),
                        [&](const auto& entry) { return entry.first == name; });
  }

  std::string prefix_;
  Tensors tensors_;
};

/// A valid dump with M = 3, H = 2, D = 4, N = 5, two rows of attention and two needles. Every
/// tensor may be replaced afterwards.
inline FileBuilder small_dump() {
  const auto codes = [](std::size_t n) {
    std::vector<std::uint8_t> out(n);
    for (std::size_t i = 0; i < n; ++i)
      out[i] = static_cast<std::uint8_t>(i * 37);
    return out;
  };
  FileBuilder out;
  out.prefix(R"("__metadata__":{"name":"small"})");
  out.set<float>("w", "F32", {3, 2}, {0.5F, -0.25F, 1.0F, 0.0F, -2.0F, 3.0F});
  out.set<float>("k_scale", "F32", {5}, {1.0F, 0.5F, 0.25F, 2.0F, 1e-40F});
  out.set<std::int32_t>("pos", "I32", {3}, {0, 3, 4});
  out.set<std::int32_t>("needle", "I32", {2, 2}, {0, 2, 4, 5});
  out.set<std::int32_t>("needle_row", "I32", {2}, {2, 0});
  out.set<std::int32_t>("attn_rows", "I32", {2}, {0, 2});
  // 1, 0, -0, the smallest and the largest finite number; 0.5 five times.
  out.set<std::uint16_t>(
      "attn", "F16", {2, 5},
      {0x3c00, 0x0000, 0x8000, 0x0001, 0x7bff, 0x3800, 0x3800, 0x3800, 0x3800, 0x3800});
  out.set("q", "F8_E4M3", {3, 2, 4}, codes(24));
  out.set("k", "F8_E4M3", {5, 4}, codes(20));
  return out;
}

} // namespace hisa::test
