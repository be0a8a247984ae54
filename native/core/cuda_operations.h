// The operations on a GPU: the same arguments as on the CPU, with pointers to GPU memory.
#pragma once

#include "core/bipartite_soft_matching.h"
#include "core/cuda_device.h"
#include "core/merge_by_assignment.h"
#include "core/merge_tokens.h"
#include "core/metric.h"
#include "core/pool_cls_tokens.h"

namespace longvlm {

// Each is for CudaDevice::Run or Enqueue; the caller fills in `kept`.
CudaOperation ToCuda(const MergeTokensArgs& args);
CudaOperation ToCuda(const BipartiteSoftMatchingArgs& args);
CudaOperation ToCuda(const MergeByAssignmentArgs& args);
CudaOperation ToCuda(const SpreadByAssignmentArgs& args);
CudaOperation ToCuda(const PoolClsTokensArgs& args);
CudaOperation ToCuda(const TokenMetricArgs& args);

}  // namespace longvlm
