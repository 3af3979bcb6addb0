// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Launching kernels. What launches is a template, so that kernels are compiled where they are
/// launched.
#pragma once

#include <hisa/cuda/caller_blocks.cuh>
#include <hisa/cuda/flat.cuh>
#include <hisa/cuda/maps.cuh>
#include <hisa/cuda/pairs.cuh>
#include <hisa/cuda/sifted.cuh>
#include <hisa/cuda/tokens.cuh>

#include <limits>

HISA_NAMESPACE_BEGIN
namespace cuda {

inline dim3 row_of_ctas(std::int64_t ctas) {
  return dim3(static_cast<unsigned>(ctas));
}

/// Launches `kernel(task)` with `bytes` of dynamic shared memory, `cluster` CTAs together.
/// @param most  bytes that any launch of the kernel asks for, the same for all: the kernel's limit
///              is one for all threads of the host
template <class Task>
void launch(void (*kernel)(Task), dim3 ctas, int threads, std::size_t bytes, std::size_t most,
            cudaStream_t stream, const Task& task, const char* name, int cluster = 1) {
  if (ctas.x == 0)
    return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(most)),
        name);
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization; // see begin_kernel
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = ctas;
  config.blockDim = static_cast<unsigned>(threads);
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = cluster > 1 ? 2 : 1;
  check(cudaLaunchKernelEx(&config, kernel, task), name);
}

/// The same, always with as many bytes.
template <class Task>
void launch(void (*kernel)(Task), dim3 ctas, int threads, std::size_t bytes, cudaStream_t stream,
            const Task& task, const char* name, int cluster = 1) {
  launch(kernel, ctas, threads, bytes, bytes, stream, task, name, cluster);
}

/// A multiprocessor's shared memory, of which each CTA takes so much beside what it asks for.
inline constexpr std::size_t multiprocessor_bytes = 228 * 1024, bytes_beside = 1024;

/// Shared memory for each of `ctas` CTAs: what it needs, or so much more that no multiprocessor has
/// room for more than its share of them. Else the multiprocessors that the kernel before leaves
/// first may take as many as they have room for, and others none (inferred from times). Kernels of
/// other streams have less room beside them.
inline std::size_t spread_bytes(std::size_t needed, std::int64_t ctas, const Device& device) {
  std::int64_t const share = (ctas + device.processors - 1) / device.processors;
  std::size_t const room = multiprocessor_bytes / static_cast<std::size_t>(share > 1 ? share : 1);
  std::size_t const most = room > bytes_beside ? (room - bytes_beside) / 128 * 128 : 0;
  return needed > most ? needed : most;
}

/// Launches `kernel(task)` by CTAs that spread over the multiprocessors.
template <class Task>
void launch_spread(void (*kernel)(Task), std::int64_t ctas, int threads, std::size_t needed,
                   const Device& device, cudaStream_t stream, const Task& task, const char* name) {
  launch(kernel, row_of_ctas(ctas), threads, spread_bytes(needed, ctas, device),
         multiprocessor_bytes - bytes_beside, stream, task, name);
}

/// Cuts of the groups that are left when all multiprocessors have had as many whole groups, of
/// `tiles` tiles: the time of the last round is least, an item costing a tile more than it has.
inline int group_cuts(std::int64_t groups, std::int64_t tiles, const Device& device) {
  std::int64_t const left = groups % device.processors;
  std::int64_t best = 1, least = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t cuts = 1; cuts <= tiles && cuts <= 2 * device.processors; ++cuts) {
    std::int64_t const items = (left * cuts + device.processors - 1) / device.processors;
    std::int64_t const time = items * ((tiles + cuts - 1) / cuts + 1);
    if (time < least)
      best = cuts, least = time;
  }
  return static_cast<int>(best);
}

/// The heads that kernels are compiled for, from those of a Shape: 64, 32 or, for both, dynamic.
constexpr int kernel_heads(int heads) {
  return heads == 64 || heads == 32 ? heads : dynamic;
}

template <int Heads, Arithmetic A>
void launch_score(const ScoreTask& task, std::int64_t ctas, cudaStream_t stream) {
  launch(score_kernel<Heads, A>, row_of_ctas(ctas), ScorePolicy<A>::threads,
         sizeof(ScoreStorage<Heads, A>), stream, task, "hisa::score");
}
template <int Heads, Arithmetic A>
void launch_score(const FlatTask& task, std::int64_t ctas, cudaStream_t stream) {
  launch(flat_kernel<Heads, A>, row_of_ctas(ctas), ScorePolicy<A>::threads,
         sizeof(FlatStorage<Heads, A>), stream, task, "hisa::flat");
}
template <int Heads, Arithmetic A>
void launch_score(const SiftTask& task, std::int64_t ctas, cudaStream_t stream) {
  launch(sift_kernel<Heads, A>, row_of_ctas(ctas), ScorePolicy<A>::threads,
         sizeof(ScoreStorage<Heads, A, SiftTarget>), stream, task, "hisa::sift");
}
/// @tparam Heads  of the queries, 64 or 32; or dynamic: then the kernels of both are compiled
/// @tparam Task   ScoreTask, SiftTask or FlatTask
template <int Heads, class Task>
void launch_score(const Task& task, std::int64_t ctas, Arithmetic arithmetic, cudaStream_t stream) {
  if constexpr (Heads == dynamic)
    task.queries.heads == 64 ? launch_score<64>(task, ctas, arithmetic, stream)
                             : launch_score<32>(task, ctas, arithmetic, stream);
  else if (arithmetic == Arithmetic::native)
    launch_score<Heads, Arithmetic::native>(task, ctas, stream);
  else
    launch_score<Heads, Arithmetic::precise>(task, ctas, stream);
}

/// @param tiles  of a group, about; of listed rows, at most
template <int Heads>
void launch_score(ScoreTask task, std::int64_t tiles, Arithmetic arithmetic, const Device& device,
                  cudaStream_t stream) {
  constexpr std::int64_t share = 8; // tiles of a listed item that are worth its queries
  bool const listed = task.pieces.rows != nullptr;
  task.cuts = listed ? 1 : group_cuts(task.groups(), tiles, device);
  std::int64_t const items = task.groups() * (listed ? 1 + tiles / share : task.cuts);
  std::int64_t const ctas = items < device.processors ? items : device.processors;
  launch_score<Heads>(task, ctas, arithmetic, stream);
}

/// Has the scores of pairs computed.
/// @tparam Heads  as above
template <int Heads>
void launch_pairs(const PairTask& task, const Device& device, cudaStream_t stream) {
  if constexpr (Heads == dynamic)
    task.queries.heads == 64 ? launch_pairs<64>(task, device, stream)
                             : launch_pairs<32>(task, device, stream);
  else
    launch(pair_kernel<Heads>, row_of_ctas(device.processors), PairPolicy::threads,
           sizeof(PairStorage<Heads>), stream, task, "hisa::pairs");
}

/// How selections run, by what they are asked for.
struct SelectSizes {
  using KeepFew = KeepPolicy<64, 1024>; ///< by the blocks that a query chooses among, and keeps
  using Keep = KeepPolicy<128, 1024>;
  using KeepOfMany = KeepPolicy<256, 1024>;
  using KeepMany = KeepPolicy<256, 3968>;
  static constexpr int max_keep = KeepMany::max_kept;
  using Short = ShortRows<8192>;
  using Long = LongRows<8064, 2>;       ///< what two CTAs of a multiprocessor have room for
  using LongShared = LongRows<8192, 1>; ///< by CTAs that share a row
  using LongMany = LongRows<16384, 1>;
  static constexpr int max_topk = LongMany::max_k;
};

static_assert(SelectSizes::Long::ctas * (sizeof(TokenStorage<SelectSizes::Long>) + bytes_beside) <=
              multiprocessor_bytes);

template <class Policy>
void launch_tokens(const TokenTask& task, const Device& device, cudaStream_t stream) {
  launch_spread(token_kernel<Policy, TokenTask>, task.level.count, Policy::threads,
                sizeof(TokenStorage<Policy>), device, stream, task, "hisa::tokens");
}

/// Has tokens chosen from lists of contenders.
template <int = 0>
void launch_contenders(const ContenderTask& task, const Device& device, cudaStream_t stream) {
  using Policy = SelectSizes::Short;
  static_assert(FlatSizes::capacity <= Policy::longest);
  launch_spread(token_kernel<Policy, ContenderTask>, task.level.count, Policy::threads,
                sizeof(TokenStorage<Policy>), device, stream, task, "hisa::contenders");
}

template <class Policy>
void launch_topk(const TopkTask& task, std::int64_t rows, int cluster, cudaStream_t stream) {
  launch(topk_kernel<Policy>, row_of_ctas(rows * cluster), Policy::threads,
         sizeof(typename Policy::Storage), stream, task, "hisa::topk", cluster);
}

/// CTAs that share a row: where rows are few and long, as many as have a multiprocessor each. Two
/// CTAs of a multiprocessor are in each other's way. Of clusters of 8, so many as would take more
/// than half of the card do not fit it at once.
template <class Policy>
int row_ctas(const TopkTask& task, std::int64_t rows, const Device& device) {
  constexpr std::int64_t shortest = 16 * Policy::threads * 2; // of a CTA's part
  int ctas = 1;
  while (ctas < 8 && 2 * rows * ctas <= device.processors && task.columns >= 2 * ctas * shortest)
    ctas *= 2;
  return ctas == 8 && 2 * rows * ctas > device.processors ? 4 : ctas;
}

template <class Policy, class Source>
void launch_keep_as(const KeepTask<Source>& task, const Device& device, cudaStream_t stream) {
  launch_spread(keep_kernel<Policy, Source>, (task.level.count + group_queries - 1) / group_queries,
                Policy::threads, sizeof(KeepStorage<Policy, Source>), device, stream, task,
                "hisa::keep");
}

/// @param candidates  blocks that a query may choose among
template <int = 0>
void launch_keep(const KeepTask<ScoreRows>& task, std::int64_t candidates, const Device& device,
                 cudaStream_t stream) {
  using Sizes = SelectSizes;
  if (candidates <= Sizes::KeepFew::longest)
    launch_keep_as<Sizes::KeepFew>(task, device, stream);
  else if (task.level.budget > Sizes::Keep::max_kept)
    launch_keep_as<Sizes::KeepMany>(task, device, stream);
  else if (candidates <= Sizes::Keep::longest)
    launch_keep_as<Sizes::Keep>(task, device, stream);
  else
    launch_keep_as<Sizes::KeepOfMany>(task, device, stream);
}

template <int = 0>
void launch_keep(const KeepTask<BlockLists>& task, std::int64_t, const Device& device,
                 cudaStream_t stream) {
  using Sizes = SelectSizes;
  if (task.level.budget <= Sizes::KeepFew::max_kept)
    launch_keep_as<Sizes::KeepFew>(task, device, stream);
  else
    launch_keep_as<Sizes::KeepMany>(task, device, stream);
}

/// @param longest  candidates that a query may have
template <int = 0>
void launch_tokens(const TokenTask& task, std::int64_t longest, const Device& device,
                   cudaStream_t stream) {
  using Sizes = SelectSizes;
  if (longest <= Sizes::Short::longest)
    launch_tokens<Sizes::Short>(task, device, stream);
  else if (task.level.budget <= Sizes::Long::max_k)
    launch_tokens<Sizes::Long>(task, device, stream);
  else
    launch_tokens<Sizes::LongMany>(task, device, stream);
}

template <int = 0>
void launch_topk(const TopkTask& task, std::int64_t rows, const Device& device,
                 cudaStream_t stream) {
  using Sizes = SelectSizes;
  bool const aligned =
      reinterpret_cast<std::uintptr_t>(task.scores) % 16 == 0 && task.row_stride % 4 == 0;
  int const ctas = row_ctas<Sizes::LongShared>(task, rows, device);
  if (task.columns + (aligned ? 0 : 3) <= Sizes::Short::longest) // see TopkRow::shift
    launch_topk<Sizes::Short>(task, rows, 1, stream);
  else if (task.topk <= Sizes::Long::max_k)
    ctas == 1 ? launch_topk<Sizes::Long>(task, rows, 1, stream)
              : launch_topk<Sizes::LongShared>(task, rows, ctas, stream);
  else if (task.topk <= Sizes::LongMany::max_k)
    launch_topk<Sizes::LongMany>(task, rows, ctas, stream);
  else
    launch(topk_again_kernel<512>, row_of_ctas(rows), 512, sizeof(gpu::RadixStorage<2048>), stream,
           task, "hisa::topk");
}

} // namespace cuda
HISA_NAMESPACE_END
