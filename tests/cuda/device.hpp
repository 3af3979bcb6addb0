// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Device memory, streams and graphs as objects.
#pragma once

#include <hisa/cuda.hpp>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace suite {

using namespace hisa;

/// Device memory with a guard behind it, all bytes 0xa5 at first.
template <class T>
struct Device {
  static constexpr std::size_t guard = 256; ///< bytes
  T* data = nullptr;
  std::size_t size = 0;

  Device() = default;
  explicit Device(std::size_t n) : size(n) {
    cuda::check(cudaMalloc(reinterpret_cast<void**>(&data), bytes() + guard), "malloc");
    fill(0xa5);
    cuda::check(cudaMemset(reinterpret_cast<std::uint8_t*>(data) + bytes(), 0xa5, guard), "memset");
  }
  explicit Device(const std::vector<T>& host) : Device(host.size()) { set(host); }
  Device(Device&& other) noexcept
      : data(std::exchange(other.data, nullptr)), size(std::exchange(other.size, 0)) {}
  Device& operator=(Device&& other) noexcept {
    std::swap(data, other.data), std::swap(size, other.size);
    return *this;
  }
  ~Device() {
    if (data != nullptr)
      cudaFree(data);
  }

  std::size_t bytes() const { return size * sizeof(T); }
  void fill(int byte) { cuda::check(cudaMemset(data, byte, bytes()), "memset"); }
  void set(const std::vector<T>& host) {
    cuda::check(cudaMemcpy(data, host.data(), bytes(), cudaMemcpyDefault), "copy");
  }
  std::vector<T> host() const { return host(0, size); }
  std::vector<T> host(std::size_t first, std::size_t count) const {
    std::vector<T> h(count);
    cuda::check(cudaMemcpy(h.data(), data + first, count * sizeof(T), cudaMemcpyDefault), "copy");
    return h;
  }
  /// Whether nothing was written behind the end.
  bool intact() const {
    std::uint8_t h[guard];
    cuda::check(cudaMemcpy(h, reinterpret_cast<const std::uint8_t*>(data) + bytes(), guard,
                           cudaMemcpyDefault),
                "copy");
    return std::all_of(h, h + guard, [](std::uint8_t byte) { return byte == 0xa5; });
  }
};

inline void synchronize(const char* what) {
  cuda::check(cudaDeviceSynchronize(), what);
}

struct Stream {
  cudaStream_t stream = nullptr;
  Stream() { cuda::check(cudaStreamCreate(&stream), "stream"); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream); }
};

/// What `record(stream)` enqueues, captured in the mode in which an allocation, or a wait for the
/// device, by any thread is an error.
class Graph {
public:
  template <class Record>
  Graph(const Stream& on, const Record& record) : stream_(on.stream) {
    cuda::check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), "begin capture");
    cudaGraph_t graph = nullptr;
    try {
      record(stream_);
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      throw;
    }
    cuda::check(cudaStreamEndCapture(stream_, &graph), "end capture");
    cuda::check(cudaGraphInstantiate(&run_, graph, 0), "instantiate");
    cudaGraphDestroy(graph);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() { cudaGraphExecDestroy(run_); }

  void replay() const { cuda::check(cudaGraphLaunch(run_, stream_), "replay"); }

private:
  cudaStream_t stream_;
  cudaGraphExec_t run_ = nullptr;
};

} // namespace suite
