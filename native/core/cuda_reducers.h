// The reducers and their parts on a GPU: the same arguments as on the CPU, with pointers to GPU
// memory.
#pragma once

#include "core/aim.h"
#include "core/assign_to_anchors.h"
#include "core/cuda_device.h"
#include "core/density_peaks.h"
#include "core/evs.h"
#include "core/flash_vid.h"
#include "core/segment_frames.h"
#include "core/select_diverse.h"
#include "core/select_top_k.h"
#include "core/temporal_similarity.h"
#include "core/v_cast.h"
#include "core/vid_com2.h"

namespace longvlm {

// The mean token of each frame, for a method that goes on with it on the host.
struct FrameMeansArgs {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;  // [frames, patches, width]
  Shape shape;         // of `tokens`, all axes at least 1
  float* out;          // [frames, width]
};

// Of each token its product with the row of its slot, and its length, squared.
struct SlotProductsArgs {
  static constexpr TensorNames kNames{"tokens", {"batch", "token", "channel"}};

  ConstValues tokens;         // [1, rows, width]
  Shape shape;                // of `tokens`, all axes at least 1
  const int32_t* assignment;  // [rows]; null for lengths alone
  ConstValues slots;          // [slots_in, width], of the type of `tokens`
  size_t slots_in;
  double* out;  // [rows, 2]
};

// Each is for CudaDevice::Run or Enqueue; the caller fills in `kept`.
CudaOperation ToCuda(const TemporalSimilarityArgs& args);
CudaOperation ToCuda(const AssignToAnchorsArgs& args);
CudaOperation ToCuda(const SelectTopKArgs& args);
CudaOperation ToCuda(const GatherTokensArgs& args);
CudaOperation ToCuda(const DensityPeaksArgs& args);
CudaOperation ToCuda(const SelectDiverseArgs& args);
CudaOperation ToCuda(const SegmentFramesArgs& args);
CudaOperation ToCuda(const EvsArgs& args);
CudaOperation ToCuda(const FrameMeansArgs& args);
CudaOperation ToCuda(const SlotProductsArgs& args);
CudaOperation ToCuda(const VCastArgs& args);
CudaOperation ToCuda(const VidCom2Args& args);
CudaOperation ToCuda(const AimArgs& args);
// Without reference_counts, which a GPU has not.
CudaOperation ToCuda(const FlashVidArgs& args);

}  // namespace longvlm
