// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The library on Kokkos, whole: plans and calls, pooling, logits, team-level selection, Views.
#pragma once

#include <hisa/head_rules.hpp>
#include <hisa/logits.hpp>
#include <hisa/plan.hpp>
#include <hisa/pool_keys.hpp>
#include <hisa/report.hpp>
#include <hisa/row_rules.hpp>
#include <hisa/version.hpp>
#include <hisa/views.hpp>
