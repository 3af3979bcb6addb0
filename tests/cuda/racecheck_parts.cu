// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What compute-sanitizer's racecheck makes of ways to wait. Why parts of a CTA have barriers in
// shared memory (Part in hisa/cuda/group.cuh) and not named barriers: where parts have passed named
// barriers in different numbers, it reports hazards between accesses that __syncthreads separates.
// And what it makes of a warp that leaves a buffer by one lane, as consumers do (score.cuh).
//
//   nvcc -std=c++20 -lineinfo -arch=sm_90a -Iinclude -Ibackends tests/cuda/racecheck_parts.cu
//   compute-sanitizer --tool racecheck ./a.out
#include <hisa/cuda/barrier.cuh>

#include <cstdio>

namespace {

constexpr int lanes = 64, parts = 4;

enum Form { named, in_memory, in_memory_too_few };

/// Part number p passes 2 * p barriers, or all pass four.
template <Form form, bool alike>
__global__ void pass_barriers(int* out) {
  __shared__ hisa::cuda::Barrier barriers[parts];
  __shared__ int values[parts * lanes], of_parts[parts], sum;
  int const part = static_cast<int>(threadIdx.x) / lanes;
  int const lane = static_cast<int>(threadIdx.x) % lanes;
  if (lane == 0)
    barriers[part].init(lanes);
  auto const barrier = [&] {
    __syncwarp();
    if (form == named)
      asm volatile("bar.sync %0, %1;" ::"r"(1 + part), "r"(lanes) : "memory");
    else
      barriers[part].meet();
  };
  __syncthreads();
  int all = 0;
  for (int i = 0; i < (alike ? 2 : part); ++i) {
    values[threadIdx.x] = i;
    if (form != in_memory_too_few || part != 1)
      barrier();
    all += values[part * lanes + (lane + 33) % lanes];
    barrier();
  }
  if (lane == 0)
    of_parts[part] = all;
  __syncwarp();
  __syncthreads();
  all = of_parts[0] + of_parts[1] + of_parts[2] + of_parts[3];
  if (threadIdx.x == 5)
    sum = all;
  __syncwarp();
  __syncthreads();
  out[threadIdx.x] = all + sum;
}

enum Leaving { all_lanes, one_lane };

/// One warp fills a buffer again and again, others read it.
template <Leaving leaving>
__global__ void reuse_buffer(int* out) {
  constexpr int readers = 3, rounds = 6;
  __shared__ hisa::cuda::Barrier full, empty;
  __shared__ int buffer[32];
  int const warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x == 0) {
    full.init(32), empty.init(leaving == one_lane ? readers : 32 * readers);
    hisa::cuda::publish_barriers();
  }
  __syncthreads();
  int sum = 0;
  for (int i = 0; i < rounds; ++i) {
    if (warp == readers) {
      empty.wait(i & 1 ^ 1); // the first passes
      buffer[lane] = i;
      full.arrive();
    } else {
      full.wait(i & 1);
      sum += buffer[(lane + 1) % 32];
      __syncwarp();
      if (leaving == all_lanes || lane == 0)
        empty.arrive();
    }
  }
  out[threadIdx.x] = sum;
}

int* out = nullptr;

template <Form form, bool alike>
bool pass(const char* what) {
  std::printf("%s\n", what);
  std::fflush(stdout);
  pass_barriers<form, alike><<<4, parts * lanes>>>(out);
  return cudaDeviceSynchronize() == cudaSuccess;
}

template <Leaving leaving>
bool reuse(const char* what) {
  std::printf("%s\n", what);
  std::fflush(stdout);
  reuse_buffer<leaving><<<1, 128>>>(out);
  return cudaDeviceSynchronize() == cudaSuccess;
}

} // namespace

int main() {
  bool const ran = cudaMalloc(&out, parts * lanes * sizeof(int)) == cudaSuccess &&
                   pass<named, true>("named barriers, as many each: nothing to report") &&
                   pass<named, false>("named barriers, 0 to 6: reports, without a race") &&
                   pass<in_memory, true>("in shared memory, as many each: nothing to report") &&
                   pass<in_memory, false>("in shared memory, 0 to 6: nothing to report") &&
                   pass<in_memory_too_few, false>("in shared memory, one lacks: a race") &&
                   reuse<all_lanes>("a buffer that all lanes leave: nothing to report") &&
                   reuse<one_lane>("one lane leaves it for its warp: reports, without a race");
  return ran ? 0 : 1;
}
