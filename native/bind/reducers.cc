#include <string>
#include <vector>

#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/operands.h"
#include "core/aim.h"
#include "core/cuda_reducers.h"
#include "core/evs.h"
#include "core/fast_vid.h"
#include "core/flash_vid.h"
#include "core/v_cast.h"
#include "core/vid_com2.h"

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
    return StartOperation(info.Env(), kCallee, operands, args, Evs);
  });
}

// What a method that cuts and merges writes: the tokens that it keeps, at most `bound`.
struct Kept {
  Values tokens;
  int32_t* indices;
  float* sizes;
  int32_t* starts;
  int32_t* counts;
  int32_t* owners;
};

// Where each token went is told on the host alone. To be called once `tokens` are read.
int32_t* ReadOwners(Operands& operands, const Shape& shape) {
  if (operands.device() != nullptr) return nullptr;
  return operands.Int32s("outOwners", shape.batch * shape.rows);
}

Kept ReadKept(Operands& operands, const ConstValues& tokens, const Shape& shape, size_t bound,
              size_t counts) {
  return {.tokens = operands.FloatsLike("outTokens", tokens, bound * shape.width),
          .indices = operands.Int32s("outIndices", bound),
          .sizes = operands.Float32s("outSizes", bound),
          .starts = operands.Int32s("outStarts", shape.batch),
          .counts = operands.Int32s("outCounts", counts),
          .owners = ReadOwners(operands, shape)};
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

// vidCom2(args: NativeVidCom2Args): NativeTask
Napi::Value VidCom2Async(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "vidCom2";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const size_t total = AtMost(operands, "total", 0, shape.batch * shape.rows);
    const double ratio = operands.Number("ratio");
    if (total == 0 && !(ratio > 0 && ratio <= 1)) Invalid("ratio", "not above 0 and at most 1");
    if (total > 0 && total < shape.batch) Invalid("total", "fewer than the frames");
    const size_t bound = VidCom2Bound(shape, total, ratio);
    const ConstValues tokens = operands.Floats("tokens", shape.size());
    // On the host they are gathered once their number is known.
    const bool gathers = operands.device() != nullptr;
    const VidCom2Args args{
        .tokens = tokens,
        .shape = shape,
        .total = total,
        .ratio = ratio,
        .out = gathers ? operands.FloatsLike("outTokens", tokens, bound * shape.width) : Values(),
        .out_indices = operands.Int32s("outIndices", bound),
        .out_count = operands.Int32s("outCounts", 1)};
    return StartOperation(info.Env(), kCallee, operands, args, VidCom2);
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
    const Kept kept = ReadKept(operands, tokens, shape, bound, 1);
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
        .out = kept.tokens,
        .out_indices = kept.indices,
        .out_sizes = kept.sizes,
        .out_starts = kept.starts,
        .out_count = kept.counts,
        .out_owners = kept.owners};
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
    const Kept kept = ReadKept(operands, tokens, shape, bound, 3);
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
        .exact_budget = operands.Boolean("exactBudget"),
        .out = kept.tokens,
        .out_indices = kept.indices,
        .out_sizes = kept.sizes,
        .out_starts = kept.starts,
        .out_counts = kept.counts,
        .out_owners = kept.owners};
    if (args.reference_counts && operands.device() != nullptr) {
      Invalid("referenceCounts", "true for tokens on a GPU");
    }
    return StartOperation(info.Env(), kCallee, operands, args, FlashVid);
  });
}

// aim(args: NativeAimArgs): NativeTask
Napi::Value AimAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "aim";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const std::vector<uint32_t> schedule = operands.Integers("schedule");
    size_t kept = shape.rows;
    for (const uint32_t merges : schedule) {
      if (merges < 1 || merges > kept / 2) Invalid("schedule", std::to_string(merges));
      kept -= merges;
    }
    const size_t count = shape.batch * kept;
    const ConstValues tokens = operands.Floats("tokens", shape.size());
    const AimArgs args{.tokens = tokens,
                       .shape = shape,
                       .schedule = schedule,
                       .kept = kept,
                       .out = operands.FloatsLike("outTokens", tokens, count * shape.width),
                       .out_indices = operands.Int32s("outIndices", count),
                       .out_sizes = operands.Float32s("outSizes", count),
                       .out_owners = ReadOwners(operands, shape)};
    return StartOperation(info.Env(), kCallee, operands, args, Aim);
  });
}

}  // namespace

void InitReducers(Napi::Env env, Napi::Object exports) {
  exports.Set("evs", Napi::Function::New(env, EvsAsync));
  exports.Set("vCast", Napi::Function::New(env, VCastAsync));
  exports.Set("vidCom2", Napi::Function::New(env, VidCom2Async));
  exports.Set("fastVid", Napi::Function::New(env, FastVidAsync));
  exports.Set("flashVid", Napi::Function::New(env, FlashVidAsync));
  exports.Set("aim", Napi::Function::New(env, AimAsync));
}

}  // namespace longvlm
