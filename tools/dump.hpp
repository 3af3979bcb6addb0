// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What an indexer saw and, where the dump has it, what attention did with it: read from one
/// safetensors file and checked once, so that nobody behind `load_dump` has to check again.
#pragma once

#include "safetensors.hpp"

#include <hisa/float16.hpp>
#include <hisa/float8.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace hisa::tools {

/// The layer's true attention for some query rows.
struct Attention {
  std::span<const std::int32_t> rows; ///< [A] query rows, each in [0, queries)
  std::span<const fp16> values;       ///< [A, keys], finite and not negative
};

/// Token ranges that a query must find.
struct Needles {
  std::span<const std::int32_t> rows; ///< [n] the query row that asks, each in [0, queries)
  /// [n, 2] tokens begin <= t < end, with 0 <= begin < end <= keys
  std::span<const std::array<std::int32_t, 2>> ranges;
};

/// One dump. Rows are in file order, arrays row-major; the spans point into the mapped file, or
/// into copies where the file has no alignment, and live as long as any copy of the Dump.
struct Dump {
  std::filesystem::path file;
  Metadata metadata;

  std::int32_t queries = 0;  ///< M, at least 1
  std::int32_t heads = 0;    ///< H, at least 1
  std::int32_t head_dim = 0; ///< D, at least 1
  std::int32_t keys = 0;     ///< N, at least 1

  std::span<const e4m3fn> q;         ///< [M, H, D], any code
  std::span<const float> w;          ///< [M, H], finite
  std::span<const e4m3fn> k;         ///< [N, D], any code
  std::span<const float> k_scale;    ///< [N], finite and positive
  std::span<const std::int32_t> pos; ///< [M], in [0, N): row m sees keys 0..pos[m]

  std::optional<Attention> attention; ///< `attn` and `attn_rows`, unless absent or of no rows
  std::optional<Needles> needles;     ///< `needle` and `needle_row`, unless absent or none

  std::vector<std::shared_ptr<const void>> storage; ///< owns what the spans point to
};

/// Maps and checks @p file; tensors of other names are ignored. Complexity: one pass over
/// everything but q and k.
/// @throws BadInput if the file is no safetensors file, a tensor is missing or has another dtype or
/// shape than it should, or a value is outside the ranges stated in Dump.
Dump load_dump(const std::filesystem::path& file);

} // namespace hisa::tools
