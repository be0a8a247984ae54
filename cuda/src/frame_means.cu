// The mean token of each frame.
#include "reducers.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

template <typename T, int V>
__global__ void __launch_bounds__(kFrameMeansThreads) frame_means_kernel(FrameMeansWork work) {
  const size_t groups = work.width / V;
  const size_t blocks = (groups + kFrameMeansThreads - 1) / kFrameMeansThreads;
  const size_t frame = blockIdx.x / blocks;
  const size_t group = blockIdx.x % blocks * kFrameMeansThreads + threadIdx.x;
  if (group >= groups) return;
  const size_t begin = frame * work.patches * work.width + group * V;
  const T* const values = static_cast<const T*>(work.tokens) + begin;
  double sum[V] = {};
  for (size_t first = 0; first < work.patches; first += kFrameMeansLoads) {
    Values<T, V> loaded[kFrameMeansLoads] = {};
#pragma unroll
    for (size_t i = 0; i < kFrameMeansLoads; ++i) {
      if (first + i < work.patches) loaded[i] = Load<T, V>(values + (first + i) * work.width);
    }
#pragma unroll
    for (size_t i = 0; i < kFrameMeansLoads; ++i) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float value = ToFloat(loaded[i].value[v]);
        if (!IsFinite(value)) {
          ReportLowest(&work.report->not_finite,
                       begin + (first + i) * work.width + static_cast<size_t>(v));
        }
        // Patches beyond the last count as 0.
        sum[v] = __dadd_rn(sum[v], static_cast<double>(value));
      }
    }
  }
#pragma unroll
  for (int v = 0; v < V; ++v) {
    work.out[frame * work.width + group * V + static_cast<size_t>(v)] =
        __double2float_rn(__ddiv_rn(sum[v], static_cast<double>(work.patches)));
  }
}

}  // namespace

lv_status LaunchFrameMeans(lv_type type, const FrameMeansWork& work, cudaStream_t stream) {
  return ForType(type, [&](auto value) {
    using T = decltype(value);
    return ForVector<T>(work.tokens, nullptr, work.width, [&](auto vector) {
      constexpr int kV = decltype(vector)::value;
      const size_t blocks = CeilDiv(work.width / kV, kFrameMeansThreads);
      return Launch(frame_means_kernel<T, kV>, work.frames * blocks, kFrameMeansThreads, 0, stream,
                    work);
    });
  });
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_frame_means(const lv_frame_means_args* args, lv_stream stream) {
  LV_EXPECT(args != nullptr, "Expected arguments but received null");
  LV_TRY(CheckType(args->type));
  LV_TRY(CheckTokens(args->frames, args->patches, args->channels));
  LV_EXPECT(args->tokens != nullptr && args->out != nullptr && args->report != nullptr,
            "Expected device memory for tokens, out and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  const FrameMeansWork work = {args->tokens,   args->frames, args->patches,
                               args->channels, args->out,    args->report};
  return LaunchFrameMeans(args->type, work, ToCuda(stream));
}
