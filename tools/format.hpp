// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Numbers as text and as JSON, shared by the reports.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace hisa::tools {

using Json = nlohmann::ordered_json;

/// With so many digits behind the point.
std::string fixed(double value, int digits);

/// The same, or `-` where there is none.
std::string fixed_or_dash(const std::optional<double>& value, int digits);

/// The number, or null.
Json or_null(const std::optional<double>& value);

/// Writes the object with the library's version as its first member.
/// @throws std::runtime_error if the file cannot be written
void write_json(const std::filesystem::path& file, const Json& object);

} // namespace hisa::tools
