#include "core/cuda_operations.h"

#include "core/cuda_call.h"

namespace longvlm {
CudaOperation ToCuda(const MergeTokensArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_merge_tokens_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .sizes = args.sizes,
        .segments = args.shape.batch,
        .tokens_per_segment = args.shape.rows,
        .channels = args.shape.width,
        .heads = args.heads,
        .protected_tokens = args.protected_tokens,
        .schedule = args.schedule.data(),
        .levels = args.schedule.size(),
        .out_tokens = args.out.data,
        .out_sizes = args.out_sizes,
        .out_assignment = args.out_assignment,
        .report = at.report,
    };
    return cuda.merge_tokens(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const BipartiteSoftMatchingArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_bipartite_soft_matching_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.metric.type),
        .metric = args.metric.data,
        .batch = args.shape.batch,
        .tokens = args.shape.rows,
        .dims = args.shape.width,
        .r = args.r,
        .protected_tokens = args.protected_tokens,
        .out_unmerged = args.out_unmerged,
        .out_source = args.out_source,
        .out_destination = args.out_destination,
        .out_assignment = args.out_assignment,
        .report = at.report,
    };
    return cuda.bipartite_soft_matching(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const MergeByAssignmentArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_merge_by_assignment_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.rows.type),
        .rows = args.rows.data,
        .assignment = args.assignment,
        .weights = args.weights,
        .batch = args.shape.batch,
        .num_rows = args.shape.rows,
        .width = args.shape.width,
        .slots = args.slots,
        .mode = args.mode == MergeMode::kMean ? LV_MERGE_MEAN : LV_MERGE_SUM,
        .reserved = 0,
        .out = args.out.data,
        .out_weights = args.out_sums,
        .report = at.report,
    };
    return cuda.merge_by_assignment(&cuda_args, at.workspace, at.workspace_bytes, at.stream);
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const SpreadByAssignmentArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_spread_by_assignment_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.slots.type),
        .slots_in = args.slots.data,
        .assignment = args.assignment,
        .batch = args.shape.batch,
        .num_rows = args.rows,
        .width = args.shape.width,
        .slots = args.shape.rows,
        .out = args.out.data,
        .report = at.report,
    };
    return WithoutWorkspace(at, [&] { return cuda.spread_by_assignment(&cuda_args, at.stream); });
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const PoolClsTokensArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_pool_cls_tokens_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.cls.type),
        .cls = args.cls.data,
        .frames = args.shape.batch,
        .layers = args.shape.rows,
        .channels = args.shape.width,
        .out = args.out.data,
        .report = at.report,
    };
    return WithoutWorkspace(at, [&] { return cuda.pool_cls_tokens(&cuda_args, at.stream); });
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

CudaOperation ToCuda(const TokenMetricArgs& args) {
  const auto call = [args](const CudaFunctions& cuda, const CudaCall& at) {
    const lv_token_metric_args cuda_args{
        .device = at.device,
        .type = ToCudaType(args.tokens.type),
        .tokens = args.tokens.data,
        .count = args.shape.batch * args.shape.rows,
        .channels = args.shape.width,
        .heads = args.heads,
        .out = args.out,
        .report = at.report,
    };
    return WithoutWorkspace(at, [&] { return cuda.token_metric(&cuda_args, at.stream); });
  };
  return {.call = call, .shape = args.shape, .names = args.kNames};
}

}  // namespace longvlm
