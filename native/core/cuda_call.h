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

template <typename CudaArgs>
lv_status CallCuda(lv_status (*function)(const CudaArgs*, void*, size_t*, lv_stream),
                   const CudaArgs& args, const CudaCall& at) {
  return function(&args, at.workspace, at.workspace_bytes, at.stream);
}

// A function without a workspace: the call that asks for its size is answered here.
template <typename CudaArgs>
lv_status CallCuda(lv_status (*function)(const CudaArgs*, lv_stream), const CudaArgs& args,
                   const CudaCall& at) {
  if (at.workspace != nullptr) return function(&args, at.stream);
  *at.workspace_bytes = 1;
  return LV_OK;
}

// An operation that calls `function` with to_cuda(args, call). `shape` is that of its input.
template <typename Args, typename Function, typename ToCudaArgs>
CudaOperation OperationOf(const Args& args, const Shape& shape, Function CudaFunctions::*function,
                          ToCudaArgs to_cuda) {
  const auto call = [args, function, to_cuda](const CudaFunctions& cuda, const CudaCall& at) {
    return CallCuda(cuda.*function, to_cuda(args, at), at);
  };
  return {.call = call, .shape = shape, .names = Args::kNames};
}

}  // namespace longvlm
