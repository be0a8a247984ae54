// What the calls of longvlm_cuda.h share.
#pragma once

#include <stdexcept>

#include "core/cuda_device.h"
#include "core/tensor.h"

namespace longvlm {

inline lv_type ToCudaType(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return LV_FLOAT32;
    case ElementType::kFloat16:
      return LV_FLOAT16;
    case ElementType::kBfloat16:
      return LV_BFLOAT16;
    default:
      throw std::invalid_argument("the GPU computes with float types only");
  }
}

// For functions without a workspace: answers the call that asks for its size.
template <typename Function>
lv_status WithoutWorkspace(const CudaCall& call, Function function) {
  if (call.workspace != nullptr) return function();
  *call.workspace_bytes = 1;
  return LV_OK;
}

}  // namespace longvlm
