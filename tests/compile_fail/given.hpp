// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Right arguments for the calls here, each of which has one that is wrong.
#pragma once

#include <hisa/hisa.hpp>

#include <array>

using hisa::e4m3fn, hisa::Levels, hisa::MeanPool;

struct Given {
  Kokkos::DefaultExecutionSpace exec;
  hisa::Shape<> shape;
  hisa::Queries<e4m3fn> queries;
  hisa::ContiguousKeys<e4m3fn> keys;
  hisa::PagedKeys<e4m3fn> pages;
  hisa::PooledKeys<e4m3fn> pooled;
  hisa::BlockLists lists;
  hisa::Ranges ranges;
  hisa::Lengths lengths;
  hisa::Ragged ragged;
  hisa::Sequences sequences;
  hisa::Logits logits;
  hisa::Selection out;
  hisa::WorkspaceSpan workspace;

  auto flat() const { return hisa::make_plan<Levels<>>(exec, shape, {.topk = 1}); }
  auto one_level() const {
    return hisa::make_plan<Levels<128>>(exec, shape, {.keep = {1}, .topk = 1});
  }
  auto two_levels() const {
    return hisa::make_plan<Levels<128, 16>>(exec, shape, {.keep = {1, 1}, .topk = 1});
  }
  auto refine() const {
    return hisa::make_plan<Levels<128>, hisa::CallerBlocks>(exec, shape, {.keep = {1}, .topk = 1});
  }
  auto decode() const {
    return hisa::make_plan<Levels<>, MeanPool, hisa::RadixSelect, hisa::PagedKeys<e4m3fn>>(
        exec, shape, {.topk = 1});
  }
};
