// The operations for a GPU: the same arguments as on the CPU, their pointers in the GPU's memory.
#pragma once

#include "core/bipartite_soft_matching.h"
#include "core/cuda_device.h"
#include "core/merge_by_assignment.h"
#include "core/merge_tokens.h"
#include "core/metric.h"
#include "core/pool_cls_tokens.h"

namespace longvlm {

// Each is for CudaDevice::Run or Enqueue; `kept` is left to the caller.
CudaOperation ToCuda(const MergeTokensArgs& args);
CudaOperation ToCuda(const BipartiteSoftMatchingArgs& args);
CudaOperation ToCuda(const MergeByAssignmentArgs& args);
CudaOperation ToCuda(const SpreadByAssignmentArgs& args);
CudaOperation ToCuda(const PoolClsTokensArgs& args);
CudaOperation ToCuda(const TokenMetricArgs& args);

}  // namespace longvlm
