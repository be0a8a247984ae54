#include "core/cuda_reducers.h"

#include "core/cuda_call.h"

namespace longvlm {

CudaOperation ToCuda(const TemporalSimilarityArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::temporal_similarity,
                     [](const TemporalSimilarityArgs& args, const CudaCall& at) {
                       return lv_temporal_similarity_args{
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
                     });
}

CudaOperation ToCuda(const AssignToAnchorsArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::assign_to_anchors,
                     [](const AssignToAnchorsArgs& args, const CudaCall& at) {
                       return lv_assign_to_anchors_args{
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
                     });
}

CudaOperation ToCuda(const SelectTopKArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::select_top_k,
                     [](const SelectTopKArgs& args, const CudaCall& at) {
                       return lv_select_top_k_args{
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
                     });
}

CudaOperation ToCuda(const GatherTokensArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::gather_tokens,
                     [](const GatherTokensArgs& args, const CudaCall& at) {
                       return lv_gather_tokens_args{
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
                     });
}

CudaOperation ToCuda(const DensityPeaksArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::density_peaks,
                     [](const DensityPeaksArgs& args, const CudaCall& at) {
                       return lv_density_peaks_args{
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
                     });
}

CudaOperation ToCuda(const SelectDiverseArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::select_diverse,
                     [](const SelectDiverseArgs& args, const CudaCall& at) {
                       return lv_select_diverse_args{
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
                     });
}

CudaOperation ToCuda(const SegmentFramesArgs& given) {
  return OperationOf(given, {1, given.frames, given.width}, &CudaFunctions::segment_frames,
                     [](const SegmentFramesArgs& args, const CudaCall& at) {
                       return lv_segment_frames_args{
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
                     });
}

CudaOperation ToCuda(const EvsArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::evs,
                     [](const EvsArgs& args, const CudaCall& at) {
                       return lv_evs_args{
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
                     });
}

CudaOperation ToCuda(const FrameMeansArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::frame_means,
                     [](const FrameMeansArgs& args, const CudaCall& at) {
                       return lv_frame_means_args{
                           .device = at.device,
                           .type = ToCudaType(args.tokens.type),
                           .tokens = args.tokens.data,
                           .frames = args.shape.batch,
                           .patches = args.shape.rows,
                           .channels = args.shape.width,
                           .out = args.out,
                           .report = at.report,
                       };
                     });
}

CudaOperation ToCuda(const SlotProductsArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::slot_products,
                     [](const SlotProductsArgs& args, const CudaCall& at) {
                       return lv_slot_products_args{
                           .device = at.device,
                           .type = ToCudaType(args.tokens.type),
                           .tokens = args.tokens.data,
                           .count = args.shape.rows,
                           .channels = args.shape.width,
                           .assignment = args.assignment,
                           .slots = args.slots.data,
                           .slots_in = args.slots_in,
                           .out = args.out,
                           .report = at.report,
                       };
                     });
}

CudaOperation ToCuda(const VCastArgs& given) {
  return OperationOf(
      given, given.shape, &CudaFunctions::v_cast, [](const VCastArgs& args, const CudaCall& at) {
        return lv_v_cast_args{
            .device = at.device,
            .type = ToCudaType(args.tokens.type),
            .tokens = args.tokens.data,
            .frames = args.shape.batch,
            .patches = args.shape.rows,
            .channels = args.shape.width,
            .total = args.total,
            .least = args.least,
            .temperature = args.temperature,
            .leftover = args.leftover == Leftover::kReference ? LV_LEFTOVER_REFERENCE
                                                              : LV_LEFTOVER_REMAINDER,
            .reserved = 0,
            .out_tokens = args.out.data,
            .out_indices = args.out_indices,
            .report = at.report,
        };
      });
}

CudaOperation ToCuda(const VidCom2Args& given) {
  return OperationOf(given, given.shape, &CudaFunctions::vid_com2,
                     [](const VidCom2Args& args, const CudaCall& at) {
                       return lv_vid_com2_args{
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
                     });
}

CudaOperation ToCuda(const AimArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::aim,
                     [](const AimArgs& args, const CudaCall& at) {
                       return lv_aim_args{
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
                     });
}

CudaOperation ToCuda(const FlashVidArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::flash_vid,
                     [](const FlashVidArgs& args, const CudaCall& at) {
                       return lv_flash_vid_args{
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
                     });
}

}  // namespace longvlm
