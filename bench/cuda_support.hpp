// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the CUDA benchmarks share: device memory, random tensors, and timing of graph replays.
#pragma once

#include "tensor.hpp"

#include <hisa/cuda.hpp>

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

namespace bench {

template <class T>
struct Device {
  T* data = nullptr;
  std::size_t size = 0;
  explicit Device(std::size_t n) : size(n) {
    hisa::cuda::check(cudaMalloc(&data, std::max<std::size_t>(n, 1) * sizeof(T)), "malloc");
    hisa::cuda::check(cudaMemset(data, 0xa5, n * sizeof(T)), "memset");
  }
  explicit Device(const std::vector<T>& host) : Device(host.size()) {
    hisa::cuda::check(cudaMemcpy(data, host.data(), size * sizeof(T), cudaMemcpyDefault), "copy");
  }
  Device(Device&& other) noexcept : data(other.data), size(other.size) { other.data = nullptr; }
  Device& operator=(Device&&) = delete;
  ~Device() { cudaFree(data); }
  std::vector<T> host() const {
    std::vector<T> h(size);
    hisa::cuda::check(cudaMemcpy(h.data(), data, size * sizeof(T), cudaMemcpyDefault), "copy");
    return h;
  }
};

/// Random bytes that are finite fp8 values of a normal distribution.
inline std::vector<hisa::e4m3fn> random_values(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<hisa::e4m3fn> table(1 << 16), values(n);
  for (auto& x : table)
    x = hisa::e4m3fn_from_float(normal(random));
  for (auto& x : values)
    x = table[random() >> 16];
  return values;
}

/// Medians over `repeats` of the time of each graph in turn, in us, after warm-up.
inline double time_graphs(const std::vector<std::function<void(cudaStream_t)>>& calls,
                          int repeats) {
  cudaStream_t stream;
  cudaStreamCreate(&stream);
  std::vector<cudaGraphExec_t> graphs;
  for (const auto& call : calls) {
    cudaGraph_t graph;
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    call(stream);
    hisa::cuda::check(cudaStreamEndCapture(stream, &graph), "capture");
    graphs.emplace_back();
    hisa::cuda::check(cudaGraphInstantiate(&graphs.back(), graph, 0), "instantiate");
    cudaGraphDestroy(graph);
  }
  cudaEvent_t begin, end;
  cudaEventCreate(&begin), cudaEventCreate(&end);
  std::vector<float> times;
  for (int i = 0; i < repeats + 5; ++i) {
    auto const graph = graphs[std::size_t(i) % graphs.size()];
    cudaEventRecord(begin, stream);
    cudaGraphLaunch(graph, stream);
    cudaEventRecord(end, stream);
    hisa::cuda::check(cudaEventSynchronize(end), "run");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    if (i >= 5)
      times.push_back(ms * 1000);
  }
  for (auto graph : graphs)
    cudaGraphExecDestroy(graph);
  cudaEventDestroy(begin), cudaEventDestroy(end), cudaStreamDestroy(stream);
  std::nth_element(times.begin(), times.begin() + std::ptrdiff_t(times.size() / 2), times.end());
  return times[times.size() / 2];
}

} // namespace bench
