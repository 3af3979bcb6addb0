// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// libFuzzer target: any bytes as a safetensors file. The reader refuses them with BadInput, or
// every tensor that it hands out lies in the file and survives being written and read again.
#include "tools/safetensors.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

namespace {

using hisa::tools::SafetensorsFile, hisa::tools::TensorView;

void require(bool ok, const char* what) {
  if (ok)
    return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

std::vector<TensorView> tensors_of(const SafetensorsFile& file) {
  std::vector<TensorView> all;
  for (const std::string& name : file.names())
    all.push_back(file.tensor(name));
  return all;
}

/// The bytes as a file without a place on a disk.
class MemoryFile {
  int descriptor_ = memfd_create("fuzz", 0);

public:
  void append(const void* data, std::size_t size) {
    require(write(descriptor_, data, size) == ssize_t(size), "cannot write the memory file");
  }
  ~MemoryFile() { close(descriptor_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
};

void check(const TensorView& tensor) {
  std::size_t elements = 1;
  for (std::int64_t extent : tensor.shape)
    elements *= std::size_t(extent);
  auto const size = hisa::tools::dtype_size(tensor.dtype);
  require(size && tensor.bytes.size() == elements * *size, "a tensor's bytes are not its shape's");
  unsigned sum = 0;
  for (std::byte b : tensor.bytes) // touches all of them
    sum += unsigned(b);
  [[maybe_unused]] unsigned volatile const used = sum;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  MemoryFile memory;
  if (size > 0 && data[0] == '{') {
    std::uint64_t length = size;
    while (data[length - 1] != '}' && length > 1)
      --length;
    memory.append(&length, sizeof length);
  }
  memory.append(data, size);
  try {
    SafetensorsFile const file(memory.path());
    auto const tensors = tensors_of(file);
    for (const TensorView& tensor : tensors)
      check(tensor);
    static std::string const copy = "/tmp/hisa-fuzz-" + std::to_string(getpid());
    hisa::tools::write_safetensors(copy, tensors, file.metadata());
    SafetensorsFile const again(copy);
    require(again.metadata() == file.metadata(), "metadata changed");
    require(again.names() == file.names(), "names changed");
    for (const TensorView& tensor : tensors) {
      const TensorView& other = again.tensor(tensor.name);
      require(other.dtype == tensor.dtype && other.shape == tensor.shape, "a tensor changed");
      require(std::equal(tensor.bytes.begin(), tensor.bytes.end(), other.bytes.begin(),
                         other.bytes.end()),
              "data changed");
    }
    unlink(copy.c_str());
  } catch (const hisa::tools::BadInput&) {
  }
  return 0;
}
