// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The paper's block-sparse baseline on a CUDA stream: a plan whose block budget follows from k.
#pragma once

#include <hisa/cuda/plan.cuh>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// The paper's block-sparse baseline: all visible tokens of the best topk / B blocks. It is the
/// hierarchy with the budget m = topk / B on its finest level: a call takes what any call of such a
/// plan takes, and scores tokens only where it is asked for scores.
///
/// @param budgets  `topk`; `block_size` where levels are dynamic; `keep` of the levels above the
///                 finest, whose own follows
/// @throws precondition_error unless B divides topk and the boundary option is not `extra`, and
///         where make_plan does
template <class LevelsT, PoolingRule Rule = MeanPool, int Heads = dynamic, int HeadDim = dynamic>
Plan<LevelsT, Rule, kernel_heads(Heads)> make_block_sparse_plan(const Shape<Heads, HeadDim>& shape,
                                                                const Budgets& budgets,
                                                                const Options& options = {}) {
  static_assert(LevelsT::count > 0, "hisa::cuda::make_block_sparse_plan: takes at least one level");
  return make_plan<LevelsT, Rule>(shape,
                                  hisa::detail::block_sparse_budgets("cuda::make_block_sparse_plan",
                                                                     LevelsT::block_sizes(),
                                                                     budgets, options.boundary),
                                  options);
}

} // namespace cuda
HISA_NAMESPACE_END
