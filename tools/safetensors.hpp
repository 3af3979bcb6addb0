// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Reading and writing safetensors files. The reader maps the file and treats it as hostile:
/// nothing in it is believed before it is checked, and no size in it is allocated unchecked.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace hisa::tools {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

/// An input that cannot be used. The message is one sentence: file, what and where.
class BadInput : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Free-form strings that a file carries under `__metadata__`.
using Metadata = std::map<std::string, std::string, std::less<>>;

/// Bytes of one element of a safetensors dtype such as `F32`; empty if the dtype is not known.
std::optional<std::size_t> dtype_size(std::string_view dtype) noexcept;

/// @p text between backquotes and fit for one line on a terminal: control characters escaped, cut
/// after 80 bytes.
std::string quote(std::string_view text);

/// @p file as it appears in a message: whole, control characters escaped.
std::string display(const std::filesystem::path& file);

/// `[2, 3, 4]`, for messages.
std::string display(std::span<const std::int64_t> shape);

/// One tensor, not owning: row-major elements of `dtype`, `bytes.size()` is their total size.
/// Inside a file the bytes may have any alignment.
struct TensorView {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  /// Whether `as<T>()` may be called: T has the size of the dtype and the bytes are aligned for it.
  template <class T>
  [[nodiscard]] bool fits() const noexcept {
    return dtype_size(dtype) == sizeof(T) && bytes.size() % sizeof(T) == 0 &&
           (bytes.empty() || reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) == 0);
  }

  /// The elements in place. @throws std::logic_error unless `fits<T>()`.
  template <class T>
  [[nodiscard]] std::span<const T> as() const {
    static_assert(std::is_trivially_copyable_v<T>, "elements are read as raw bytes");
    if (!fits<T>())
      throw std::logic_error("TensorView::as: tensor " + quote(name) +
                             " is not aligned for this element type or has another element size");
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }

  /// Copies the elements, whatever their alignment. @throws std::logic_error if @p to has another
  /// size than the tensor or T another size than the dtype.
  template <class T>
  void copy_to(std::span<T> to) const {
    static_assert(std::is_trivially_copyable_v<T>, "elements are copied as raw bytes");
    if (dtype_size(dtype) != sizeof(T) || to.size_bytes() != bytes.size())
      throw std::logic_error("TensorView::copy_to: tensor " + quote(name) +
                             " does not have the size of the destination");
    if (!bytes.empty())
      std::memcpy(to.data(), bytes.data(), bytes.size());
  }
};

/// A regular file mapped read-only. It must not shrink while it is mapped.
class MappedFile {
public:
  /// @throws BadInput if there is no such file, it is not a regular file or cannot be read.
  explicit MappedFile(const std::filesystem::path& file);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

private:
  std::span<const std::byte> bytes_;
};

/// A checked safetensors file; the tensors stay valid as long as this object or what it was moved
/// into. Accepts what the reference implementation accepts of the dtypes in `dtype_size`, but
/// refuses duplicate names. Complexity: linear in the header; the data are not touched.
class SafetensorsFile {
public:
  /// The header limit of the reference implementation, in bytes.
  static constexpr std::uint64_t max_header = 100'000'000;

  /// @throws BadInput if the file cannot be read or breaks any rule of the format.
  explicit SafetensorsFile(const std::filesystem::path& file);

  [[nodiscard]] bool contains(std::string_view name) const { return tensors_.contains(name); }

  /// @throws BadInput if the file has no tensor of this name.
  [[nodiscard]] const TensorView& tensor(std::string_view name) const;

  /// All names, sorted.
  [[nodiscard]] std::vector<std::string> names() const;

  [[nodiscard]] const Metadata& metadata() const noexcept { return metadata_; }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

private:
  std::filesystem::path path_;
  MappedFile mapping_;
  std::map<std::string, TensorView, std::less<>> tensors_;
  Metadata metadata_;
};

/// Writes @p tensors in the given order, without gaps, behind a header padded to 8 bytes (so
/// tensors are aligned if none follows one of smaller elements). The file appears whole or not at
/// all: the bytes go to a sibling that is renamed at the end, and an older file survives a failure.
/// @throws std::runtime_error if writing fails, std::invalid_argument if a tensor is inconsistent
/// or a name occurs twice.
void write_safetensors(const std::filesystem::path& file, std::span<const TensorView> tensors,
                       const Metadata& metadata = {});

} // namespace hisa::tools
