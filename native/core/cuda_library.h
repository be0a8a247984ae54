// The GPU kernels: liblongvlm_cuda, opened at run time, because most machines do not need it.
#pragma once

#include <memory>
#include <string>

#include "longvlm_cuda_reducers.h"

namespace longvlm {

// The functions of longvlm_cuda.h and longvlm_cuda_reducers.h, without `lv_`.
struct CudaFunctions {
#define LONGVLM_CUDA_FUNCTIONS(X) \
  X(abi_version)                  \
  X(last_error)                   \
  X(device_count)                 \
  X(get_device_info)              \
  X(stream_create)                \
  X(stream_destroy)               \
  X(stream_synchronize)           \
  X(device_alloc)                 \
  X(device_free)                  \
  X(host_alloc)                   \
  X(host_free)                    \
  X(copy_to_device)               \
  X(copy_to_host)                 \
  X(merge_tokens)                 \
  X(bipartite_soft_matching)      \
  X(merge_by_assignment)          \
  X(spread_by_assignment)         \
  X(pool_cls_tokens)              \
  X(token_metric)                 \
  X(temporal_similarity)          \
  X(assign_to_anchors)            \
  X(select_top_k)                 \
  X(gather_tokens)                \
  X(frame_means)                  \
  X(slot_products)                \
  X(evs)                          \
  X(v_cast)                       \
  X(density_peaks)                \
  X(select_diverse)               \
  X(segment_frames)               \
  X(flash_vid)                    \
  X(vid_com2)                     \
  X(aim)
#define LONGVLM_CUDA_MEMBER(name) decltype(&lv_##name) name = nullptr;
  LONGVLM_CUDA_FUNCTIONS(LONGVLM_CUDA_MEMBER)
#undef LONGVLM_CUDA_MEMBER
};

// The library in the file `path`, opened once per process and never closed. Throws Error
// ERR_LONGVLM_CUDA when it cannot be opened, or its version is not this addon's.
const CudaFunctions& OpenCudaLibrary(const std::string& path);

// Whether this machine has NVIDIA's driver.
bool HasCudaDriver();

// Throws Error ERR_LONGVLM_CUDA_OOM or ERR_LONGVLM_CUDA unless `status` is LV_OK.
void CheckCuda(const CudaFunctions& cuda, lv_status status);

}  // namespace longvlm
