// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "format.hpp"

#include "safetensors.hpp"

#include <hisa/version.hpp>

#include <fstream>
#include <iomanip>
#include <sstream>
#include <stdexcept>

namespace hisa::tools {

std::string fixed(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

std::string fixed_or_dash(const std::optional<double>& value, int digits) {
  return value ? fixed(*value, digits) : "-";
}

Json or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

void write_json(const std::filesystem::path& file, const Json& object) {
  Json root{{"hisa", HISA_VERSION}};
  root.update(object);
  // A file name need not be UTF-8; JSON must be.
  std::string const text = root.dump(2, ' ', false, Json::error_handler_t::replace);
  std::ofstream out(file);
  out << text << '\n';
  out.close();
  if (!out)
    throw std::runtime_error(display(file) + ": cannot be written");
}

} // namespace hisa::tools
