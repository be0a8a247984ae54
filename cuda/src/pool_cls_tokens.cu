// The global semantics of a video: the mean of the frames' class tokens.
#include "common.cuh"

namespace longvlm::cuda {
namespace {

constexpr int kThreads = 64;  // few columns: small blocks reach more of the GPU
constexpr uint32_t kLoads = 8;

struct PoolWork {
  const void* cls;
  size_t frames;
  size_t width;
  void* out;
  lv_report* report;
};

template <typename T>
__global__ void __launch_bounds__(kThreads) pool_cls_tokens_kernel(PoolWork work) {
  const size_t column = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= work.width) return;
  const T* const values = static_cast<const T*>(work.cls) + column;
  double sum = 0;
  for (size_t first = 0; first < work.frames; first += kLoads) {
    float value[kLoads];
#pragma unroll
    for (uint32_t i = 0; i < kLoads; ++i) {
      value[i] = first + i < work.frames ? ToFloat(values[(first + i) * work.width]) : 0.0f;
    }
#pragma unroll
    for (uint32_t i = 0; i < kLoads; ++i) {
      if (!IsFinite(value[i])) {
        ReportLowest(&work.report->not_finite, (first + i) * work.width + column);
      }
      // Frames beyond the last count as 0.
      sum = __dadd_rn(sum, static_cast<double>(value[i]));
    }
  }
  static_cast<T*>(work.out)[column] =
      FromFloat<T>(__double2float_rn(__ddiv_rn(sum, static_cast<double>(work.frames))));
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_pool_cls_tokens(const lv_pool_cls_tokens_args* args, lv_stream stream) {
  LV_EXPECT(args != nullptr, "Expected arguments but received null");
  LV_TRY(CheckType(args->type));
  LV_EXPECT(args->frames >= 1 && args->layers >= 1 && args->channels >= 1,
            "Expected shape of at least 1 for cls but received [%llu, %llu, %llu]",
            static_cast<unsigned long long>(args->frames),
            static_cast<unsigned long long>(args->layers),
            static_cast<unsigned long long>(args->channels));
  LV_TRY(CheckVolume(args->frames, args->layers, args->channels));
  LV_EXPECT(args->cls != nullptr && args->out != nullptr && args->report != nullptr,
            "Expected device memory for cls, out and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  const PoolWork work = {args->cls, args->frames, args->layers * args->channels, args->out,
                         args->report};
  return ForType(args->type, [&](auto value) {
    return Launch(pool_cls_tokens_kernel<decltype(value)>, CeilDiv(work.width, kThreads), kThreads,
                  0, ToCuda(stream), work);
  });
}
