// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// The tensor core of sm_90a as one warpgroup uses it here: 64 keys from registers times the heads
/// of one query from shared memory, D = 128, of fp8 or of fp16 values. Only the instructions and
/// what follows from their layouts: tests/emulation has the likeness.
#pragma once

#include <hisa/cuda/barrier.cuh>
#include <hisa/cuda/tile.cuh>

#include <utility>

HISA_NAMESPACE_BEGIN
namespace cuda {

/// Byte offset, in the tile of the lane's warpgroup, of what the lane points load_keys to.
__device__ inline int key_offset() {
  int const lane = static_cast<int>(threadIdx.x) % 32;
  return swizzled(static_cast<int>(threadIdx.x) / 32 % 4 * warp_keys + lane % 16, lane / 16);
}
/// Loads the warp's 16 rows of a half of a swizzled tile.
/// @param offset  key_offset()
template <int Half>
__device__ void load_keys(KeyFragment& keys, const std::uint8_t* tile, int offset) {
  std::uint32_t const first = shared_address(tile) + static_cast<std::uint32_t>(offset);
#pragma unroll
  for (std::uint32_t step = 0; step < 4; ++step)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4 + %5];"
                 : "=r"(keys.values[step][0]), "=r"(keys.values[step][1]),
                   "=r"(keys.values[step][2]), "=r"(keys.values[step][3])
                 : "r"(first ^ step << 5), // tiles start at a multiple of 1024 bytes
                   "n"(Half * half_warp_keys * 128));
}

/// Where a query's heads lie, a swizzled tile: the lower word of its descriptor, in units of 16
/// bytes.
using HeadsAddress = std::uint32_t;
/// The same in all lanes as far as the compiler knows: it has registers of their own for that.
__device__ inline HeadsAddress uniform_address(const void* tile) {
  constexpr std::uint32_t leading = 1;
  return __shfl_sync(0xffffffffu, shared_address(tile) >> 4 | leading << 16, 0);
}

/// Describes a swizzled tile of 128-byte rows to the tensor core: the operand B.
__device__ inline std::uint64_t heads_descriptor(HeadsAddress tile) {
  constexpr std::uint32_t between_8_rows = 1024 >> 4, swizzle_128 = 1u << 30;
  std::uint64_t descriptor;
  asm("mov.b64 %0, {%1, %2};" : "=l"(descriptor) : "r"(tile), "n"(between_8_rows | swizzle_128));
  return descriptor;
}

/// From the descriptor of a query's first tile to that of a step, in units of 16 bytes. Such sums
/// stay within the address's 14 bits: shared memory has less than 2^18 bytes.
template <int Heads, int Step>
inline constexpr int step_offset = Step / 4 * (Heads * 128 >> 4) + Step % 4 * 2;

/// Orders the registers of the warpgroup before its next products.
__device__ inline void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/// Closes a set of products that can be waited for.
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `Pending` of the committed sets are unfinished. Nothing here names the
/// registers of the products: that they are not touched before is the compiler's work.
template <int Pending>
__device__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/// The end of an instruction's name and of its operands, by operand A.
template <class Keys>
struct Multiplication;
template <>
struct Multiplication<KeyFragment> {
  static constexpr char formats[] = "k32.f32.e4m3.e4m3", end[] = "";
};
template <>
struct Multiplication<WideFragment> {
  static constexpr char formats[] = "k16.f32.f16.f16", end[] = ", 0"; // B is not transposed
};

/// One step of 32 bytes for 64 heads: p = p * (Step > 0) + keys * heads. The descriptor is that of
/// the query's first tile. The step is added here, in 64 bits, since the compiler otherwise moves
/// both words of a descriptor for every step.
template <int Step, class Keys>
__device__ void multiply(DotProducts<64>& p, const Keys& keys, std::uint64_t heads) {
  asm volatile("{\n\t.reg .pred keep;\n\t.reg .b64 step;\n\t"
               "setp.ne.b32 keep, %40, 0;\n\tadd.s64 step, %36, %37;\n\t"
               "wgmma.mma_async.sync.aligned.m64n64%38 "
               "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
               " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
               "{%32, %33, %34, %35}, step, keep, 1, 1%39;\n\t}"
               : "+f"(p.values[0]), "+f"(p.values[1]), "+f"(p.values[2]), "+f"(p.values[3]),
                 "+f"(p.values[4]), "+f"(p.values[5]), "+f"(p.values[6]), "+f"(p.values[7]),
                 "+f"(p.values[8]), "+f"(p.values[9]), "+f"(p.values[10]), "+f"(p.values[11]),
                 "+f"(p.values[12]), "+f"(p.values[13]), "+f"(p.values[14]), "+f"(p.values[15]),
                 "+f"(p.values[16]), "+f"(p.values[17]), "+f"(p.values[18]), "+f"(p.values[19]),
                 "+f"(p.values[20]), "+f"(p.values[21]), "+f"(p.values[22]), "+f"(p.values[23]),
                 "+f"(p.values[24]), "+f"(p.values[25]), "+f"(p.values[26]), "+f"(p.values[27]),
                 "+f"(p.values[28]), "+f"(p.values[29]), "+f"(p.values[30]), "+f"(p.values[31])
               : "r"(keys.values[Step][0]), "r"(keys.values[Step][1]), "r"(keys.values[Step][2]),
                 "r"(keys.values[Step][3]), "l"(heads), "n"(step_offset<64, Step>),
                 "C"(Multiplication<Keys>::formats), "C"(Multiplication<Keys>::end), "n"(Step));
}

/// The same for 32 heads.
template <int Step, class Keys>
__device__ void multiply(DotProducts<32>& p, const Keys& keys, std::uint64_t heads) {
  asm volatile("{\n\t.reg .pred keep;\n\t.reg .b64 step;\n\t"
               "setp.ne.b32 keep, %24, 0;\n\tadd.s64 step, %20, %21;\n\t"
               "wgmma.mma_async.sync.aligned.m64n32%22 "
               "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
               "{%16, %17, %18, %19}, step, keep, 1, 1%23;\n\t}"
               : "+f"(p.values[0]), "+f"(p.values[1]), "+f"(p.values[2]), "+f"(p.values[3]),
                 "+f"(p.values[4]), "+f"(p.values[5]), "+f"(p.values[6]), "+f"(p.values[7]),
                 "+f"(p.values[8]), "+f"(p.values[9]), "+f"(p.values[10]), "+f"(p.values[11]),
                 "+f"(p.values[12]), "+f"(p.values[13]), "+f"(p.values[14]), "+f"(p.values[15])
               : "r"(keys.values[Step][0]), "r"(keys.values[Step][1]), "r"(keys.values[Step][2]),
                 "r"(keys.values[Step][3]), "l"(heads), "n"(step_offset<32, Step>),
                 "C"(Multiplication<Keys>::formats), "C"(Multiplication<Keys>::end), "n"(Step));
}

template <class Keys, int Heads, int... Step>
__device__ void multiply_all(DotProducts<Heads>& p, const Keys& keys, std::uint64_t heads,
                             std::integer_sequence<int, Step...>) {
  (multiply<Step>(p, keys, heads), ...);
}
/// Starts the products of 64 keys with the heads of one query: a swizzled tile of fp8 values; of
/// fp16 values two of 64 dimensions each, one behind the other.
template <int Heads, class Keys>
__device__ void start_products(DotProducts<Heads>& p, const Keys& keys, HeadsAddress heads) {
  begin_products();
  multiply_all(p, keys, heads_descriptor(heads), std::make_integer_sequence<int, Keys::steps>());
  commit_products();
}

} // namespace cuda
HISA_NAMESPACE_END
