// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// What the documentation's examples take for granted.
#pragma once

#include <hisa/hisa.hpp>

#include <array>

extern Kokkos::DefaultExecutionSpace exec;
extern hisa::Queries<hisa::e4m3fn> queries;
extern hisa::ContiguousKeys<hisa::e4m3fn> keys;
extern std::array<hisa::PooledKeys<hisa::e4m3fn>, 2> pooled;
extern const std::int32_t *ks, *ke, *old_length, *new_length;
extern std::int32_t* out;
extern void* workspace;
