#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/operands.h"
#include "core/assign_to_anchors.h"
#include "core/cuda_reducers.h"
#include "core/density_peaks.h"
#include "core/segment_frames.h"
#include "core/select_diverse.h"
#include "core/select_top_k.h"
#include "core/temporal_similarity.h"

namespace longvlm {
namespace {

// segmentFrames(args: NativeSegmentFramesArgs): NativeTask
Napi::Value SegmentFramesAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "segmentFrames";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    if (shape.batch != 1) Invalid("dims", "more than one batch entry");
    const SegmentFramesArgs args{.features = operands.Float32s("features", shape.size()),
                                 .frames = shape.rows,
                                 .width = shape.width,
                                 .threshold = static_cast<float>(operands.Number("threshold")),
                                 .segments = operands.Integer("segments", 1),
                                 .out_cosines = operands.Float32s("outCosines", shape.rows - 1),
                                 .out_starts = operands.Int32s("outStarts", shape.rows)};
    return StartOperation(info.Env(), kCallee, operands, args, SegmentFrames);
  });
}

// temporalSimilarity(args: NativeTemporalSimilarityArgs): NativeTask
Napi::Value TemporalSimilarityAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "temporalSimilarity";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const bool best = operands.Boolean("best");
    const size_t pairs = (shape.batch - 1) * shape.rows;
    const TemporalSimilarityArgs args{
        .tokens = operands.Floats("tokens", shape.size()),
        .shape = shape,
        .best = best,
        .out_cosines = operands.Float32s("outCosines", pairs),
        .out_matches = operands.Int32s("outMatches", best ? pairs : 0)};
    return StartOperation(info.Env(), kCallee, operands, args, TemporalSimilarity);
  });
}

// frameMeans(args: NativeFrameMeansArgs): NativeTask
Napi::Value FrameMeansAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "frameMeans";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const FrameMeansArgs args{.tokens = operands.Floats("tokens", shape.size()),
                              .shape = shape,
                              .out = operands.Float32s("out", shape.batch * shape.width)};
    // On the host it is a step of the methods that need it.
    if (operands.device() == nullptr) Invalid("tokens", "on the host");
    return StartOperation(info.Env(), kCallee, operands, args,
                          [](const FrameMeansArgs&, const Workers&) {});
  });
}

// slotProducts(args: NativeSlotProductsArgs): NativeTask
Napi::Value SlotProductsAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "slotProducts";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    if (shape.batch != 1) Invalid("dims", "more than one batch entry");
    const auto count = static_cast<size_t>(operands.SmallInteger("count", 0));
    const ConstValues tokens = operands.Floats("tokens", shape.size());
    const SlotProductsArgs args{
        .tokens = tokens,
        .shape = shape,
        .assignment = operands.Int32s("assignment", count == 0 ? 0 : shape.rows),
        .slots =
            count == 0 ? ConstValues() : operands.FloatsLike("slots", tokens, count * shape.width),
        .slots_in = count,
        .out = operands.Float64s("out", shape.rows * 2)};
    // Whoever needs it on the host has sums of its own.
    if (operands.device() == nullptr) Invalid("tokens", "on the host");
    return StartOperation(info.Env(), kCallee, operands, args,
                          [](const SlotProductsArgs&, const Workers&) {});
  });
}

// selectTopK(args: NativeSelectTopKArgs): NativeTask
Napi::Value SelectTopKAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "selectTopK";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    if (shape.batch != 1) Invalid("dims", "more than one batch entry");
    const auto total = static_cast<size_t>(operands.SmallInteger("total", 0));
    const SelectTopKArgs args{.scores = operands.Float32s("scores", shape.size()),
                              .shape = shape,
                              .budgets = operands.Int32s("budgets", shape.rows),
                              .total = total,
                              .out_indices = operands.Int32s("outIndices", total)};
    return StartOperation(info.Env(), kCallee, operands, args, SelectTopK);
  });
}

// gatherTokens(args: NativeGatherTokensArgs): NativeTask
Napi::Value GatherTokensAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "gatherTokens";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const auto count = static_cast<size_t>(operands.SmallInteger("count", 0));
    const ConstValues tokens = operands.Floats("tokens", shape.size());
    const GatherTokensArgs args{
        .tokens = tokens,
        .shape = shape,
        .indices = operands.Int32s("indices", count),
        .count = count,
        .out = operands.FloatsLike("outTokens", tokens, count * shape.width)};
    return StartOperation(info.Env(), kCallee, operands, args, GatherTokens);
  });
}

// assignToAnchors(args: NativeAssignToAnchorsArgs): NativeTask
Napi::Value AssignToAnchorsAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "assignToAnchors";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    if (shape.batch != 1) Invalid("dims", "more than one batch entry");
    const auto count = static_cast<size_t>(operands.SmallInteger("count", 1));
    const ConstValues tokens = operands.Floats("tokens", shape.size());
    const AssignToAnchorsArgs args{
        .tokens = tokens,
        .shape = shape,
        .anchors = operands.Int32s("anchors", count),
        .count = count,
        .beta = operands.Number("beta"),
        .out_assignment = operands.Int32s("outAssignment", shape.rows),
        .out_cosines = operands.Float32s("outCosines", shape.rows),
        .out_sizes = operands.Float32s("outSizes", count),
        .out = operands.FloatsLike("outTokens", tokens, count * shape.width)};
    return StartOperation(info.Env(), kCallee, operands, args, AssignToAnchors);
  });
}

// densityPeaks(args: NativeDensityPeaksArgs): NativeTask
Napi::Value DensityPeaksAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "densityPeaks";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const size_t rows = shape.batch * shape.rows;
    const size_t clusters = operands.Integer("clusters", 0);
    if (clusters > shape.rows) Invalid("clusters", "more than the tokens");
    const DensityPeaksArgs args{
        .tokens = operands.Floats("tokens", shape.size()),
        .shape = shape,
        .neighbours = operands.Integer("neighbours", 1),
        .clusters = clusters,
        .out_densities = operands.Float32s("outDensities", rows),
        .out_distances = operands.Float32s("outDistances", rows),
        .out_centres = operands.Int32s("outCentres", shape.batch * clusters),
        .out_clusters = operands.Int32s("outClusters", clusters == 0 ? 0 : rows)};
    return StartOperation(info.Env(), kCallee, operands, args, ClusterByDensity);
  });
}

// selectDiverse(args: NativeSelectDiverseArgs): NativeTask
Napi::Value SelectDiverseAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "selectDiverse";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const size_t count = operands.Integer("count", 1);
    if (count > shape.rows) Invalid("count", "more than the tokens");
    const SelectDiverseArgs args{
        .tokens = operands.Floats("tokens", shape.size()),
        .shape = shape,
        .count = count,
        .weights = operands.OptionalFloat32s("weights", shape.batch * shape.rows),
        .out_picked = operands.Int32s("outPicked", shape.batch * count)};
    return StartOperation(info.Env(), kCallee, operands, args, SelectDiverseTokens);
  });
}

}  // namespace

void InitReducerParts(Napi::Env env, Napi::Object exports) {
  exports.Set("segmentFrames", Napi::Function::New(env, SegmentFramesAsync));
  exports.Set("temporalSimilarity", Napi::Function::New(env, TemporalSimilarityAsync));
  exports.Set("frameMeans", Napi::Function::New(env, FrameMeansAsync));
  exports.Set("slotProducts", Napi::Function::New(env, SlotProductsAsync));
  exports.Set("selectTopK", Napi::Function::New(env, SelectTopKAsync));
  exports.Set("gatherTokens", Napi::Function::New(env, GatherTokensAsync));
  exports.Set("assignToAnchors", Napi::Function::New(env, AssignToAnchorsAsync));
  exports.Set("densityPeaks", Napi::Function::New(env, DensityPeaksAsync));
  exports.Set("selectDiverse", Napi::Function::New(env, SelectDiverseAsync));
}

}  // namespace longvlm
