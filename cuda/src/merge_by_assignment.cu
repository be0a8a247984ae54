// Means or sums of the rows that share a slot, and the inverse operation.
//
// First the rows of each slot are listed in ascending order. Then each block sums a window of the
// list: most slots are complete within it; the others leave a partial sum at its beginning or end.
// Finally the partial sums are added in order.
#include <algorithm>

#include "levels.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr int kListThreads = 256;
constexpr int kListWarps = kListThreads / kWarp;
constexpr int kSpreadThreads = 256;

struct ListWork {
  const int32_t* assignment;
  const float* weights;
  size_t batch;
  uint32_t num_rows;
  uint32_t slots;
  MeanScratch scratch;
  float* out_weights;
  lv_report* report;  // null: the assignment is known to be good
};

// One warp for each slot, and one more for each batch entry for the end of the list. The start of a
// slot is the number of rows that are assigned to lower slots.
__global__ void __launch_bounds__(kListThreads) list_rows_kernel(ListWork work) {
  const uint32_t lane = threadIdx.x % kWarp;
  const size_t warp = static_cast<size_t>(blockIdx.x) * kListWarps + threadIdx.x / kWarp;
  const size_t entry = warp / (work.slots + 1);
  if (entry >= work.batch) return;
  const uint32_t slot = static_cast<uint32_t>(warp % (work.slots + 1));
  const int32_t* const assignment = work.assignment + entry * work.num_rows;
  uint32_t place = 0;
  for (uint32_t row = lane; row < work.num_rows; row += kWarp) {
    const uint32_t other = static_cast<uint32_t>(assignment[row]);
    place += other < slot ? 1 : 0;
    if (work.report != nullptr && slot == work.slots && other >= work.slots) {
      ReportLowest(&work.report->bad_assignment, entry * work.num_rows + row);
    }
  }
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    place += __shfl_xor_sync(kAllLanes, place, distance);
  }
  if (lane == 0) work.scratch.first[entry * (work.slots + 1) + slot] = place;
  if (slot == work.slots) return;

  uint32_t* const order = work.scratch.order + entry * work.num_rows;
  const uint32_t begin = place;
  double total = 0;
  for (uint32_t first = 0; first < work.num_rows; first += kWarp) {
    const uint32_t row = first + lane;
    const bool mine = row < work.num_rows && static_cast<uint32_t>(assignment[row]) == slot;
    const unsigned found = __ballot_sync(kAllLanes, mine);
    if (found == 0) continue;
    if (mine) order[place + static_cast<uint32_t>(__popc(found & ((1u << lane) - 1)))] = row;
    place += static_cast<uint32_t>(__popc(found));
    if (work.weights != nullptr) {
      const float weight = mine ? work.weights[entry * work.num_rows + row] : 0.0f;
      for (unsigned left = found; left != 0; left &= left - 1) {
        const int from = __ffs(static_cast<int>(left)) - 1;
        total = __dadd_rn(total, static_cast<double>(__shfl_sync(kAllLanes, weight, from)));
      }
    }
  }
  if (work.weights == nullptr) total = static_cast<double>(place - begin);
  if (lane == 0) {
    work.scratch.totals[entry * work.slots + slot] = total;
    if (work.out_weights != nullptr) {
      work.out_weights[entry * work.slots + slot] = __double2float_rn(total);
    }
  }
}

struct SumWork {
  MeanWork mean;
  MeanScratch scratch;
  uint32_t windows;        // of a batch entry
  uint32_t column_blocks;  // of a window
};

struct SumShared {
  uint32_t row[kRowsPerWindow];
  uint32_t slot[kRowsPerWindow];
  float weight[kRowsPerWindow];
};

// Converts a slot's sum to its mean, rounded once to float32 and then to T.
template <typename T>
__device__ inline T Finish(double sum, double total, bool divide) {
  return FromFloat<T>(__double2float_rn(divide ? __ddiv_rn(sum, total) : sum));
}

template <typename T, int V>
__device__ void WriteSum(const SumWork& work, size_t entry, uint32_t window, uint32_t slot,
                         size_t column, const double (&sum)[V]) {
  const MeanWork& mean = work.mean;
  const uint32_t* const first = work.scratch.first + entry * (mean.slots + 1);
  const uint32_t begin = window * kRowsPerWindow;
  const bool begins_before = first[slot] < begin;
  const bool ends_after = first[slot + 1] > begin + kRowsPerWindow;
  if (begins_before || ends_after) {
    const size_t place =
        ((entry * work.windows + window) * 2 + (begins_before ? 0 : 1)) * mean.width;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      work.scratch.partials[place + column + static_cast<size_t>(v)] = sum[v];
    }
    return;
  }
  const double total = work.scratch.totals[entry * mean.slots + slot];
  Values<T, V> values;
#pragma unroll
  for (int v = 0; v < V; ++v) values.value[v] = Finish<T>(sum[v], total, mean.divide);
  Store<T, V>(static_cast<T*>(mean.out) + (entry * mean.slots + slot) * mean.width + column,
              values);
}

template <typename T, int V>
__global__ void __launch_bounds__(kMeanThreads) sum_windows_kernel(SumWork work) {
  LV_SHARED(SumShared, shared);
  const MeanWork& mean = work.mean;
  const uint32_t columns = blockIdx.x % work.column_blocks;
  const size_t index = blockIdx.x / work.column_blocks;
  const uint32_t window = static_cast<uint32_t>(index % work.windows);
  const size_t entry = index / work.windows;
  const uint32_t begin = window * kRowsPerWindow;
  const uint32_t listed = work.scratch.first[entry * (mean.slots + 1) + mean.slots];
  if (begin >= listed) return;
  const uint32_t count = Smaller<uint32_t>(kRowsPerWindow, listed - begin);
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const uint32_t row = work.scratch.order[entry * mean.num_rows + begin + i];
    const size_t place = entry * mean.num_rows + row;
    shared.row[i] = row;
    shared.slot[i] = static_cast<uint32_t>(mean.assignment[place]);
    shared.weight[i] = mean.weights == nullptr ? 1.0f : mean.weights[place];
  }
  __syncthreads();
  const size_t column = (static_cast<size_t>(columns) * blockDim.x + threadIdx.x) * V;
  if (column >= mean.width) return;

  const size_t first_value = entry * mean.num_rows * mean.width + column;
  const T* const rows = static_cast<const T*>(mean.rows) + first_value;
  double sum[V] = {};
  uint32_t slot = shared.slot[0];
  for (uint32_t i = 0; i < count; i += kMeanLoads) {
    Values<T, V> values[kMeanLoads] = {};
#pragma unroll
    for (uint32_t j = 0; j < kMeanLoads; ++j) {
      if (i + j < count) values[j] = Load<T, V>(rows + shared.row[i + j] * mean.width);
    }
#pragma unroll
    for (uint32_t j = 0; j < kMeanLoads; ++j) {
      if (i + j >= count) break;
      if (shared.slot[i + j] != slot) {
        WriteSum<T, V>(work, entry, window, slot, column, sum);
        slot = shared.slot[i + j];
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] = 0;
      }
      const double weight = static_cast<double>(shared.weight[i + j]);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float value = ToFloat(values[j].value[v]);
        if (mean.check && !IsFinite(value)) {
          ReportLowest(&mean.report->not_finite,
                       first_value + shared.row[i + j] * mean.width + static_cast<size_t>(v));
        }
        // The product of two float32 is exact in float64.
        sum[v] = __fma_rn(weight, static_cast<double>(value), sum[v]);
      }
    }
  }
  WriteSum<T, V>(work, entry, window, slot, column, sum);
}

// The slots that are not complete in a single window: those in several windows, and those without
// rows.
template <typename T>
__global__ void __launch_bounds__(kMeanThreads) add_partials_kernel(SumWork work) {
  const MeanWork& mean = work.mean;
  const uint32_t columns = blockIdx.x % work.column_blocks;
  const size_t index = blockIdx.x / work.column_blocks;
  const uint32_t slot = static_cast<uint32_t>(index % mean.slots);
  const size_t entry = index / mean.slots;
  const uint32_t* const first = work.scratch.first + entry * (mean.slots + 1);
  const uint32_t begin = first[slot];
  const uint32_t end = first[slot + 1];
  const size_t column = static_cast<size_t>(columns) * blockDim.x + threadIdx.x;
  if (column >= mean.width) return;
  T* const out = static_cast<T*>(mean.out) + (entry * mean.slots + slot) * mean.width + column;
  if (begin == end) {
    *out = FromFloat<T>(0);
    return;
  }
  const uint32_t first_window = begin / kRowsPerWindow;
  const uint32_t last_window = (end - 1) / kRowsPerWindow;
  if (first_window == last_window) return;
  const double* const partials =
      work.scratch.partials + entry * work.windows * 2 * mean.width + column;
  double sum = partials[(static_cast<size_t>(first_window) * 2 + 1) * mean.width];
#pragma unroll 4
  for (uint32_t window = first_window + 1; window <= last_window; ++window) {
    sum = __dadd_rn(sum, partials[static_cast<size_t>(window) * 2 * mean.width]);
  }
  *out = Finish<T>(sum, work.scratch.totals[entry * mean.slots + slot], mean.divide);
}

// Threads for `columns` columns, whole warps.
int ThreadsFor(size_t columns) {
  return static_cast<int>(std::min<size_t>(kMeanThreads, CeilDiv(columns, kWarp) * kWarp));
}

template <typename T>
lv_status LaunchSums(const MeanWork& mean, const MeanScratch& scratch, cudaStream_t stream) {
  SumWork work = {mean, scratch, static_cast<uint32_t>(CeilDiv(mean.num_rows, kRowsPerWindow)), 1};
  LV_TRY(ForVector<T>(mean.rows, mean.out, mean.width, [&](auto vector) {
    constexpr int kValues = decltype(vector)::value;
    const size_t columns = mean.width / kValues;
    const int threads = ThreadsFor(columns);
    work.column_blocks = static_cast<uint32_t>(CeilDiv(columns, static_cast<size_t>(threads)));
    return Launch(sum_windows_kernel<T, kValues>, mean.batch * work.windows * work.column_blocks,
                  threads, 0, stream, work);
  }));
  const int threads = ThreadsFor(mean.width);
  work.column_blocks = static_cast<uint32_t>(CeilDiv(mean.width, static_cast<size_t>(threads)));
  return Launch(add_partials_kernel<T>, mean.batch * mean.slots * work.column_blocks, threads, 0,
                stream, work);
}

struct SpreadWork {
  const void* slots_in;
  const int32_t* assignment;
  size_t all_rows;
  uint32_t num_rows;
  uint32_t slots;
  size_t units;  // of a row
  void* out;
  lv_report* report;
};

// Rows are copied in units of their bits.
template <typename Unit>
__global__ void __launch_bounds__(kSpreadThreads) spread_kernel(SpreadWork work) {
  const size_t index = static_cast<size_t>(blockIdx.x) * kSpreadThreads + threadIdx.x;
  if (index >= work.all_rows * work.units) return;
  const size_t row = index / work.units;
  const size_t unit = index % work.units;
  const uint32_t slot = static_cast<uint32_t>(work.assignment[row]);
  if (slot >= work.slots) {
    if (unit == 0) ReportLowest(&work.report->bad_assignment, row);
    return;
  }
  const size_t from = (row / work.num_rows * work.slots + slot) * work.units + unit;
  static_cast<Unit*>(work.out)[index] = static_cast<const Unit*>(work.slots_in)[from];
}

template <typename Unit>
lv_status LaunchSpread(SpreadWork work, size_t row_bytes, cudaStream_t stream) {
  work.units = row_bytes / sizeof(Unit);
  return Launch(spread_kernel<Unit>, CeilDiv(work.all_rows * work.units, kSpreadThreads),
                kSpreadThreads, 0, stream, work);
}

lv_status CheckShape(lv_type type, uint64_t batch, uint64_t rows, uint64_t width, uint64_t slots) {
  LV_TRY(CheckType(type));
  LV_EXPECT(batch >= 1 && width >= 1,
            "Expected batch and width of at least 1 but received %llu "
            "and %llu",
            static_cast<unsigned long long>(batch), static_cast<unsigned long long>(width));
  LV_EXPECT(rows >= 1 && rows <= kMaxTokens && slots >= 1 && slots <= kMaxTokens,
            "Expected 1 to %llu rows and slots but received %llu and %llu",
            static_cast<unsigned long long>(kMaxTokens), static_cast<unsigned long long>(rows),
            static_cast<unsigned long long>(slots));
  LV_TRY(CheckVolume(batch, rows, width));
  return CheckVolume(batch, slots, width);
}

}  // namespace

MeanScratch TakeMeanScratch(Arena& arena, const MeanWork& work) {
  MeanScratch scratch = {};
  scratch.first = arena.Take<uint32_t>(work.batch * (work.slots + size_t{1}));
  scratch.order = arena.Take<uint32_t>(work.batch * work.num_rows);
  scratch.totals = arena.Take<double>(work.batch * work.slots);
  scratch.partials =
      arena.Take<double>(work.batch * CeilDiv(work.num_rows, kRowsPerWindow) * 2 * work.width);
  return scratch;
}

lv_status LaunchMeans(lv_type type, const MeanWork& work, const MeanScratch& scratch,
                      cudaStream_t stream) {
  const ListWork list = {
      work.assignment, work.weights, work.batch,       work.num_rows,
      work.slots,      scratch,      work.out_weights, work.check ? work.report : nullptr};
  LV_TRY(Launch(list_rows_kernel,
                CeilDiv(work.batch * (work.slots + size_t{1}), static_cast<size_t>(kListWarps)),
                kListThreads, 0, stream, list));
  return ForType(type,
                 [&](auto value) { return LaunchSums<decltype(value)>(work, scratch, stream); });
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_merge_by_assignment(const lv_merge_by_assignment_args* args, void* workspace,
                                 size_t* workspace_bytes, lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(CheckShape(args->type, args->batch, args->num_rows, args->width, args->slots));
  LV_EXPECT(args->mode == LV_MERGE_MEAN || args->mode == LV_MERGE_SUM,
            "Expected LV_MERGE_MEAN or LV_MERGE_SUM for mode but received %d", args->mode);
  MeanWork work = {};
  work.rows = args->rows;
  work.assignment = args->assignment;
  work.weights = args->weights;
  work.batch = args->batch;
  work.num_rows = static_cast<uint32_t>(args->num_rows);
  work.width = args->width;
  work.slots = static_cast<uint32_t>(args->slots);
  work.divide = args->mode == LV_MERGE_MEAN;
  work.check = true;
  work.out = args->out;
  work.out_weights = args->out_weights;
  work.report = args->report;
  Arena arena(workspace);
  const MeanScratch scratch = TakeMeanScratch(arena, work);
  if (workspace == nullptr) {
    *workspace_bytes = arena.bytes();
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, arena.bytes()));
  LV_EXPECT(args->rows != nullptr && args->assignment != nullptr && args->out != nullptr &&
                args->report != nullptr,
            "Expected device memory for rows, assignment, out and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  return LaunchMeans(args->type, work, scratch, ToCuda(stream));
}

lv_status lv_spread_by_assignment(const lv_spread_by_assignment_args* args, lv_stream stream) {
  LV_EXPECT(args != nullptr, "Expected arguments but received null");
  LV_TRY(CheckShape(args->type, args->batch, args->num_rows, args->width, args->slots));
  LV_EXPECT(args->slots_in != nullptr && args->assignment != nullptr && args->out != nullptr &&
                args->report != nullptr,
            "Expected device memory for slots_in, assignment, out and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  SpreadWork work = {};
  work.slots_in = args->slots_in;
  work.assignment = args->assignment;
  work.all_rows = args->batch * args->num_rows;
  work.num_rows = static_cast<uint32_t>(args->num_rows);
  work.slots = static_cast<uint32_t>(args->slots);
  work.out = args->out;
  work.report = args->report;
  const size_t row_bytes = args->width * TypeBytes(args->type);
  const auto address =
      reinterpret_cast<uintptr_t>(args->slots_in) | reinterpret_cast<uintptr_t>(args->out);
  if ((address | row_bytes) % 16 == 0) return LaunchSpread<uint4>(work, row_bytes, ToCuda(stream));
  if ((address | row_bytes) % 4 == 0) {
    return LaunchSpread<uint32_t>(work, row_bytes, ToCuda(stream));
  }
  return LaunchSpread<uint16_t>(work, row_bytes, ToCuda(stream));
}
