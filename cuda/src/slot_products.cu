// The length of each token, squared, and its product with the row of its slot.
#include "reducers.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

struct SlotProductsWork {
  const void* tokens;         // [count, width]
  const int32_t* assignment;  // [count]; null for squares alone
  const void* slots;          // [limit, width]
  size_t count;
  size_t width;
  size_t limit;
  double* out;  // [count, 2]
  lv_report* report;
};

constexpr uint32_t kRows = kWarp;
constexpr uint32_t kThreads = 4 * kWarp;
constexpr uint32_t kTile = kSlotProductsTile;

struct SlotShared {
  // A column more, so that a warp reads one of 32 banks each.
  float tokens[kRows][kTile + 1];
  float slots[kRows][kTile + 1];
  int32_t slot_of[kRows];
};

// The slot of a token, or -1 for none.
__device__ int32_t SlotOf(const SlotProductsWork& work, size_t token) {
  if (work.assignment == nullptr || token >= work.count) return -1;
  const int32_t slot = work.assignment[token];
  if (slot >= 0 && static_cast<size_t>(slot) < work.limit) return slot;
  ReportLowest(&work.report->bad_assignment, token);
  return -1;
}

// Of each token one lane adds the products, and one of another warp the squares, in one chain each.
template <typename T>
__global__ void __launch_bounds__(kThreads) slot_products_kernel(SlotProductsWork work) {
  LV_SHARED(SlotShared, shared);
  const size_t first_token = static_cast<size_t>(blockIdx.x) * kRows;
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t warp = threadIdx.x / kWarp;
  if (warp == 0) shared.slot_of[lane] = SlotOf(work, first_token + lane);
  const T* const tokens = static_cast<const T*>(work.tokens);
  const T* const slots = static_cast<const T*>(work.slots);
  double sum = 0;
  for (size_t first = 0; first < work.width; first += kTile) {
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < kRows * kTile; i += kThreads) {
      const uint32_t row = i / kTile;
      const size_t k = first + i % kTile;
      const size_t token = first_token + row;
      const int32_t slot = shared.slot_of[row];
      float value = 0;
      float other = 0;
      if (token < work.count && k < work.width) {
        value = ToFloat(tokens[token * work.width + k]);
        if (!IsFinite(value)) ReportLowest(&work.report->not_finite, token * work.width + k);
        if (slot >= 0) other = ToFloat(slots[static_cast<size_t>(slot) * work.width + k]);
      }
      shared.tokens[row][i % kTile] = value;
      shared.slots[row][i % kTile] = other;
    }
    __syncthreads();
    if (warp >= 2) continue;
    const float* const own = shared.tokens[lane];
    const float* const others = warp == 0 ? shared.slots[lane] : own;
#pragma unroll 8
    for (uint32_t k = 0; k < kTile; ++k) {
      // The product of two float32 is exact in float64.
      sum = __fma_rn(static_cast<double>(own[k]), static_cast<double>(others[k]), sum);
    }
  }
  if (warp < 2 && first_token + lane < work.count) work.out[(first_token + lane) * 2 + warp] = sum;
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_slot_products(const lv_slot_products_args* args, lv_stream stream) {
  LV_EXPECT(args != nullptr, "Expected arguments but received null");
  LV_TRY(CheckType(args->type));
  LV_TRY(CheckTokens(1, args->count, args->channels));
  LV_EXPECT(args->tokens != nullptr && args->out != nullptr && args->report != nullptr,
            "Expected device memory for tokens, out and report but received null");
  LV_EXPECT(args->assignment == nullptr || (args->slots != nullptr && args->slots_in >= 1),
            "Expected device memory for slots, as assignment is given, but received none");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  const SlotProductsWork work = {args->tokens,   args->assignment, args->slots, args->count,
                                 args->channels, args->slots_in,   args->out,   args->report};
  return ForType(args->type, [&](auto value) {
    return Launch(slot_products_kernel<decltype(value)>, CeilDiv(args->count, kRows), kThreads, 0,
                  ToCuda(stream), work);
  });
}
