// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Launching kernels, and what is known of the device.
#pragma once

#include <hisa/cuda/caller_blocks.cuh>
#include <hisa/cuda/flat.cuh>
#include <hisa/cuda/tokens.cuh>
#include <hisa/error.hpp>

#include <cuda_runtime.h>

#include <limits>
#include <string>

HISA_NAMESPACE_BEGIN
namespace cuda {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    hisa::detail::fail<launch_error>(std::string("hisa::cuda: ") + what + ": " +
                                     cudaGetErrorString(error));
}

/// Says by its number of threads whether this program's code for the device was compiled for
/// sm_90a: code for plain sm_90 runs there too, but is without the tensor core's asynchronous
/// products.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HISA_COMPILED_FOR 96
#else
#define HISA_COMPILED_FOR 32
#endif
template <int = 0>
__global__ void __launch_bounds__(HISA_COMPILED_FOR) compiled_for() {}
#undef HISA_COMPILED_FOR

/// The most keys, or heads of queries, that the kernels count to.
inline constexpr std::int64_t max_rows = std::numeric_limits<std::int32_t>::max() - 256;

/// What the launches depend on.
struct Device {
  int architecture = 0; ///< 90 for sm_90
  int processors = 0;   ///< multiprocessors
  bool sm_90a = false;  ///< the program has code for sm_90a
  // Where the flat kernel is faster than rows of scores, as measured (bench/README.md): flat calls
  // whose rows are worked on so many at a time or fewer, with so many keys or more.
  std::int64_t few_rows = 0, flat_keys = std::int64_t(1) << 17;

  static Device current() {
    Device d;
    int device = 0, major = 0, minor = 0;
    check(cudaGetDevice(&device), "no device");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "attribute");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "attribute");
    check(cudaDeviceGetAttribute(&d.processors, cudaDevAttrMultiProcessorCount, device),
          "attribute");
    d.architecture = 10 * major + minor;
    d.few_rows = d.processors;
    cudaFuncAttributes code = {};
    if (cudaFuncGetAttributes(&code, compiled_for<>) == cudaSuccess)
      d.sm_90a = code.maxThreadsPerBlock == 96;
    else
      cudaGetLastError(); // a program without code for the device is no error here
    return d;
  }

  /// Queries of a group for each multiprocessor.
  std::int64_t round() const { return std::int64_t(group_queries) * processors; }
  /// Whether a flat call may keep contenders (flat.cuh): the buffer's keys are many, and whole
  /// groups of queries for each CTA leave hardly a multiprocessor idle.
  bool suits_flat_kernel(std::int64_t queries, std::int64_t keys) const {
    std::int64_t const groups = (queries + group_queries - 1) / group_queries;
    std::int64_t const places = (queries + round() - 1) / round() * processors;
    return keys >= flat_keys && (places - groups) * 32 <= places;
  }

  /// Why there are no kernels for the device: "ARGUMENT is FOUND, expected EXPECTED", or empty.
  std::string not_covered() const {
    using hisa::detail::unlike;
    if (architecture != 90)
      return unlike("the device's architecture", architecture, "90 (sm_90a)");
    if (!sm_90a)
      return unlike("the program's code for the device", "not for sm_90a",
                    "code of -gencode arch=compute_90a,code=sm_90a");
    return "";
  }
};

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

/// A function of the driver, whose library a program need not be linked with.
template <class Function>
Function* driver_function(const char* name, unsigned version) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  check(cudaGetDriverEntryPointByVersion(name, &function, version, cudaEnableDefault, &found),
        name);
  if (found != cudaDriverEntryPointSuccess)
    hisa::detail::fail<launch_error>(std::string("hisa::cuda: the driver has no ") + name);
  return reinterpret_cast<Function*>(function);
}

/// The driver's functions need a context, which the runtime gives a thread of the host when that
/// first needs one: here, if it has none yet.
inline void require_context() {
  static auto* const current = driver_function<decltype(cuCtxGetCurrent)>("cuCtxGetCurrent", 4000);
  CUcontext context = nullptr;
  if (current(&context) == CUDA_SUCCESS && context != nullptr)
    return;
  cudaFuncAttributes code = {};
  check(cudaFuncGetAttributes(&code, compiled_for<>), "no context");
}

/// Describes a tensor to the copy engine: `count` rows of `width` elements, `stride` bytes apart,
/// to be fetched in boxes of `box_count` rows of `box_width` elements. Count 0: one row, of one
/// dimension.
inline CUtensorMap tensor_map(CUtensorMapDataType type, const void* data, std::int64_t width,
                              std::int64_t count, std::int64_t stride, int box_width, int box_count,
                              CUtensorMapSwizzle swizzle) {
  static auto* const encode =
      driver_function<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled", 12000);
  require_context();
  CUtensorMap map;
  cuuint64_t const extents[] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(count)};
  cuuint64_t const strides[] = {static_cast<cuuint64_t>(stride)};
  cuuint32_t const box[] = {static_cast<cuuint32_t>(box_width), static_cast<cuuint32_t>(box_count)};
  cuuint32_t const steps[] = {1, 1};
  CUresult const result =
      encode(&map, type, count > 0 ? 2 : 1, const_cast<void*>(data), extents, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    hisa::detail::fail<launch_error>("hisa::cuda: cuTensorMapEncodeTiled refused a tensor, error " +
                                     std::to_string(result));
  return map;
}

/// Rows of 128 fp8 values, in boxes of `box` rows.
inline CUtensorMap row_map(const e4m3fn* values, std::int64_t rows, std::int64_t stride, int box) {
  return tensor_map(CU_TENSOR_MAP_DATA_TYPE_UINT8, values, 128, rows, stride, 128, box,
                    CU_TENSOR_MAP_SWIZZLE_128B);
}

/// Consecutive floats from an address that is a multiple of 16 on, in boxes of `box` floats.
inline CUtensorMap line_map(const float* values, std::int64_t count, int box) {
  return tensor_map(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, values, count, 0, 0, box, 1,
                    CU_TENSOR_MAP_SWIZZLE_NONE);
}

/// The rows of a level, in its buffer.
struct Rows {
  const e4m3fn* values = nullptr;
  const float* scales = nullptr;
  std::int64_t count = 0, stride = 128;
};

inline Rows rows_of(const ContiguousKeys<e4m3fn>& keys) {
  return {keys.values, keys.scales, keys.count, keys.row_stride == 0 ? 128 : keys.row_stride};
}

/// Sets what of the task follows from its queries and rows.
inline void set_rows(ScoreTask& task, const Queries<e4m3fn>& queries, const Rows& rows) {
  task.queries = queries;
  task.query_map = row_map(queries.values, queries.count * queries.heads, 128, queries.heads);
  int const piece = 1 << task.pieces.piece_log2;
  task.key_map = row_map(rows.values, rows.count, rows.stride, piece);
  task.scale_shift =
      static_cast<std::int32_t>(reinterpret_cast<std::uintptr_t>(rows.scales) / 4 % 4);
  task.scale_map = line_map(rows.scales - task.scale_shift, rows.count + task.scale_shift,
                            scale_line(task.pieces.piece_log2));
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
/// @tparam Task  ScoreTask or FlatTask
template <class Task>
void launch_score(const Task& task, std::int64_t ctas, Arithmetic arithmetic, cudaStream_t stream) {
  bool const native = arithmetic == Arithmetic::native;
  if (task.queries.heads == 64)
    native ? launch_score<64, Arithmetic::native>(task, ctas, stream)
           : launch_score<64, Arithmetic::precise>(task, ctas, stream);
  else
    native ? launch_score<32, Arithmetic::native>(task, ctas, stream)
           : launch_score<32, Arithmetic::precise>(task, ctas, stream);
}

/// @param tiles  of a group, about; of listed rows, at most
inline void launch_score(ScoreTask task, std::int64_t tiles, Arithmetic arithmetic,
                         const Device& device, cudaStream_t stream) {
  constexpr std::int64_t share = 8; // tiles of a listed item that are worth its queries
  bool const listed = task.pieces.rows != nullptr;
  task.cuts = listed ? 1 : group_cuts(task.groups(), tiles, device);
  std::int64_t const items = task.groups() * (listed ? 1 + tiles / share : task.cuts);
  std::int64_t const ctas = items < device.processors ? items : device.processors;
  launch_score(task, ctas, arithmetic, stream);
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
inline void launch_contenders(const ContenderTask& task, const Device& device,
                              cudaStream_t stream) {
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
inline void launch_keep(const KeepTask<ScoreRows>& task, std::int64_t candidates,
                        const Device& device, cudaStream_t stream) {
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

inline void launch_keep(const KeepTask<BlockLists>& task, std::int64_t, const Device& device,
                        cudaStream_t stream) {
  using Sizes = SelectSizes;
  if (task.level.budget <= Sizes::KeepFew::max_kept)
    launch_keep_as<Sizes::KeepFew>(task, device, stream);
  else
    launch_keep_as<Sizes::KeepMany>(task, device, stream);
}

/// @param longest  candidates that a query may have
inline void launch_tokens(const TokenTask& task, std::int64_t longest, const Device& device,
                          cudaStream_t stream) {
  using Sizes = SelectSizes;
  if (longest <= Sizes::Short::longest)
    launch_tokens<Sizes::Short>(task, device, stream);
  else if (task.level.budget <= Sizes::Long::max_k)
    launch_tokens<Sizes::Long>(task, device, stream);
  else
    launch_tokens<Sizes::LongMany>(task, device, stream);
}

inline void launch_topk(const TopkTask& task, std::int64_t rows, const Device& device,
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
