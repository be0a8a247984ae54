// A graph that ONNX Runtime has loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda_device.h"
#include "ort/cancellation.h"
#include "ort/handle.h"
#include "ort/library.h"

namespace longvlm::ort {

using Settings = std::vector<std::pair<std::string, std::string>>;

struct SessionOptions {
  // "cpu", "cuda", "dml", or another provider by the name that
  // SessionOptionsAppendExecutionProvider takes.
  std::string provider;
  // The number of the GPU for "cuda".
  int gpu;
  Settings provider_options;
  // Entries of ONNX Runtime's session configuration.
  Settings config;
  int threads;
  // That GPU, when operands may be in its memory and work on its shared stream; null otherwise. An
  // emulated one goes with the provider "cpu".
  std::shared_ptr<CudaDevice> device = nullptr;
};

// A tensor in memory of the caller, which is read or written in place. The first axis counts rows.
struct Operand {
  std::string name;
  int type = 0;  // kFloat, kUint8, kFloat16
  std::vector<int64_t> dims;
  void* data = nullptr;
  size_t row_bytes = 0;
  // The GPU that has the memory; null for the host.
  std::optional<int> gpu;
  // Holds the memory until the run is done.
  std::shared_ptr<const void> kept;
};

// A copy between the host, whose memory the caller keeps, and the session's GPU.
struct Transfer {
  std::shared_ptr<DeviceMemory> device;
  void* host = nullptr;
  size_t bytes = 0;
};

struct RunCall {
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  int64_t rows;
  // Rows that go through the graph at once, at least 1.
  int64_t batch;
  // What happens on the session's GPU besides: copies before the run, operations after it on the
  // same stream, and copies in the end.
  std::vector<Transfer> uploads = {};
  std::vector<CudaOperation> operations = {};
  std::vector<Transfer> downloads = {};
};

// Every method throws Error ERR_LONGVLM_INFERENCE when ONNX Runtime fails, ERR_LONGVLM_CUDA_OOM
// when that is for want of a GPU's memory, and Cancelled.
class Session {
 public:
  // Loads `model`, an ONNX model, whose bytes are not needed afterwards.
  Session(const Library& library, std::span<const std::byte> model, const SessionOptions& options,
          Cancellation& cancellation);

  // Runs the graph in micro-batches. A cancellation ends it in the middle of one, between two
  // nodes. What is on a GPU is waited for once, in the end, also after a failure. Throws what
  // CudaDevice::Finish does, too. Sessions of one GPU take turns.
  void Run(const RunCall& call, Cancellation& cancellation);

 private:
  void RunGraph(const RunCall& call, Cancellation& cancellation);
  Handle<OrtValue> Rows(const Operand& operand, int64_t from, int64_t rows) const;
  void CheckOperands(const std::vector<Operand>& operands, const char* kind,
                     const std::vector<std::string>& known) const;

  const Library& library_;
  const std::shared_ptr<CudaDevice> device_;  // its stream outlives the session
  Handle<OrtSession> session_;
  const std::optional<int> gpu_;
  Handle<OrtMemoryInfo> host_memory_;
  Handle<OrtMemoryInfo> gpu_memory_;  // null without a GPU
  std::vector<std::string> input_names_;
  std::vector<std::string> output_names_;
};

}  // namespace longvlm::ort
