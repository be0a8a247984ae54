#include <string>

#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/operands.h"
#include "core/cuda_reducers.h"
#include "core/fast_vid.h"
#include "core/flash_vid.h"
#include "core/v_cast.h"

namespace longvlm {
namespace {

// A count that must not exceed another.
size_t AtMost(const Operands& operands, const char* name, size_t least, size_t most) {
  const size_t count = operands.Integer(name, least);
  if (count > most) Invalid(name, std::to_string(count) + ", above " + std::to_string(most));
  return count;
}

// evs(args: NativeEvsArgs): NativeTask
Napi::Value EvsAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "evs";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const size_t total = AtMost(operands, "total", shape.rows, shape.batch * shape.rows);
    const ConstValues tokens = operands.Floats("tokens", shape.size());
    const EvsArgs args{.tokens = tokens,
                       .shape = shape,
                       .total = total,
                       .out = operands.FloatsLike("outTokens", tokens, total * shape.width),
                       .out_indices = operands.Int32s("outIndices", total)};
    // On the host its parts are called one by one.
    if (operands.device() == nullptr) Invalid("tokens", "on the host");
    return StartOperation(info.Env(), kCallee, operands, args,
                          [](const EvsArgs&, const Workers&) {});
  });
}

// vCast(args: NativeVCastArgs): NativeTask
Napi::Value VCastAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "vCast";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const size_t least = AtMost(operands, "least", 0, shape.rows);
    const size_t total = AtMost(operands, "total", least * shape.batch, shape.batch * shape.rows);
    const double temperature = operands.Number("temperature");
    if (!(temperature > 0)) Invalid("temperature", "not above 0");
    const ConstValues tokens = operands.Floats("tokens", shape.size());
    const VCastArgs args{.tokens = tokens,
                         .shape = shape,
                         .total = total,
                         .least = least,
                         .temperature = temperature,
                         .leftover = operands.Boolean("leftoverByReference") ? Leftover::kReference
                                                                             : Leftover::kRemainder,
                         .out = operands.FloatsLike("outTokens", tokens, total * shape.width),
                         .out_indices = operands.Int32s("outIndices", total)};
    return StartOperation(info.Env(), kCallee, operands, args, VCast);
  });
}

// fastVid(args: NativeFastVidArgs): NativeTask
Napi::Value FastVidAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "fastVid";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const size_t salient = AtMost(operands, "salient", 0, shape.rows);
    const size_t context = AtMost(operands, "context", 0, shape.rows - salient);
    const size_t bound = shape.batch * (salient + context);
    const size_t feature_width = static_cast<size_t>(operands.SmallInteger("featureWidth", 1));
    const ConstValues tokens = operands.Floats("tokens", shape.size());
    const FastVidArgs args{
        .tokens = tokens,
        .shape = shape,
        .attention = operands.Float32s("attention", shape.batch * shape.rows),
        .frame_features = operands.OptionalFloat32s("frameFeatures", shape.batch * feature_width),
        .feature_width = feature_width,
        .salient = salient,
        .context = context,
        .segments = operands.Integer("segments", 1),
        .threshold = static_cast<float>(operands.Number("threshold")),
        .anchor_step = operands.Integer("anchorStep", 1),
        .beta = operands.Number("beta"),
        .out = operands.FloatsLike("outTokens", tokens, bound * shape.width),
        .out_indices = operands.Int32s("outIndices", bound),
        .out_sizes = operands.Float32s("outSizes", bound),
        .out_starts = operands.Int32s("outStarts", shape.batch),
        .out_count = operands.Int32s("outCounts", 1)};
    return StartHostOperation(info.Env(), kCallee, operands, args, FastVid);
  });
}

// flashVid(args: NativeFlashVidArgs): NativeTask
Napi::Value FlashVidAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "flashVid";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const size_t budget = AtMost(operands, "budget", 1, shape.rows);
    const size_t bound = shape.batch * (budget + 1);
    const ConstValues tokens = operands.Floats("tokens", shape.size());
    const FlashVidArgs args{
        .tokens = tokens,
        .shape = shape,
        .attention = operands.OptionalFloat32s("attention", shape.batch * shape.rows),
        .budget = budget,
        .picked = AtMost(operands, "picked", 0, budget),
        .temporal_threshold = static_cast<float>(operands.Number("temporalThreshold")),
        .segment_threshold = static_cast<float>(operands.Number("segmentThreshold")),
        .segments = operands.Integer("segments", 1),
        .reference_counts = operands.Boolean("referenceCounts"),
        .cluster_picked = operands.Boolean("clusterPicked"),
        .out = operands.FloatsLike("outTokens", tokens, bound * shape.width),
        .out_indices = operands.Int32s("outIndices", bound),
        .out_sizes = operands.Float32s("outSizes", bound),
        .out_starts = operands.Int32s("outStarts", shape.batch),
        .out_counts = operands.Int32s("outCounts", 3)};
    return StartHostOperation(info.Env(), kCallee, operands, args, FlashVid);
  });
}

}  // namespace

void InitReducers(Napi::Env env, Napi::Object exports) {
  exports.Set("evs", Napi::Function::New(env, EvsAsync));
  exports.Set("vCast", Napi::Function::New(env, VCastAsync));
  exports.Set("fastVid", Napi::Function::New(env, FastVidAsync));
  exports.Set("flashVid", Napi::Function::New(env, FlashVidAsync));
}

}  // namespace longvlm
