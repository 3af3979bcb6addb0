// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensors of a dump (docs/dumps.md), for programs that trust the file.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <ios>
#include <string>
#include <vector>

namespace bench {

/// A tensor of a safetensors file, found by its name.
template <class T>
std::vector<T> tensor(const std::string& file, const std::string& name) {
  std::ifstream in(file, std::ios::binary);
  std::uint64_t header_bytes = 0;
  in.read(reinterpret_cast<char*>(&header_bytes), 8);
  std::string header(header_bytes, ' ');
  in.read(header.data(), std::streamsize(header_bytes));
  std::size_t at = header.find("\"" + name + "\":");
  at = at == std::string::npos ? at : header.find("\"data_offsets\"", at);
  if (!in || at == std::string::npos) {
    std::fprintf(stderr, "no tensor %s in %s\n", name.c_str(), file.c_str());
    std::exit(1);
  }
  char* rest = header.data() + header.find('[', at) + 1;
  std::uint64_t const begin = std::strtoull(rest, &rest, 10);
  while (*rest == ',' || *rest == ' ')
    ++rest;
  std::uint64_t const end = std::strtoull(rest, &rest, 10);
  std::vector<T> values((end - begin) / sizeof(T));
  in.seekg(std::streamoff(8 + header_bytes + begin));
  in.read(reinterpret_cast<char*>(values.data()), std::streamsize(end - begin));
  return values;
}

} // namespace bench
