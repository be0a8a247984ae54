#include "core/bipartite_soft_matching.h"

#include <algorithm>
#include <vector>

#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/operands.h"
#include "core/merge_by_assignment.h"

namespace longvlm {
namespace {

// bipartiteSoftMatching(args: BipartiteSoftMatchingArgs): NativeTask
Napi::Value BipartiteSoftMatchingAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "bipartiteSoftMatching";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const size_t protected_tokens = operands.Protect(shape);
    const size_t r = std::min(operands.Integer("r", 0), (shape.rows - protected_tokens) / 2);
    const size_t stay = CountA(shape.rows, protected_tokens) - r;
    const BipartiteSoftMatchingArgs args{
        .metric = operands.Floats("metric", shape.size()),
        .shape = shape,
        .protected_tokens = protected_tokens,
        .r = r,
        .out_unmerged = operands.Int32s("outUnmerged", shape.batch * stay),
        .out_source = operands.Int32s("outSource", shape.batch * r),
        .out_destination = operands.Int32s("outDestination", shape.batch * r),
        .out_assignment = operands.Int32s("outAssignment", shape.batch * shape.rows)};
    return StartOperation(info.Env(), kCallee, operands, args, BipartiteSoftMatching);
  });
}

// mergeByAssignment(args: MergeByAssignmentArgs): NativeTask
Napi::Value MergeByAssignmentAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "mergeByAssignment";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const auto slots = static_cast<size_t>(operands.SmallInteger("slots", 1));
    const ConstValues rows = operands.Floats("tensor", shape.size());
    const MergeByAssignmentArgs args{
        .rows = rows,
        .shape = shape,
        .slots = slots,
        .assignment = operands.Int32s("assignment", shape.batch * shape.rows),
        .weights = operands.OptionalFloat32s("sizes", shape.batch * shape.rows),
        .mode = operands.Boolean("mean") ? MergeMode::kMean : MergeMode::kSum,
        .out = operands.FloatsLike("out", rows, shape.batch * slots * shape.width),
        .out_sums = nullptr};
    return StartOperation(info.Env(), kCallee, operands, args,
                          [](const MergeByAssignmentArgs& read, const Workers& workers) {
                            LocateNotFinite(read.rows, read.shape, read.kNames, [&] {
                              std::vector<SlotRows> scratch;
                              MergeByAssignment(read, workers, scratch);
                            });
                          });
  });
}

// spreadByAssignment(args: SpreadByAssignmentArgs): NativeTask
Napi::Value SpreadByAssignmentAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "spreadByAssignment";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const auto rows = static_cast<size_t>(operands.SmallInteger("rows", 1));
    const ConstValues slots = operands.Floats("tensor", shape.size());
    const SpreadByAssignmentArgs args{
        .slots = slots,
        .shape = shape,
        .rows = rows,
        .assignment = operands.Int32s("assignment", shape.batch * rows),
        .out = operands.FloatsLike("out", slots, shape.batch * rows * shape.width)};
    return StartOperation(info.Env(), kCallee, operands, args, SpreadByAssignment);
  });
}

}  // namespace

void InitBipartiteSoftMatching(Napi::Env env, Napi::Object exports) {
  exports.Set("bipartiteSoftMatching", Napi::Function::New(env, BipartiteSoftMatchingAsync));
  exports.Set("mergeByAssignment", Napi::Function::New(env, MergeByAssignmentAsync));
  exports.Set("spreadByAssignment", Napi::Function::New(env, SpreadByAssignmentAsync));
}

}  // namespace longvlm
