// Reads the operands of an operation on tensors. A tensor is a typed array or a device buffer. All
// tensors of one call must be on the host or on the same GPU; the operation runs there.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "bind/addon_state.h"
#include "bind/arguments.h"
#include "bind/native_task.h"
#include "core/cuda_device.h"
#include "core/cuda_operations.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

// Wrong operands throw std::invalid_argument, as in Arguments. The returned memory is valid as long
// as the objects of kept() and memory() are alive.
class Operands : public Arguments {
 public:
  explicit Operands(const Napi::CallbackInfo& info) : Arguments(info), env_(info.Env()) {}
  Operands(Napi::Env env, const Arguments& fields) : Arguments(fields), env_(env) {}

  // `count` floats: a Float32Array, a Uint16Array (float16), or a buffer of a float type.
  Values Floats(const char* name, size_t count);
  // The same, with the type of `like`.
  Values FloatsLike(const char* name, const ConstValues& like, size_t count);
  float* Float32s(const char* name, size_t count);
  // Null when the field is undefined.
  float* OptionalFloat32s(const char* name, size_t count);
  // Of a buffer of bytes.
  double* Float64s(const char* name, size_t count);
  // Null when `count` is 0; the field may then be undefined.
  int32_t* Int32s(const char* name, size_t count);

  // Numbers that several operations use: at most the tokens; a divisor of the channels.
  size_t Protect(const Shape& shape) const;
  size_t Heads(const Shape& shape) const;

  // The GPU that holds the tensors; null for the host.
  CudaDevice* device() const { return memory_.empty() ? nullptr : &memory_.front()->device(); }
  const std::vector<std::shared_ptr<DeviceMemory>>& memory() const { return memory_; }

 private:
  Values Read(const char* name, std::initializer_list<ElementType> types, size_t count);
  Values Read(const char* name, const Napi::Value& value, std::initializer_list<ElementType> types,
              size_t count);

  Napi::Env env_;
  std::vector<std::shared_ptr<DeviceMemory>> memory_;
};

// An operation that is ready to run on any thread.
using Operation = std::function<void(const std::atomic<bool>* cancelled)>;

// Makes the operation for `args`, which were read from `operands`: compute(args, workers) on the
// host, or the same on the GPU that holds the operands.
template <typename Args, typename Compute>
Operation MakeOperation(Napi::Env env, const Operands& operands, const Args& args,
                        Compute compute) {
  operands.CheckUnchanged();
  if (CudaDevice* device = operands.device()) {
    CudaOperation operation = ToCuda(args);
    operation.kept = operands.memory();
    return [device, operation](const std::atomic<bool>*) { device->Run(operation); };
  }
  return [args, compute,
          threads = &AddonState::Work(env).computing()](const std::atomic<bool>* cancelled) {
    compute(args, Workers{threads, cancelled});
  };
}

// Starts the operation of MakeOperation and returns a NativeTask.
template <typename Args, typename Compute>
Napi::Value StartOperation(Napi::Env env, const char* callee, const Operands& operands,
                           const Args& args, Compute compute) {
  const Threads threads =
      operands.device() == nullptr ? &EnvironmentWork::computing : &EnvironmentWork::waiting;
  return StartTask(env, callee, threads, operands.kept(),
                   [run = MakeOperation(env, operands, args, compute)](
                       const std::atomic<bool>& cancelled) { run(&cancelled); });
}

// The same for an operation that has no GPU kernel. Throws std::invalid_argument if the operands
// are on a GPU.
template <typename Args, typename Compute>
Napi::Value StartHostOperation(Napi::Env env, const char* callee, const Operands& operands,
                               const Args& args, Compute compute) {
  operands.CheckUnchanged();
  if (operands.device() != nullptr) Invalid("tokens", "on a GPU");
  ThreadPool* threads = &AddonState::Work(env).computing();
  return StartTask(env, callee, &EnvironmentWork::computing, operands.kept(),
                   [args, compute, threads](const std::atomic<bool>& cancelled) {
                     compute(args, Workers{threads, &cancelled});
                   });
}

}  // namespace longvlm
