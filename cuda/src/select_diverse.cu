// Max-min selection: tokens that are far from each other by cosine distance.
#include <algorithm>

#include "reducers.cuh"
#include "row_products.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kRowsOfBlock = kPeakThreads / kWarp;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct DiverseWork {
  uint32_t count;  // rows of an entry
  uint32_t wanted;
  size_t entries;
  const float* products;  // [entries, count, count]
  const float* weights;   // [entries, count], or null for 1
  float* closest;         // [entries, count]
  uint8_t* picked;        // [entries, count]
  int32_t* out;           // [entries, wanted]
};

// The distance of row j, which is number `row` among the rows of all entries, from a product.
__device__ inline float DistanceOf(const DiverseWork& work, size_t row, float product) {
  const float distance = __fadd_rn(1.0f, -product);
  return work.weights == nullptr ? distance : __fmul_rn(distance, work.weights[row]);
}

// A warp for each row: its second-smallest distance.
__global__ void __launch_bounds__(kPeakThreads) second_smallest_kernel(DiverseWork work) {
  const size_t row = static_cast<size_t>(blockIdx.x) * kRowsOfBlock + threadIdx.x / kWarp;
  if (row >= work.entries * work.count) return;  // the whole warp
  const float* const products = work.products + row * work.count;
  float smallest = kInfinity;
  float second = kInfinity;
  for (uint32_t i = threadIdx.x % kWarp; i < work.count; i += kWarp) {
    const float value = DistanceOf(work, row, products[i]);
    if (value < second) second = value < smallest ? smallest : value;
    if (value < smallest) smallest = value;
  }
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, smallest, distance);
    const float other_second = __shfl_xor_sync(kAllLanes, second, distance);
    const float larger = other < smallest ? smallest : other;
    if (other < smallest) smallest = other;
    if (other_second < second) second = other_second;
    if (larger < second) second = larger;
  }
  if (threadIdx.x % kWarp != 0) return;
  work.closest[row] = second;
  work.picked[row] = 0;
}

struct DiverseShared {
  unsigned long long of_warp[kSelectThreads / kWarp];
};

// The number of the unpicked row with the largest value, of equal ones the lowest, in all threads.
__device__ inline uint32_t Largest(const float* closest, const uint8_t* picked, uint32_t count,
                                   DiverseShared& shared) {
  unsigned long long best = 0;
  for (uint32_t j = threadIdx.x; j < count; j += kSelectThreads) {
    if (picked[j] != 0) continue;
    const unsigned long long key = ToMatchKey(RisingKey(closest[j]), j);
    best = best < key ? key : best;
  }
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const unsigned long long other = __shfl_xor_sync(kAllLanes, best, distance);
    best = best < other ? other : best;
  }
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared.of_warp[threadIdx.x / kWarp] = best;
  __syncthreads();
  for (const unsigned long long other : shared.of_warp) best = best < other ? other : best;
  // Of values that are not finite there may be none.
  return Smaller(PartnerOf(best), count - 1);
}

// One block for each entry: one row after the other.
__global__ void __launch_bounds__(kSelectThreads) pick_diverse_kernel(DiverseWork work) {
  LV_SHARED(DiverseShared, shared);
  const size_t first = static_cast<size_t>(blockIdx.x) * work.count;
  float* const closest = work.closest + first;
  uint8_t* const picked = work.picked + first;
  for (uint32_t n = 0; n < work.wanted; ++n) {
    const uint32_t row = Largest(closest, picked, work.count, shared);
    if (threadIdx.x == 0) {
      work.out[static_cast<size_t>(blockIdx.x) * work.wanted + n] = static_cast<int32_t>(row);
    }
    const float* const products = work.products + (first + row) * work.count;
    // Every row has one thread, which alone reads and writes what is known of it.
    for (uint32_t j = threadIdx.x; j < work.count; j += kSelectThreads) {
      if (j == row) picked[j] = 1;
      const float distance = DistanceOf(work, first + j, products[j]);
      const float before = n == 0 ? kInfinity : closest[j];
      closest[j] = distance < before ? distance : before;
    }
  }
}

struct Plan {
  size_t entries;  // at once
  float* rows;
  float* products;
  float* closest;
  uint8_t* picked;
  size_t bytes;
};

Plan Divide(const lv_select_diverse_args& args, void* workspace) {
  Arena arena(workspace);
  Plan plan = {};
  plan.entries = EntriesAtOnce(args.batch, args.tokens_of_entry);
  const size_t rows = plan.entries * args.tokens_of_entry;
  plan.rows = arena.Take<float>(rows * RowStride(args.channels));
  plan.products = arena.Take<float>(rows * args.tokens_of_entry);
  plan.closest = arena.Take<float>(rows);
  plan.picked = arena.Take<uint8_t>(rows);
  plan.bytes = arena.bytes();
  return plan;
}

}  // namespace

size_t DiverseBytes(const lv_select_diverse_args& args) { return Divide(args, nullptr).bytes; }

lv_status LaunchDiverse(const lv_select_diverse_args& args, void* workspace, cudaStream_t stream) {
  const Plan plan = Divide(args, workspace);
  int32_t multiprocessors = 0;
  LV_TRY(Multiprocessors(args.device, &multiprocessors));
  const size_t count = args.tokens_of_entry;
  for (size_t first = 0; first < args.batch; first += plan.entries) {
    const size_t entries = std::min<size_t>(plan.entries, args.batch - first);
    const auto* const tokens = static_cast<const char*>(args.tokens) +
                               first * count * args.channels * TypeBytes(args.type);
    const UnitRowsWork unit = {tokens,          nullptr,       entries * count,
                               entries * count, args.channels, true,
                               plan.rows,       args.report,   first * count * args.channels};
    LV_TRY(LaunchUnitRows(args.type, unit, stream));
    const RowProductsWork products = {plan.rows, static_cast<uint32_t>(count),
                                      static_cast<uint32_t>(RowStride(args.channels)), entries,
                                      plan.products};
    LV_TRY(LaunchRowProducts(products, multiprocessors, stream));
    const DiverseWork work = {static_cast<uint32_t>(count),
                              static_cast<uint32_t>(args.count),
                              entries,
                              plan.products,
                              args.weights == nullptr ? nullptr : args.weights + first * count,
                              plan.closest,
                              plan.picked,
                              args.out_picked + first * args.count};
    LV_TRY(Launch(second_smallest_kernel, CeilDiv(entries * count, kRowsOfBlock), kPeakThreads, 0,
                  stream, work));
    LV_TRY(Launch(pick_diverse_kernel, entries, kSelectThreads, 0, stream, work));
  }
  return LV_OK;
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_select_diverse(const lv_select_diverse_args* args, void* workspace,
                            size_t* workspace_bytes, lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(CheckType(args->type));
  LV_TRY(CheckTokens(args->batch, args->tokens_of_entry, args->channels));
  LV_TRY(CheckProductRows(args->tokens_of_entry));
  LV_EXPECT(args->count >= 1 && args->count <= args->tokens_of_entry,
            "Expected between 1 and %llu for count but received %llu",
            static_cast<unsigned long long>(args->tokens_of_entry),
            static_cast<unsigned long long>(args->count));
  const size_t bytes = DiverseBytes(*args);
  if (workspace == nullptr) {
    *workspace_bytes = bytes;
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, bytes));
  LV_EXPECT(args->tokens != nullptr && args->out_picked != nullptr && args->report != nullptr,
            "Expected device memory for tokens, out_picked and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  return LaunchDiverse(*args, workspace, ToCuda(stream));
}
