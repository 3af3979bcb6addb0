// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What is kept of a score that may win.
#pragma once

#include <hisa/config.hpp>

#include <cstdint>

HISA_NAMESPACE_BEGIN
namespace gpu {

/// A score that may be among the k best of its row.
struct alignas(8) Contender {
  float score;
  std::int32_t position;
};

} // namespace gpu
HISA_NAMESPACE_END
