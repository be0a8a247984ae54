#include "core/cuda_reducers.h"

#include "core/cuda_call.h"

namespace longvlm {

CudaOperation ToCuda(const TemporalSimilarityArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_temporal_similarity_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .frames = args.shape.batch,
        .patches = args.shape.rows,
        .channels = args.shape.width,
        .best = args.best ? 1 : 0,
        .reserved = 0,
        .out_cosines = args.out_cosines,
        .out_matches = args.out_matches,
        .report = at.report,
    };
    return cuda.temporal_similarity(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const AssignToAnchorsArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_assign_to_anchors_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .tokens_in = args.shape.rows,
        .channels = args.shape.width,
        .anchors = args.anchors,
        .count = args.count,
        .beta = args.beta,
        .out_assignment = args.out_assignment,
        .out_cosines = args.out_cosines,
        .out_sizes = args.out_sizes,
        .out_tokens = args.out.data,
        .report = at.report,
    };
    return cuda.assign_to_anchors(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const SelectTopKArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_select_top_k_args cuda_args{
        .device = at.device,
        .reserved = 0,
        .scores = args.scores,
        .frames = args.shape.rows,
        .patches = args.shape.width,
        .budgets = args.budgets,
        .total = args.total,
        .out_indices = args.out_indices,
        .report = at.report,
    };
    return WithoutWorkspace(at, [&] { return cuda.select_top_k(&cuda_args, at.stream); });
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const GatherTokensArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_gather_tokens_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .tokens_in = args.shape.batch * args.shape.rows,
        .channels = args.shape.width,
        .indices = args.indices,
        .count = args.count,
        .out = args.out.data,
        .report = at.report,
    };
    return WithoutWorkspace(at, [&] { return cuda.gather_tokens(&cuda_args, at.stream); });
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const DensityPeaksArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_density_peaks_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .batch = args.shape.batch,
        .tokens_of_entry = args.shape.rows,
        .channels = args.shape.width,
        .neighbours = args.neighbours,
        .clusters = args.clusters,
        .out_densities = args.out_densities,
        .out_distances = args.out_distances,
        .out_centres = args.out_centres,
        .out_clusters = args.out_clusters,
        .report = at.report,
    };
    return cuda.density_peaks(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const SelectDiverseArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_select_diverse_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .batch = args.shape.batch,
        .tokens_of_entry = args.shape.rows,
        .channels = args.shape.width,
        .count = args.count,
        .weights = args.weights,
        .out_picked = args.out_picked,
        .report = at.report,
    };
    return cuda.select_diverse(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const SegmentFramesArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_segment_frames_args cuda_args{
        .device = at.device,
        .threshold = args.threshold,
        .features = args.features,
        .frames = args.frames,
        .channels = args.width,
        .segments = args.segments,
        .out_cosines = args.out_cosines,
        .out_starts = args.out_starts,
        .report = at.report,
    };
    return cuda.segment_frames(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = {1, args.frames, args.width}, .names = args.kNames};
}

CudaOperation ToCuda(const EvsArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_evs_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .frames = args.shape.batch,
        .patches = args.shape.rows,
        .channels = args.shape.width,
        .total = args.total,
        .out_tokens = args.out.data,
        .out_indices = args.out_indices,
        .report = at.report,
    };
    return cuda.evs(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const FrameMeansArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_frame_means_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .frames = args.shape.batch,
        .patches = args.shape.rows,
        .channels = args.shape.width,
        .out = args.out,
        .report = at.report,
    };
    return WithoutWorkspace(at, [&] { return cuda.frame_means(&cuda_args, at.stream); });
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const VCastArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_v_cast_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .frames = args.shape.batch,
        .patches = args.shape.rows,
        .channels = args.shape.width,
        .total = args.total,
        .least = args.least,
        .temperature = args.temperature,
        .leftover =
            args.leftover == Leftover::kReference ? LV_LEFTOVER_REFERENCE : LV_LEFTOVER_REMAINDER,
        .reserved = 0,
        .out_tokens = args.out.data,
        .out_indices = args.out_indices,
        .report = at.report,
    };
    return cuda.v_cast(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const VidCom2Args& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_vid_com2_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .frames = args.shape.batch,
        .patches = args.shape.rows,
        .channels = args.shape.width,
        .total = args.total,
        .ratio = args.ratio,
        .out_tokens = args.out.data,
        .out_indices = args.out_indices,
        .out_count = args.out_count,
        .report = at.report,
    };
    return cuda.vid_com2(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const AimArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_aim_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .frames = args.shape.batch,
        .patches = args.shape.rows,
        .channels = args.shape.width,
        .schedule = args.schedule.data(),
        .steps = args.schedule.size(),
        .out_tokens = args.out.data,
        .out_indices = args.out_indices,
        .out_sizes = args.out_sizes,
        .report = at.report,
    };
    return cuda.aim(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const FlashVidArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_flash_vid_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .frames = args.shape.batch,
        .patches = args.shape.rows,
        .channels = args.shape.width,
        .attention = args.attention,
        .budget = args.budget,
        .picked = args.picked,
        .temporal_threshold = args.temporal_threshold,
        .segment_threshold = args.segment_threshold,
        .segments = args.segments,
        .cluster_picked = args.cluster_picked ? 1 : 0,
        .exact_budget = args.exact_budget ? 1 : 0,
        .out_tokens = args.out.data,
        .out_indices = args.out_indices,
        .out_sizes = args.out_sizes,
        .out_starts = args.out_starts,
        .out_counts = args.out_counts,
        .report = at.report,
    };
    return cuda.flash_vid(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

}  // namespace longvlm
