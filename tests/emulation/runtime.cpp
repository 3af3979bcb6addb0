// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "cuda.h"
#include "cuda_runtime.h"

#include <cstdlib>
#include <cstring>
#include <vector>

using Work = std::vector<std::function<void()>>;

struct CUstream {
  bool captured = false;
  Work work;
};
struct CUgraph {
  Work work;
};
struct CUgraphExec {
  Work work;
};

namespace emulation {

static thread_local bool context = false;

void bind_context() {
  context = true;
}
bool has_context() {
  return context;
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  bind_context();
  if (stream != nullptr && stream->captured)
    stream->work.push_back(std::move(work));
  else
    work();
}

Grid grid(const cudaLaunchConfig_t& config) {
  Grid g;
  g.ctas[0] = config.gridDim.x, g.ctas[1] = config.gridDim.y;
  g.threads = static_cast<int>(config.blockDim.x);
  g.shared_bytes = config.dynamicSmemBytes;
  for (unsigned i = 0; i < config.numAttrs; ++i)
    if (config.attrs[i].id == cudaLaunchAttributeClusterDimension)
      g.cluster = static_cast<int>(config.attrs[i].val.clusterDim.x);
  return g;
}

} // namespace emulation

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "an error of the emulated device";
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** p, std::size_t bytes) {
  emulation::bind_context();
  return posix_memalign(p, 256, bytes) == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* p) {
  std::free(p);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  if (bytes > 0)
    std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* p, int byte, std::size_t bytes) {
  std::memset(p, byte, bytes);
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) {
  emulation::bind_context();
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount      ? emulation::settings().processors
           : attribute == cudaDevAttrComputeCapabilityMajor ? 9
                                                            : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CUstream;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->captured = true;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = new CUgraph{std::move(stream->work)};
  stream->captured = false;
  stream->work.clear();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  for (const auto& work : exec->work)
    work();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  static int something;
  *context = emulation::has_context() ? &something : nullptr;
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  *function = std::strcmp(name, "cuCtxGetCurrent") == 0
                  ? reinterpret_cast<void*>(&cuCtxGetCurrent)
                  : reinterpret_cast<void*>(&cuTensorMapEncodeTiled);
  *found = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}
