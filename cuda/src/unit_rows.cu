// Rows of any type as float32, scaled to length 1 where wanted; and checks that reducers share.
#include "dot_rows.cuh"
#include "reducers.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

// A warp has eight rows, four threads each: one for each sum of the CPU's NormalizeRow.
constexpr uint32_t kLanes = 4;
constexpr uint32_t kRowsOfWarp = kWarp / kLanes;
constexpr uint32_t kRowsOfBlock = kUnitRowsThreads / kLanes;

// kSome: only the channels of the list.
template <typename T, bool kSome>
__global__ void __launch_bounds__(kUnitRowsThreads) unit_rows_kernel(UnitRowsWork work) {
  const size_t first =
      static_cast<size_t>(blockIdx.x) * kRowsOfBlock + threadIdx.x / kWarp * kRowsOfWarp;
  const uint32_t lane = threadIdx.x % kLanes;
  const uint32_t width = static_cast<uint32_t>(work.width);
  const uint32_t even = width / kLanes * kLanes;
  const uint32_t row_stride = (width + 3) / 4 * 4;
  const auto source = [&](size_t i) {
    const size_t index = Smaller(i, work.count - 1);
    if (work.picked == nullptr) return index;
    // Wrong ones are reported, and must not be read.
    const int32_t picked = work.picked[index];
    if (picked < 0 || static_cast<size_t>(picked) >= work.limit) {
      ReportLowest(&work.report->bad_assignment, index);
      return size_t{0};
    }
    return static_cast<size_t>(picked);
  };
  const size_t row_step = kSome ? work.all_channels : work.width;
  const auto value_at = [&](const T* row, uint32_t k) {
    return static_cast<double>(ToFloat(row[kSome ? work.channels[k] : k]));
  };
  const T* const tokens = static_cast<const T*>(work.tokens);
  const size_t own = source(first + threadIdx.x % kWarp / kLanes);
  const T* const token = tokens + own * row_step;
  double square = 0;
#pragma unroll 16
  for (uint32_t k = lane; k < even; k += kLanes) {
    const double value = value_at(token, k);
    square = __fma_rn(value, value, square);
  }
  if (lane == 0) {
    for (uint32_t k = even; k < width; ++k) {
      const double value = value_at(token, k);
      square = __fma_rn(value, value, square);
    }
  }
  square = __dadd_rn(square, __shfl_xor_sync(kAllLanes, square, 1));
  square = __dadd_rn(square, __shfl_xor_sync(kAllLanes, square, 2));
  if (!kSome && lane == 0 && !IsFinite(square)) {
    ReportRow(token, work.width, work.first_value + own * work.width, work.report);
  }
  double scale = 1;
  if (work.scaled) scale = square > 0 ? __ddiv_rn(1.0, __dsqrt_rn(square)) : 0.0;
  for (uint32_t i = 0; i < kRowsOfWarp; ++i) {
    const double of_row = __shfl_sync(kAllLanes, scale, static_cast<int>(i * kLanes));
    if (first + i >= work.count) continue;
    const T* const from = tokens + source(first + i) * row_step;
    float* const to = work.rows + (first + i) * row_stride;
#pragma unroll 4
    for (uint32_t k = threadIdx.x % kWarp; k < row_stride; k += kWarp) {
      const double value = k < width ? value_at(from, k) : 0.0;
      to[k] = __fadd_rn(__double2float_rn(__dmul_rn(value, of_row)), 0.0f);
    }
  }
}

}  // namespace

lv_status CheckTokens(uint64_t frames, uint64_t patches, uint64_t channels) {
  LV_EXPECT(frames >= 1 && patches >= 1 && channels >= 1,
            "Expected shape of at least 1 for tokens but received [%llu, %llu, %llu]",
            static_cast<unsigned long long>(frames), static_cast<unsigned long long>(patches),
            static_cast<unsigned long long>(channels));
  LV_TRY(CheckVolume(frames, patches, channels));
  LV_EXPECT(frames * patches <= kMaxIndex, "Expected at most 2^31 - 1 tokens but received %llu",
            static_cast<unsigned long long>(frames * patches));
  return LV_OK;
}

lv_status Multiprocessors(int32_t device, int32_t* count) {
  LV_CUDA(cudaDeviceGetAttribute(count, cudaDevAttrMultiProcessorCount, device));
  return LV_OK;
}

lv_status LaunchUnitRows(lv_type type, const UnitRowsWork& work, cudaStream_t stream) {
  return ForType(type, [&](auto value) {
    using T = decltype(value);
    return Launch(work.channels == nullptr ? unit_rows_kernel<T, false> : unit_rows_kernel<T, true>,
                  CeilDiv(work.count, kRowsOfBlock), kUnitRowsThreads, 0, stream, work);
  });
}

}  // namespace longvlm::cuda
