// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "safetensors.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <set>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace hisa::tools {
namespace {

constexpr std::string_view metadata_key = "__metadata__";

std::string reason(int error) {
  return std::generic_category().message(error);
}

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& what) {
  throw BadInput(display(file) + ": " + what);
}

/// Escapes ASCII and C1 control characters, so that a name can neither break the sentence into
/// lines nor talk to the terminal.
std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool c1 = c == 0xc2 && i + 1 < text.size() &&
                    static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                    static_cast<unsigned char>(text[i + 1]) < 0xa0;
    const unsigned code = c1 ? static_cast<unsigned char>(text[++i]) : c;
    if (code < 0x20 || code == 0x7f || c1) {
      std::array<char, 8> hex{};
      std::snprintf(hex.data(), hex.size(), "\\x%02x", code);
      out += hex.data();
    } else {
      out += text[i];
    }
  }
  return out;
}

/// a * b, or nothing if it does not fit.
std::optional<std::uint64_t> product(std::uint64_t a, std::uint64_t b) {
  std::uint64_t out = 0;
  return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional(out);
}

/// Bytes that a tensor needs, or nothing if they cannot be counted in 64 bits.
std::optional<std::uint64_t> tensor_size(std::size_t element, std::span<const std::int64_t> shape) {
  std::optional<std::uint64_t> size = 1;
  for (std::int64_t extent : shape)
    if (size)
      size = product(*size, static_cast<std::uint64_t>(extent));
  return size ? product(*size, element) : size;
}

class Descriptor {
public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0)
      ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  /// Closes and reports what close() reports.
  [[nodiscard]] bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

private:
  int fd_;
};

/// One tensor as the header states it.
struct Entry {
  std::optional<std::string> dtype;
  std::optional<std::vector<std::int64_t>> shape;
  std::optional<std::vector<std::int64_t>> offsets;
};
using Entries = std::map<std::string, Entry, std::less<>>;

/// Receives the header token by token: no document tree is built, so its size follows the file's,
/// and duplicate names can be seen.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
public:
  explicit HeaderReader(const std::filesystem::path& file) : file_(file) {}

  Entries entries;
  Metadata metadata;

  bool null() override { return other("null"); }
  bool boolean(bool value) override { return other(value ? "true" : "false"); }
  bool binary(binary_t&) override { return other("binary data"); }
  bool number_float(number_float_t, const string_t& text) override { return other(text); }
  // Only numbers with a minus sign arrive here.
  bool number_integer(number_integer_t value) override {
    return other(value == 0 ? "-0" : std::to_string(value));
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (skipping())
      return true;
    if (place_ != Place::list || !std::in_range<std::int64_t>(value))
      return other(std::to_string(value));
    if (list_.size() == max_rank)
      refuse(file_, where() + " holds more than " + std::to_string(max_rank) + " numbers");
    list_.push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata)
      metadata.insert_or_assign(key_, std::move(value));
    else if (place_ == Place::entry && field_ == Field::dtype)
      entry_->dtype = std::move(value);
    else
      return other("the string " + quote(value));
    return true;
  }

  bool start_object(std::size_t) override {
    enter();
    if (place_ == Place::outside)
      place_ = Place::root;
    else if (place_ == Place::root)
      place_ = in_metadata_ ? Place::metadata : Place::entry;
    else
      return other("an object");
    return true;
  }

  bool key(string_t& name) override {
    if (skip_depth_ > 0)
      return true;
    if (place_ == Place::root)
      start_entry(name);
    else if (place_ == Place::metadata)
      start_metadata(name);
    else
      start_field(name);
    return true;
  }

  bool end_object() override {
    if (leave())
      return true;
    if (place_ == Place::entry)
      finish_entry();
    place_ = Place::root;
    return true;
  }

  bool start_array(std::size_t) override {
    enter();
    if (place_ != Place::entry || field_ == Field::dtype || skipping())
      return other("a list");
    place_ = Place::list;
    list_.clear();
    return true;
  }

  bool end_array() override {
    if (leave())
      return true;
    (field_ == Field::shape ? entry_->shape : entry_->offsets) = list_;
    place_ = Place::entry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    // The library counts characters read, so the last one stands one before.
    refuse(file_, "the header is not valid JSON at byte " + std::to_string(position + 7));
  }

private:
  static constexpr std::size_t max_depth = 16;
  static constexpr std::size_t max_rank = 64;
  enum class Place { outside, root, metadata, entry, list };
  enum class Field { dtype, shape, offsets, unknown };

  [[nodiscard]] bool skipping() const { return place_ == Place::entry && field_ == Field::unknown; }

  void enter() {
    if (++depth_ > max_depth)
      refuse(file_, "the header nests deeper than " + std::to_string(max_depth) + " levels" +
                        (key_.empty() ? "" : " in " + quote(key_)));
    if (skipping() && skip_depth_ == 0)
      skip_depth_ = depth_;
  }

  /// Whether what ends here belongs to an unknown field.
  [[nodiscard]] bool leave() {
    const bool skipped = skip_depth_ > 0;
    if (--depth_ < skip_depth_)
      skip_depth_ = 0;
    return skipped;
  }

  void start_entry(const std::string& name) {
    key_ = name;
    in_metadata_ = name == metadata_key;
    if (in_metadata_ ? std::exchange(metadata_seen_, true) : entries.contains(name))
      refuse(file_, (in_metadata_ ? "" : "tensor ") + quote(name) + " occurs twice in the header");
    if (!in_metadata_)
      entry_ = &entries[name];
  }

  void start_metadata(const std::string& name) {
    if (!metadata.try_emplace(name).second)
      refuse(file_, "`__metadata__` holds " + quote(name) + " twice");
    key_ = name;
  }

  void start_field(const std::string& name) {
    field_ = name == "dtype"          ? Field::dtype
             : name == "shape"        ? Field::shape
             : name == "data_offsets" ? Field::offsets
                                      : Field::unknown;
    if ((field_ == Field::dtype && entry_->dtype) || (field_ == Field::shape && entry_->shape) ||
        (field_ == Field::offsets && entry_->offsets))
      refuse(file_, "tensor " + quote(key_) + " has " + quote(name) + " twice");
  }

  void finish_entry() {
    const char* missing = !entry_->dtype     ? "dtype"
                          : !entry_->shape   ? "shape"
                          : !entry_->offsets ? "data_offsets"
                                             : nullptr;
    if (missing != nullptr)
      refuse(file_, "tensor " + quote(key_) + " has no " + quote(missing));
    if (entry_->offsets->size() != 2)
      refuse(file_, "`data_offsets` of tensor " + quote(key_) + " holds " +
                        std::to_string(entry_->offsets->size()) + " numbers, expected 2");
  }

  [[nodiscard]] std::string where() const {
    switch (place_) {
    case Place::outside:
      return "the header";
    case Place::root:
      return (in_metadata_ ? "" : "tensor ") + quote(key_);
    case Place::metadata:
      return "the value of " + quote(key_) + " in `__metadata__`";
    default:
      return (field_ == Field::dtype   ? "`dtype`"
              : field_ == Field::shape ? "`shape`"
                                       : "`data_offsets`") +
             (" of tensor " + quote(key_));
    }
  }

  /// A value that is right only where an unknown field is skipped.
  bool other(const std::string& found) {
    if (skipping())
      return true;
    const char* expected = place_ == Place::outside || place_ == Place::root ? "an object"
                           : place_ == Place::metadata                       ? "a string"
                           : place_ == Place::list  ? "integers from 0 to 2^63 - 1"
                           : field_ == Field::dtype ? "a string"
                                                    : "a list of integers";
    refuse(file_, where() + " holds " + printable(std::string_view(found).substr(0, 100)) +
                      ", expected " + expected);
  }

  const std::filesystem::path& file_;
  Place place_ = Place::outside;
  Field field_ = Field::dtype;
  bool in_metadata_ = false, metadata_seen_ = false;
  std::size_t depth_ = 0, skip_depth_ = 0;
  std::string key_;
  Entry* entry_ = nullptr;
  std::vector<std::int64_t> list_;
};

/// Splits the file into the header text and the data behind it.
std::pair<std::string_view, std::span<const std::byte>> split(const std::filesystem::path& file,
                                                              std::span<const std::byte> bytes) {
  const std::string size = std::to_string(bytes.size()) + " bytes";
  if (bytes.empty())
    refuse(file, "the file is empty");
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length)
    refuse(file, "the file has " + size + ", shorter than the 8 bytes of the header length");
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > bytes.size() - sizeof length)
    refuse(file, "the header length " + std::to_string(length) +
                     " at byte 0 reaches beyond the file of " + size);
  if (length > SafetensorsFile::max_header)
    refuse(file, "the header length " + std::to_string(length) +
                     " at byte 0 exceeds the limit of " +
                     std::to_string(SafetensorsFile::max_header) + " bytes");
  const auto at = static_cast<std::size_t>(length);
  return {{reinterpret_cast<const char*>(bytes.data()) + sizeof length, at},
          bytes.subspan(sizeof length + at)};
}

/// The entry as a view into @p data, once dtype, shape and offsets agree.
TensorView checked(const std::filesystem::path& file, const std::string& name, Entry& entry,
                   std::span<const std::byte> data) {
  const std::string tensor = "tensor " + quote(name);
  const auto element = dtype_size(*entry.dtype);
  if (!element)
    refuse(file, tensor + " has the unknown dtype " + quote(*entry.dtype));
  const auto size = tensor_size(*element, *entry.shape);
  if (!size)
    refuse(file, tensor + " has shape " + display(*entry.shape) + ", whose size overflows 64 bits");
  const auto begin = static_cast<std::uint64_t>((*entry.offsets)[0]);
  const auto end = static_cast<std::uint64_t>((*entry.offsets)[1]);
  const std::string offsets = tensor + " has data_offsets " + display(*entry.offsets);
  if (begin > end)
    refuse(file, offsets + ", which are reversed");
  if (end > data.size())
    refuse(file, offsets + ", which reach out of range of the " + std::to_string(data.size()) +
                     " data bytes");
  if (end - begin != *size)
    refuse(file, offsets + ", which hold " + std::to_string(end - begin) + " bytes, but " +
                     printable(*entry.dtype) + " " + display(*entry.shape) + " needs " +
                     std::to_string(*size));
  return {name, std::move(*entry.dtype), std::move(*entry.shape),
          data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(*size))};
}

/// The format wants the tensors to cover the data exactly.
void check_cover(const std::filesystem::path& file,
                 const std::map<std::string, TensorView, std::less<>>& tensors,
                 std::span<const std::byte> data) {
  std::vector<const TensorView*> order;
  order.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors)
    order.push_back(&tensor);
  std::ranges::sort(
      order, {}, [](const TensorView* t) { return std::pair(t->bytes.data(), t->bytes.size()); });
  std::size_t covered = 0;
  const TensorView* before = nullptr;
  for (const TensorView* tensor : order) {
    const auto begin = static_cast<std::size_t>(tensor->bytes.data() - data.data());
    if (begin < covered)
      refuse(file, "tensors " + quote(before->name) + " and " + quote(tensor->name) +
                       " overlap at data byte " + std::to_string(begin));
    if (begin > covered)
      refuse(file, "a gap of " + std::to_string(begin - covered) + " bytes precedes tensor " +
                       quote(tensor->name) + " at data byte " + std::to_string(covered));
    covered = begin + tensor->bytes.size();
    before = tensor;
  }
  if (covered != data.size())
    refuse(file, std::to_string(data.size() - covered) + " trailing bytes follow data byte " +
                     std::to_string(covered) + ", where the last tensor ends");
}

/// A new file that vanishes unless it is renamed.
class Temporary {
public:
  explicit Temporary(const std::filesystem::path& target) : target_(target), fd_(create()) {}
  ~Temporary() {
    if (!path_.empty())
      ::unlink(path_.c_str());
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
      if (n < 0 && errno != EINTR)
        fail();
      bytes = bytes.subspan(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
  }

  void commit() {
    // EINVAL: a file system that cannot synchronise.
    if (::fsync(fd_.get()) != 0 && errno != EINVAL)
      fail();
    if (!fd_.close() || ::rename(path_.c_str(), target_.c_str()) != 0)
      fail();
    path_.clear();
  }

private:
  [[noreturn]] void fail() const {
    throw std::runtime_error(display(target_) + ": cannot be written: " + reason(errno));
  }

  int create() {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      path_ = target_;
      path_ += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
      const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd >= 0)
        return fd;
      if (errno != EEXIST)
        break;
    }
    fail();
  }

  std::filesystem::path target_, path_;
  Descriptor fd_;
};

/// The header text of a file of these tensors, padded, after checking them.
std::string make_header(std::span<const TensorView> tensors, const Metadata& metadata) {
  const auto invalid = [](const TensorView& t, const char* what) {
    throw std::invalid_argument("write_safetensors: tensor " + quote(t.name) + " " + what);
  };
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty())
    header[std::string(metadata_key)] = metadata;
  std::set<std::string_view> names{metadata_key};
  std::uint64_t offset = 0;
  for (const TensorView& t : tensors) {
    if (!names.insert(t.name).second)
      invalid(t, "occurs twice or has the name of the metadata");
    const auto element = dtype_size(t.dtype);
    if (!element)
      invalid(t, "has an unknown dtype");
    if (std::ranges::any_of(t.shape, [](std::int64_t extent) { return extent < 0; }))
      invalid(t, "has a negative extent");
    if (tensor_size(*element, t.shape) != t.bytes.size())
      invalid(t, "has bytes that do not fit its dtype and shape");
    header[t.name] = {{"dtype", t.dtype},
                      {"shape", t.shape},
                      {"data_offsets", {offset, offset + t.bytes.size()}}};
    offset += t.bytes.size();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    throw std::invalid_argument("write_safetensors: a name or the metadata is not UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > SafetensorsFile::max_header)
    throw std::invalid_argument("write_safetensors: the header exceeds the limit of the format");
  return text;
}

} // namespace

std::optional<std::size_t> dtype_size(std::string_view dtype) noexcept {
  static constexpr std::pair<std::string_view, std::size_t> known[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
      {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
  const auto* found =
      std::ranges::find(known, dtype, &std::pair<std::string_view, std::size_t>::first);
  return found == std::end(known) ? std::nullopt : std::optional(found->second);
}

std::string quote(std::string_view text) {
  constexpr std::size_t limit = 80;
  if (text.size() <= limit)
    return "`" + printable(text) + "`";
  std::size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end; // not inside a UTF-8 sequence
  return "`" + printable(text.substr(0, end)) + "...`";
}

std::string display(const std::filesystem::path& file) {
  return printable(file.native());
}

std::string display(std::span<const std::int64_t> shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i)
    out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return out + "]";
}

MappedFile::MappedFile(const std::filesystem::path& file) {
  // O_NONBLOCK: a FIFO without a writer must not hang us.
  const Descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd.get() < 0)
    refuse(file, errno == ENOENT ? "there is no such file" : "cannot be opened: " + reason(errno));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0)
    refuse(file, "cannot be examined: " + reason(errno));
  if (S_ISDIR(status.st_mode))
    refuse(file, "is a directory, expected a safetensors file");
  if (!S_ISREG(status.st_mode))
    refuse(file, "is not a regular file");
  if (status.st_size == 0)
    return;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (start == MAP_FAILED)
    refuse(file, "cannot be mapped into memory: " + reason(errno));
  bytes_ = {static_cast<const std::byte*>(start), size};
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty())
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& file) : path_(file), mapping_(file) {
  const auto [header, data] = split(file, mapping_.bytes());
  if (!header.starts_with('{'))
    refuse(file, "the header at byte 8 is not a JSON object");
  // The parser takes a zero byte for the end of its input.
  if (const auto zero = header.find('\0'); zero != header.npos)
    refuse(file, "the header is not valid JSON at byte " + std::to_string(zero + 8));
  HeaderReader reader(file);
  nlohmann::json::sax_parse(header.data(), header.data() + header.size(), &reader);
  for (auto& [name, entry] : reader.entries)
    tensors_.emplace(name, checked(file, name, entry, data));
  check_cover(file, tensors_, data);
  metadata_ = std::move(reader.metadata);
}

const TensorView& SafetensorsFile::tensor(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    refuse(path_, "tensor " + quote(name) + " is missing");
  return found->second;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> out;
  for (const auto& [name, tensor] : tensors_)
    out.push_back(name);
  return out;
}

void write_safetensors(const std::filesystem::path& file, std::span<const TensorView> tensors,
                       const Metadata& metadata) {
  const std::string header = make_header(tensors, metadata);
  // A rename would replace a link, or a device such as /dev/null, instead of what it stands for.
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw std::runtime_error(display(file) + ": cannot be written: it is not a regular file");
  const auto target = std::filesystem::exists(status) ? std::filesystem::canonical(file) : file;
  Temporary out(target);
  const std::uint64_t length = header.size();
  out.write(std::as_bytes(std::span(&length, 1)));
  out.write(std::as_bytes(std::span(header)));
  for (const TensorView& t : tensors)
    out.write(t.bytes);
  out.commit();
}

} // namespace hisa::tools
