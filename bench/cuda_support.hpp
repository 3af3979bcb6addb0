// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the CUDA benchmarks share: device memory, random tensors, and timing of graph replays.
#pragma once

#include "tensor.hpp"

#include <hisa/cuda.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <thread>
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

/// Medians of the times of replays, in us. Under load a card soon lowers its clocks to keep to its
/// power: an H200 after 30 to 70 ms of products without a pause.
struct Times {
  double rested;    ///< in the first 20 ms after a pause; of calls over 7 ms, the second after it
  double sustained; ///< after half a second of load
};

/// Replays of each of some graphs in turn.
class Replays {
public:
  explicit Replays(const std::vector<std::function<void(cudaStream_t)>>& calls) {
    hisa::cuda::check(cudaStreamCreate(&stream_), "stream");
    for (const auto& call : calls) {
      cudaGraph_t graph;
      hisa::cuda::check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
                        "capture");
      call(stream_);
      hisa::cuda::check(cudaStreamEndCapture(stream_, &graph), "capture");
      graphs_.emplace_back();
      hisa::cuda::check(cudaGraphInstantiate(&graphs_.back(), graph, 0), "instantiate");
      cudaGraphDestroy(graph);
    }
  }
  Replays(const Replays&) = delete;
  Replays& operator=(const Replays&) = delete;
  ~Replays() {
    for (auto graph : graphs_)
      cudaGraphExecDestroy(graph);
    for (auto event : events_)
      cudaEventDestroy(event);
    cudaStreamDestroy(stream_);
  }

  /// One replay of the graph of calls[i]; returns when its results are there.
  void run(std::size_t i) {
    hisa::cuda::check(cudaGraphLaunch(graphs_[i], stream_), "launch");
    hisa::cuda::check(cudaStreamSynchronize(stream_), "run");
  }
  void start(std::int64_t n) {
    for (; n > 0; --n)
      hisa::cuda::check(cudaGraphLaunch(graphs_[next_++ % graphs_.size()], stream_), "launch");
  }
  /// Starts n more, without a pause between.
  void start_timed(std::size_t n) {
    for (; n > 0; --n) {
      record();
      start(1);
      record();
    }
  }
  /// The median of those that were timed; forgets them.
  double median() {
    hisa::cuda::check(cudaStreamSynchronize(stream_), "run");
    std::vector<float> times(used_ / 2);
    for (std::size_t i = 0; i < times.size(); ++i)
      hisa::cuda::check(cudaEventElapsedTime(&times[i], events_[2 * i], events_[2 * i + 1]),
                        "time");
    used_ = 0;
    auto const middle = times.begin() + std::ptrdiff_t(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle * 1000;
  }

private:
  cudaStream_t stream_;
  std::vector<cudaGraphExec_t> graphs_;
  std::vector<cudaEvent_t> events_;
  std::size_t next_ = 0, used_ = 0;

  void record() {
    if (used_ == events_.size()) {
      events_.emplace_back();
      hisa::cuda::check(cudaEventCreate(&events_.back()), "event");
    }
    hisa::cuda::check(cudaEventRecord(events_[used_++], stream_), "record");
  }
};

/// Times `repeats` replays of graphs of the calls, or a few more; then `out` holds nothing but what
/// one more replay of the first leaves there.
template <class T>
Times time_graphs(const std::vector<std::function<void(cudaStream_t)>>& calls, std::size_t repeats,
                  const Device<T>& out) {
  Replays replays(calls);
  auto const rest = [] { std::this_thread::sleep_for(std::chrono::milliseconds(200)); };
  replays.start(5); // of cold caches
  replays.start_timed(1);
  double const about = replays.median();
  auto const fit = static_cast<std::size_t>(std::max(20'000 / about - 1, 1.0));
  for (std::size_t i = 0; i < repeats; i += fit) {
    hisa::cuda::check(cudaDeviceSynchronize(), "run");
    rest();
    replays.start(1);
    replays.start_timed(std::min(fit, repeats));
  }
  double const rested = replays.median();
  replays.start(static_cast<std::int64_t>(500'000 / about));
  replays.start_timed(repeats);
  double const sustained = replays.median();
  hisa::cuda::check(cudaMemset(out.data, 0xa5, out.size * sizeof(T)), "memset");
  replays.run(0);
  return {rested, sustained};
}

} // namespace bench
