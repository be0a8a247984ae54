// The operations on device buffers. TypeScript has checked the arguments; here is checked again
// that every buffer is as large as the operation takes it to be, and on one GPU.
#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/cuda_buffers.h"
#include "bind/guard.h"
#include "bind/promise_worker.h"
#include "core/bipartite_soft_matching.h"
#include "core/merge_tokens.h"

namespace longvlm {
namespace {

// Reads buffers, and keeps them until the operation is done.
class Buffers {
 public:
  Buffers(Napi::Env env, const Arguments& arguments) : env_(env), arguments_(arguments) {
    const std::string name = arguments.String("type");
    constexpr const char* kNames[] = {"float32", "float16", "bfloat16"};
    const auto* found = std::ranges::find(kNames, name);
    if (found == std::end(kNames)) throw std::invalid_argument("type is invalid: " + name);
    type_ = static_cast<lv_type>(found - kNames);
  }

  lv_type type() const { return type_; }
  size_t type_bytes() const { return type_ == LV_FLOAT32 ? 4 : 2; }

  // Values of `type`.
  void* Values(const char* name, size_t count) { return Get(name, count * type_bytes()); }
  float* Floats(const char* name, size_t count) {
    return static_cast<float*>(Get(name, count * sizeof(float)));
  }
  // Null when there are none to be.
  int32_t* Ints(const char* name, size_t count) {
    return count == 0 ? nullptr : static_cast<int32_t*>(Get(name, count * sizeof(int32_t)));
  }
  float* OptionalFloats(const char* name, size_t count) {
    return arguments_.Optional(name).IsUndefined() ? nullptr : Floats(name, count);
  }

  // What the operation runs on, and what it has to hold meanwhile.
  CudaDevice& device() const { return held_.front()->device(); }
  std::vector<DeviceBuffer> held() const { return held_; }

 private:
  void* Get(const char* name, size_t bytes) {
    held_.push_back(ReadDeviceBuffer(env_, arguments_, name, bytes));
    if (&held_.back()->device() != &device()) {
      throw std::invalid_argument(std::string(name) + " is invalid: on another device");
    }
    return held_.back()->data();
  }

  Napi::Env env_;
  const Arguments& arguments_;
  lv_type type_;
  std::vector<DeviceBuffer> held_;
};

// Starts `operation`(const Args&, workspace, workspace_bytes, stream) with `args`, whose device and
// report are filled in here.
template <typename Args, typename Operation>
Napi::Value Start(Napi::Env env, const char* callee, const Buffers& buffers, Args args,
                  const Shape& shape, const TensorNames& names, Operation operation) {
  return StartTask(env, callee, {}, [=, held = buffers.held()](const std::atomic<bool>&) mutable {
    CudaDevice& device = held.front()->device();
    args.device = device.index();
    args.report = device.report();
    const lv_report report = device.Run([&](void* workspace, size_t* bytes, lv_stream stream) {
      return operation(device.cuda(), args, workspace, bytes, stream);
    });
    CheckReport(report, shape, names);
  });
}

// An operation without a workspace, asked for its size, and then to run.
lv_status RunWithoutWorkspace(void* workspace, size_t* bytes, FunctionRef<lv_status()> run) {
  if (workspace != nullptr) return run();
  *bytes = 1;
  return LV_OK;
}

size_t ReadProtect(const Arguments& arguments, const Shape& shape) {
  const size_t protected_tokens = arguments.Integer("protect", 0);
  if (protected_tokens > shape.rows) {
    throw std::invalid_argument("protect is invalid: more than the tokens");
  }
  return protected_tokens;
}

size_t ReadHeads(const Arguments& arguments, const Shape& shape) {
  const size_t heads = arguments.Integer("heads", 1);
  if (shape.width % heads != 0) throw std::invalid_argument("heads does not divide the channels");
  return heads;
}

// cudaMergeTokens(args: CudaMergeTokensArgs): NativeTask
Napi::Value CudaMergeTokens(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "mergeTokens";
  constexpr TensorNames kNames{"tokens", {"segment", "token", "channel"}};
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    const Arguments arguments(info);
    Buffers buffers(info.Env(), arguments);
    const Shape shape = arguments.Shape3("dims");
    const size_t protected_tokens = ReadProtect(arguments, shape);
    std::vector<uint32_t> schedule = arguments.Integers("schedule");
    const size_t kept = KeptTokens(shape.rows, protected_tokens, schedule);
    lv_merge_tokens_args args{};
    args.type = buffers.type();
    args.tokens = buffers.Values("tokens", shape.size());
    args.sizes = buffers.OptionalFloats("sizes", shape.batch * shape.rows);
    args.segments = shape.batch;
    args.tokens_per_segment = shape.rows;
    args.channels = shape.width;
    args.heads = ReadHeads(arguments, shape);
    args.protected_tokens = protected_tokens;
    args.out_tokens = buffers.Values("outTokens", shape.batch * kept * shape.width);
    args.out_sizes = buffers.Floats("outSizes", shape.batch * kept);
    args.out_assignment = buffers.Ints("outAssignment", shape.batch * shape.rows);
    return Start(
        info.Env(), kCallee, buffers, args, shape, kNames,
        [schedule = std::move(schedule)](const CudaFunctions& cuda, lv_merge_tokens_args call,
                                         void* workspace, size_t* bytes, lv_stream stream) {
          call.schedule = schedule.data();
          call.levels = schedule.size();
          return cuda.merge_tokens(&call, workspace, bytes, stream);
        });
  });
}

// cudaBipartiteSoftMatching(args: CudaBipartiteSoftMatchingArgs): NativeTask
Napi::Value CudaBipartiteSoftMatching(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "bipartiteSoftMatching";
  constexpr TensorNames kNames{"metric", {"batch entry", "token", "dimension"}};
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    const Arguments arguments(info);
    Buffers buffers(info.Env(), arguments);
    const Shape shape = arguments.Shape3("dims");
    const size_t protected_tokens = ReadProtect(arguments, shape);
    const size_t r = std::min(arguments.Integer("r", 0), (shape.rows - protected_tokens) / 2);
    lv_bipartite_soft_matching_args args{};
    args.type = buffers.type();
    args.metric = buffers.Values("metric", shape.size());
    args.batch = shape.batch;
    args.tokens = shape.rows;
    args.dims = shape.width;
    args.r = r;
    args.protected_tokens = protected_tokens;
    args.out_unmerged =
        buffers.Ints("outUnmerged", shape.batch * (CountA(shape.rows, protected_tokens) - r));
    args.out_source = buffers.Ints("outSource", shape.batch * r);
    args.out_destination = buffers.Ints("outDestination", shape.batch * r);
    args.out_assignment = buffers.Ints("outAssignment", shape.batch * shape.rows);
    return Start(info.Env(), kCallee, buffers, args, shape, kNames,
                 [](const CudaFunctions& cuda, const lv_bipartite_soft_matching_args& call,
                    void* workspace, size_t* bytes, lv_stream stream) {
                   return cuda.bipartite_soft_matching(&call, workspace, bytes, stream);
                 });
  });
}

// cudaMergeByAssignment(args: CudaMergeByAssignmentArgs): NativeTask
Napi::Value CudaMergeByAssignment(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "mergeByAssignment";
  constexpr TensorNames kNames{"tensor", {"batch entry", "token", "channel"}};
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    const Arguments arguments(info);
    Buffers buffers(info.Env(), arguments);
    const Shape shape = arguments.Shape3("dims");
    const size_t slots = arguments.Integer("slots", 1);
    lv_merge_by_assignment_args args{};
    args.type = buffers.type();
    args.rows = buffers.Values("tensor", shape.size());
    args.assignment = buffers.Ints("assignment", shape.batch * shape.rows);
    args.weights = buffers.OptionalFloats("sizes", shape.batch * shape.rows);
    args.batch = shape.batch;
    args.num_rows = shape.rows;
    args.width = shape.width;
    args.slots = slots;
    args.mode = arguments.Boolean("mean") ? LV_MERGE_MEAN : LV_MERGE_SUM;
    args.out = buffers.Values("out", shape.batch * slots * shape.width);
    return Start(info.Env(), kCallee, buffers, args, shape, kNames,
                 [](const CudaFunctions& cuda, const lv_merge_by_assignment_args& call,
                    void* workspace, size_t* bytes, lv_stream stream) {
                   return cuda.merge_by_assignment(&call, workspace, bytes, stream);
                 });
  });
}

// cudaSpreadByAssignment(args: CudaSpreadByAssignmentArgs): NativeTask
Napi::Value CudaSpreadByAssignment(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "spreadByAssignment";
  constexpr TensorNames kNames{"tensor", {"batch entry", "token", "channel"}};
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    const Arguments arguments(info);
    Buffers buffers(info.Env(), arguments);
    const Shape shape = arguments.Shape3("dims");
    const size_t rows = arguments.Integer("rows", 1);
    lv_spread_by_assignment_args args{};
    args.type = buffers.type();
    args.slots_in = buffers.Values("tensor", shape.size());
    args.assignment = buffers.Ints("assignment", shape.batch * rows);
    args.batch = shape.batch;
    args.num_rows = rows;
    args.width = shape.width;
    args.slots = shape.rows;
    args.out = buffers.Values("out", shape.batch * rows * shape.width);
    return Start(info.Env(), kCallee, buffers, args, shape, kNames,
                 [](const CudaFunctions& cuda, const lv_spread_by_assignment_args& call,
                    void* workspace, size_t* bytes, lv_stream stream) {
                   return RunWithoutWorkspace(
                       workspace, bytes, [&] { return cuda.spread_by_assignment(&call, stream); });
                 });
  });
}

// cudaPoolClsTokens(args: CudaPoolClsTokensArgs): NativeTask
Napi::Value CudaPoolClsTokens(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "poolClsTokens";
  constexpr TensorNames kNames{"cls", {"frame", "layer", "channel"}};
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    const Arguments arguments(info);
    Buffers buffers(info.Env(), arguments);
    const Shape shape = arguments.Shape3("dims");
    lv_pool_cls_tokens_args args{};
    args.type = buffers.type();
    args.cls = buffers.Values("cls", shape.size());
    args.frames = shape.batch;
    args.layers = shape.rows;
    args.channels = shape.width;
    args.out = buffers.Values("out", shape.rows * shape.width);
    return Start(info.Env(), kCallee, buffers, args, shape, kNames,
                 [](const CudaFunctions& cuda, const lv_pool_cls_tokens_args& call, void* workspace,
                    size_t* bytes, lv_stream stream) {
                   return RunWithoutWorkspace(workspace, bytes,
                                              [&] { return cuda.pool_cls_tokens(&call, stream); });
                 });
  });
}

// cudaTokenMetric(args: CudaTokenMetricArgs): NativeTask
Napi::Value CudaTokenMetric(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "tokenMetric";
  constexpr TensorNames kNames{"tokens", {"batch entry", "token", "channel"}};
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    const Arguments arguments(info);
    Buffers buffers(info.Env(), arguments);
    const Shape shape = arguments.Shape3("dims");
    lv_token_metric_args args{};
    args.type = buffers.type();
    args.tokens = buffers.Values("tokens", shape.size());
    args.count = shape.batch * shape.rows;
    args.channels = shape.width;
    args.heads = ReadHeads(arguments, shape);
    args.out = buffers.Floats("out", shape.size() / args.heads);
    return Start(info.Env(), kCallee, buffers, args, shape, kNames,
                 [](const CudaFunctions& cuda, const lv_token_metric_args& call, void* workspace,
                    size_t* bytes, lv_stream stream) {
                   return RunWithoutWorkspace(workspace, bytes,
                                              [&] { return cuda.token_metric(&call, stream); });
                 });
  });
}

}  // namespace

void InitCudaOperations(Napi::Env env, Napi::Object exports) {
  exports.Set("cudaMergeTokens", Napi::Function::New(env, CudaMergeTokens));
  exports.Set("cudaBipartiteSoftMatching", Napi::Function::New(env, CudaBipartiteSoftMatching));
  exports.Set("cudaMergeByAssignment", Napi::Function::New(env, CudaMergeByAssignment));
  exports.Set("cudaSpreadByAssignment", Napi::Function::New(env, CudaSpreadByAssignment));
  exports.Set("cudaPoolClsTokens", Napi::Function::New(env, CudaPoolClsTokens));
  exports.Set("cudaTokenMetric", Napi::Function::New(env, CudaTokenMetric));
}

}  // namespace longvlm
