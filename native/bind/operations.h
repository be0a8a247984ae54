// Operations on a GPU that are part of a session's run.
#pragma once

#include <string>

#include "bind/operands.h"
#include "core/cuda_device.h"

namespace longvlm {

MergeTokensArgs ReadMergeTokens(Operands& operands);
PoolClsTokensArgs ReadPoolClsTokens(Operands& operands);

// The operation of that name in JavaScript, on the GPU that has its tensors. Throws
// std::invalid_argument when they are on the host.
inline CudaOperation ReadCudaOperation(const std::string& name, Operands& operands) {
  const auto read = [&]() -> CudaOperation {
    if (name == "mergeTokens") return ToCuda(ReadMergeTokens(operands));
    if (name == "poolClsTokens") return ToCuda(ReadPoolClsTokens(operands));
    Invalid("operation", name);
  };
  CudaOperation operation = read();
  if (operands.device() == nullptr) Invalid("operation", "tensors on the host");
  operation.kept = operands.memory();
  return operation;
}

}  // namespace longvlm
