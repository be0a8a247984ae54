#include "core/bipartite_soft_matching.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "bind/addon_state.h"
#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/promise_worker.h"
#include "core/merge_by_assignment.h"

namespace longvlm {
namespace {

constexpr TensorNames kNames{"tensor", {"batch entry", "token", "channel"}};

// bipartiteSoftMatching(args: BipartiteSoftMatchingArgs): NativeTask
Napi::Value BipartiteSoftMatchingAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "bipartiteSoftMatching";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const Shape shape = arguments.Shape3("dims");
    const size_t protected_tokens = arguments.Integer("protect", 0);
    if (protected_tokens > shape.rows) {
      throw std::invalid_argument("protect is invalid: more than the tokens");
    }
    const size_t r = std::min(arguments.Integer("r", 0), (shape.rows - protected_tokens) / 2);
    const size_t stay = CountA(shape.rows, protected_tokens) - r;
    const BipartiteSoftMatchingArgs args{
        .metric = AsConst(arguments.Tensor("metric", shape.size())),
        .shape = shape,
        .protected_tokens = protected_tokens,
        .r = r,
        .out_unmerged = arguments.Ints("outUnmerged", shape.batch * stay),
        .out_source = arguments.Ints("outSource", shape.batch * r),
        .out_destination = arguments.Ints("outDestination", shape.batch * r),
        .out_assignment = arguments.Ints("outAssignment", shape.batch * shape.rows)};
    return StartTask(
        info.Env(), kCallee, arguments.kept(),
        [args, threads = AddonState::Threads(info.Env())](const std::atomic<bool>& cancelled) {
          BipartiteSoftMatching(args, {threads.get(), &cancelled});
        });
  });
}

// mergeByAssignment(args: MergeByAssignmentArgs): NativeTask
Napi::Value MergeByAssignmentAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "mergeByAssignment";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const Shape shape = arguments.Shape3("dims");
    const size_t slots = arguments.Integer("slots", 1);
    const Values rows = arguments.Tensor("tensor", shape.size());
    const MergeByAssignmentArgs args{
        .rows = AsConst(rows),
        .shape = shape,
        .slots = slots,
        .assignment = arguments.Ints("assignment", shape.batch * shape.rows),
        .weights = arguments.OptionalFloats("sizes", shape.batch * shape.rows),
        .mode = arguments.Boolean("mean") ? MergeMode::kMean : MergeMode::kSum,
        .out = arguments.TensorLike("out", rows, shape.batch * slots * shape.width),
        .out_sums = nullptr};
    return StartTask(
        info.Env(), kCallee, arguments.kept(),
        [args, threads = AddonState::Threads(info.Env())](const std::atomic<bool>& cancelled) {
          LocateNotFinite(args.rows, args.shape, kNames, [&] {
            std::vector<SlotRows> scratch;
            MergeByAssignment(args, {threads.get(), &cancelled}, scratch);
          });
        });
  });
}

// spreadByAssignment(args: SpreadByAssignmentArgs): NativeTask
Napi::Value SpreadByAssignmentAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "spreadByAssignment";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const Shape shape = arguments.Shape3("dims");
    const size_t rows = arguments.Integer("rows", 1);
    const Values slots = arguments.Tensor("tensor", shape.size());
    const SpreadByAssignmentArgs args{
        .slots = AsConst(slots),
        .shape = shape,
        .rows = rows,
        .assignment = arguments.Ints("assignment", shape.batch * rows),
        .out = arguments.TensorLike("out", slots, shape.batch * rows * shape.width)};
    return StartTask(
        info.Env(), kCallee, arguments.kept(),
        [args, threads = AddonState::Threads(info.Env())](const std::atomic<bool>& cancelled) {
          SpreadByAssignment(args, {threads.get(), &cancelled});
        });
  });
}

}  // namespace

void InitBipartiteSoftMatching(Napi::Env env, Napi::Object exports) {
  exports.Set("bipartiteSoftMatching", Napi::Function::New(env, BipartiteSoftMatchingAsync));
  exports.Set("mergeByAssignment", Napi::Function::New(env, MergeByAssignmentAsync));
  exports.Set("spreadByAssignment", Napi::Function::New(env, SpreadByAssignmentAsync));
}

}  // namespace longvlm
