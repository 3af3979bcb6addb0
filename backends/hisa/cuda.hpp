// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// hisa for CUDA without Kokkos: `#include <hisa/cuda.hpp>`, nvcc and the CUDA runtime are all that
/// is needed. See hisa/cuda/plan.cuh for the indexers, functions.cuh for scores and top-k by
/// themselves, pool.cuh for pooled keys.
#pragma once

#include <hisa/cuda/block_sparse.cuh>
#include <hisa/cuda/functions.cuh>
#include <hisa/cuda/plan.cuh>
#include <hisa/cuda/pool.cuh>
