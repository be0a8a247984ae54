// Means or sums of the rows that share a slot, and the inverse operation.
//
// First the rows of each slot are listed in ascending order. Then each block sums a window of the
// list: most slots are complete within it; the others leave a partial sum at its beginning or end.
// Finally the partial sums are added in order.
#include <algorithm>

#include "levels.cuh"
#include "own_ring.cuh"
#include "row_sum.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kListThreads = 256;
constexpr uint32_t kListWarps = kListThreads / kWarp;

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

struct ListShared {
  uint32_t lower[kListWarps];
  uint32_t mine[kListWarps];
};

// Float64 sum of the weights of the listed rows, in their order, by one warp.
__device__ double TotalWeight(const float* weights, const uint32_t* listed, uint32_t count) {
  const uint32_t lane = threadIdx.x % kWarp;
  double total = 0;
  for (uint32_t first = 0; first < count; first += kWarp) {
    const uint32_t some = Smaller<uint32_t>(kWarp, count - first);
    const float weight = lane < some ? weights[listed[first + lane]] : 0.0f;
    for (uint32_t i = 0; i < some; ++i) {
      const float other = __shfl_sync(kAllLanes, weight, static_cast<int>(i));
      total = __dadd_rn(total, static_cast<double>(other));
    }
  }
  return total;
}

// One block for each slot, and one more for each batch entry for the end of the list. The start of
// a slot is the number of rows that are assigned to lower slots. Each warp has as many rows as the
// others, in order.
__global__ void __launch_bounds__(kListThreads) list_rows_kernel(ListWork work) {
  LV_SHARED(ListShared, shared);
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t warp = threadIdx.x / kWarp;
  const size_t entry = blockIdx.x / (work.slots + 1);
  const uint32_t slot = blockIdx.x % (work.slots + 1);
  const int32_t* const assignment = work.assignment + entry * work.num_rows;
  const uint32_t rows_of_warp = (work.num_rows + kListThreads - 1) / kListThreads * kWarp;
  const uint32_t first_row = Smaller(warp * rows_of_warp, work.num_rows);
  const uint32_t end_row = Smaller(first_row + rows_of_warp, work.num_rows);
  uint32_t lower = 0;
  uint32_t mine = 0;
#pragma unroll 4
  for (uint32_t row = first_row + lane; row < end_row; row += kWarp) {
    const uint32_t other = static_cast<uint32_t>(assignment[row]);
    lower += other < slot ? 1 : 0;
    mine += other == slot ? 1 : 0;
    if (work.report != nullptr && slot == work.slots && other >= work.slots) {
      ReportLowest(&work.report->bad_assignment, entry * work.num_rows + row);
    }
  }
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    lower += __shfl_xor_sync(kAllLanes, lower, distance);
    mine += __shfl_xor_sync(kAllLanes, mine, distance);
  }
  if (lane == 0) {
    shared.lower[warp] = lower;
    shared.mine[warp] = mine;
  }
  __syncthreads();
  uint32_t begin = 0;
  uint32_t before = 0;
  uint32_t count = 0;
#pragma unroll
  for (uint32_t w = 0; w < kListWarps; ++w) {
    begin += shared.lower[w];
    if (w < warp) before += shared.mine[w];
    count += shared.mine[w];
  }
  if (threadIdx.x == 0) work.scratch.first[entry * (work.slots + size_t{1}) + slot] = begin;
  if (slot == work.slots) return;

  uint32_t* const listed = work.scratch.order + entry * work.num_rows + begin;
  uint32_t place = before;
#pragma unroll 4
  for (uint32_t first = first_row; first < end_row; first += kWarp) {
    const uint32_t row = first + lane;
    const bool is_mine = row < end_row && static_cast<uint32_t>(assignment[row]) == slot;
    const unsigned found = __ballot_sync(kAllLanes, is_mine);
    if (is_mine) listed[place + static_cast<uint32_t>(__popc(found & ((1u << lane) - 1)))] = row;
    place += static_cast<uint32_t>(__popc(found));
  }
  if (work.weights != nullptr) __syncthreads();
  if (warp != 0) return;
  const double total = work.weights == nullptr
                           ? static_cast<double>(count)
                           : TotalWeight(work.weights + entry * work.num_rows, listed, count);
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
  RingMemory<kMeanThreads> ring;
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
                         size_t column, const RowSum<T, V>& sum) {
  const MeanWork& mean = work.mean;
  const uint32_t* const first = work.scratch.first + entry * (mean.slots + size_t{1});
  const uint32_t begin = window * kRowsPerWindow;
  const bool begins_before = first[slot] < begin;
  const bool ends_after = first[slot + 1] > begin + kRowsPerWindow;
  const double total = work.scratch.totals[entry * mean.slots + slot];
  if (begins_before || ends_after) {
    const size_t place =
        ((entry * work.windows + window) * 2 + (begins_before ? 0 : 1)) * mean.width;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      work.scratch.partials[place + column + static_cast<size_t>(v)] = sum.Get(v);
    }
    return;
  }
  Values<T, V> values;
#pragma unroll
  for (int v = 0; v < V; ++v) values.value[v] = Finish<T>(sum.Get(v), total, mean.divide);
  Store<T, V>(static_cast<T*>(mean.out) + (entry * mean.slots + slot) * mean.width + column,
              values);
}

// Reports the first value of a row that is not finite.
template <typename T, int V>
__device__ inline void CheckFinite(const Values<T, V>& values, size_t index, lv_report* report) {
#pragma unroll
  for (int v = 0; v < V; ++v) {
    if (!IsFinite(ToFloat(values.value[v]))) {
      ReportLowest(&report->not_finite, index + static_cast<size_t>(v));
    }
  }
}

// kPlain: no weights, and the rows are known to be finite.
template <typename T, int V, bool kPlain>
__global__ void __launch_bounds__(kMeanThreads) sum_windows_kernel(SumWork work) {
  LV_SHARED(SumShared, shared);
  const MeanWork& mean = work.mean;
  const uint32_t columns = blockIdx.x % work.column_blocks;
  const size_t index = blockIdx.x / work.column_blocks;
  const uint32_t window = static_cast<uint32_t>(index % work.windows);
  const size_t entry = index / work.windows;
  const uint32_t begin = window * kRowsPerWindow;
  const uint32_t listed = work.scratch.first[entry * (mean.slots + size_t{1}) + mean.slots];
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
  RowSum<T, V> sum;
  uint32_t added = 0;
  const auto add = [&](uint32_t i, const Values<T, V>& values) {
    if constexpr (kPlain) {
      sum.Add(values);
    } else {
      if (mean.check) {
        CheckFinite<T, V>(values, first_value + shared.row[i] * mean.width, mean.report);
      }
      sum.AddTimes(static_cast<double>(shared.weight[i]), values);
    }
    const uint32_t slot = shared.slot[i];
    const bool last = i + 1 == count || shared.slot[i + 1] != slot;
    if (++added < kMostAdded && !last) return;
    sum.Carry();
    added = 0;
    if (!last) return;
    WriteSum<T, V>(work, entry, window, slot, column, sum);
    sum = RowSum<T, V>();
  };
  const auto from = [&](uint32_t i) { return rows + shared.row[i] * mean.width; };
  if constexpr (V == 1) {
    for (uint32_t i = 0; i < count; ++i) add(i, Load<T, V>(from(i)));
  } else {
    ReadAhead<T, V>(shared.ring, count, from, add);
  }
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
    const bool plain = mean.weights == nullptr && !mean.check;
    return Launch(
        plain ? sum_windows_kernel<T, kValues, true> : sum_windows_kernel<T, kValues, false>,
        mean.batch * work.windows * work.column_blocks, threads, 0, stream, work);
  }));
  const int threads = ThreadsFor(mean.width);
  work.column_blocks = static_cast<uint32_t>(CeilDiv(mean.width, static_cast<size_t>(threads)));
  return Launch(add_partials_kernel<T>, mean.batch * mean.slots * work.column_blocks, threads, 0,
                stream, work);
}

}  // namespace

lv_status CheckAssignment(lv_type type, uint64_t batch, uint64_t rows, uint64_t width,
                          uint64_t slots) {
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

MeanScratch TakeMeanScratch(Arena& arena, const MeanWork& work) {
  MeanScratch scratch = {};
  scratch.first = arena.Take<uint32_t>(work.batch * (work.slots + size_t{1}));
  scratch.order = arena.Take<uint32_t>(work.batch * work.num_rows);
  scratch.totals = arena.Take<double>(work.batch * work.slots);
  scratch.partials =
      arena.Take<double>(work.batch * CeilDiv(work.num_rows, kRowsPerWindow) * 2 * work.width);
  return scratch;
}

lv_status LaunchListRows(const MeanWork& work, const MeanScratch& scratch, cudaStream_t stream) {
  const ListWork list = {
      work.assignment, work.weights, work.batch,       work.num_rows,
      work.slots,      scratch,      work.out_weights, work.check ? work.report : nullptr};
  return Launch(list_rows_kernel, work.batch * (work.slots + size_t{1}), kListThreads, 0, stream,
                list);
}

lv_status LaunchMeans(lv_type type, const MeanWork& work, const MeanScratch& scratch,
                      cudaStream_t stream) {
  LV_TRY(LaunchListRows(work, scratch, stream));
  return ForType(type,
                 [&](auto value) { return LaunchSums<decltype(value)>(work, scratch, stream); });
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_merge_by_assignment(const lv_merge_by_assignment_args* args, void* workspace,
                                 size_t* workspace_bytes, lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(CheckAssignment(args->type, args->batch, args->num_rows, args->width, args->slots));
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
