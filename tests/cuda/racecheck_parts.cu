// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What compute-sanitizer's racecheck makes of parts of a CTA that pass barriers of their own: where
// each part passes as many, it is silent; where they differ in number, as in the kernel that keeps
// blocks, it reports a hazard between accesses that __syncthreads separates.
//
//   nvcc -lineinfo -O2 -gencode arch=compute_90a,code=sm_90a racecheck_parts.cu -o parts
//   compute-sanitizer --tool racecheck parts
#include <cstdio>

namespace {

constexpr int lanes = 64, parts = 4;

__global__ void pass_barriers(int* out, bool alike) {
  __shared__ int of_parts[parts], sum;
  int const part = static_cast<int>(threadIdx.x) / lanes;
  int const barriers = alike ? 2 : part;
  for (int i = 0; i < barriers; ++i) {
    __syncwarp();
    asm volatile("bar.sync %0, %1;" ::"r"(1 + part), "r"(lanes) : "memory");
  }
  if (threadIdx.x % lanes == 0)
    of_parts[part] = part;
  __syncwarp();
  __syncthreads();
  int const all = of_parts[0] + of_parts[1] + of_parts[2] + of_parts[3];
  if (threadIdx.x == 5)
    sum = all;
  __syncwarp();
  __syncthreads();
  out[threadIdx.x] = all + sum;
}

} // namespace

int main() {
  int* out = nullptr;
  if (cudaMalloc(&out, parts * lanes * sizeof(int)) != cudaSuccess)
    return 1;
  for (bool alike : {true, false}) {
    std::printf("parts pass %s\n", alike ? "two barriers each" : "0 to 3 barriers");
    std::fflush(stdout);
    pass_barriers<<<4, parts * lanes>>>(out, alike);
    if (cudaDeviceSynchronize() != cudaSuccess)
      return 1;
  }
}
