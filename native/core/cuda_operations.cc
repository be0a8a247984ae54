#include "core/cuda_operations.h"

#include "core/cuda_call.h"

namespace longvlm {
CudaOperation ToCuda(const MergeTokensArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::merge_tokens,
                     [](const MergeTokensArgs& args, const CudaCall& at) {
                       return lv_merge_tokens_args{
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
                     });
}

CudaOperation ToCuda(const BipartiteSoftMatchingArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::bipartite_soft_matching,
                     [](const BipartiteSoftMatchingArgs& args, const CudaCall& at) {
                       return lv_bipartite_soft_matching_args{
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
                     });
}

CudaOperation ToCuda(const MergeByAssignmentArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::merge_by_assignment,
                     [](const MergeByAssignmentArgs& args, const CudaCall& at) {
                       return lv_merge_by_assignment_args{
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
                     });
}

CudaOperation ToCuda(const SpreadByAssignmentArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::spread_by_assignment,
                     [](const SpreadByAssignmentArgs& args, const CudaCall& at) {
                       return lv_spread_by_assignment_args{
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
                     });
}

CudaOperation ToCuda(const PoolClsTokensArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::pool_cls_tokens,
                     [](const PoolClsTokensArgs& args, const CudaCall& at) {
                       return lv_pool_cls_tokens_args{
                           .device = at.device,
                           .type = ToCudaType(args.cls.type),
                           .cls = args.cls.data,
                           .frames = args.shape.batch,
                           .layers = args.shape.rows,
                           .channels = args.shape.width,
                           .out = args.out.data,
                           .report = at.report,
                       };
                     });
}

CudaOperation ToCuda(const TokenMetricArgs& given) {
  return OperationOf(given, given.shape, &CudaFunctions::token_metric,
                     [](const TokenMetricArgs& args, const CudaCall& at) {
                       return lv_token_metric_args{
                           .device = at.device,
                           .type = ToCudaType(args.tokens.type),
                           .tokens = args.tokens.data,
                           .count = args.shape.batch * args.shape.rows,
                           .channels = args.shape.width,
                           .heads = args.heads,
                           .out = args.out,
                           .report = at.report,
                       };
                     });
}

}  // namespace longvlm
