// Density peak clustering with the density of the k nearest neighbours (DPC-kNN).
#include <algorithm>

#include "exponential.cuh"
#include "reducers.cuh"
#include "row_products.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kRowsOfBlock = kPeakThreads / kWarp;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

__device__ inline uint32_t RowsOf(const PeaksWork& work, size_t entry) {
  return work.rows_of == nullptr ? work.stride : work.rows_of[entry];
}
__device__ inline uint32_t ClustersOf(const PeaksWork& work, size_t entry) {
  return work.clusters_of == nullptr ? work.clusters : work.clusters_of[entry];
}

// A row of an entry, by its number among all rows.
struct PeakRow {
  size_t index;
  size_t entry;
  uint32_t count;  // rows of the entry
  bool there;
};
__device__ inline PeakRow FindRow(const PeaksWork& work, size_t index) {
  if (index >= work.entries * work.stride) return {index, 0, 0, false};
  const size_t entry = index / work.stride;
  const uint32_t count = RowsOf(work, entry);
  return {index, entry, count, index % work.stride < count};
}

__device__ inline float WarpSmallest(float value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, value, distance);
    value = other < value ? other : value;
  }
  return value;
}

__global__ void __launch_bounds__(kPeakThreads) squares_kernel(PeaksWork work) {
  const PeakRow row = FindRow(work, static_cast<size_t>(blockIdx.x) * kPeakThreads + threadIdx.x);
  if (!row.there) return;
  work.squares[row.index] = work.distances[row.index * work.stride + row.index % work.stride];
}

// A warp's row, among all of the entries'.
__device__ inline size_t RowOfWarp() {
  return static_cast<size_t>(blockIdx.x) * kRowsOfBlock + threadIdx.x / kWarp;
}

// The sum of the squares of the nearest distances, ascending.
__device__ inline double SquaresOfNearest(const float* distances, uint32_t count,
                                          uint32_t neighbours) {
  double sum = 0;
  float last = -1;
  for (uint32_t taken = 0; taken < neighbours;) {
    float smallest = kInfinity;
    uint32_t equals = 0;
    for (uint32_t j = threadIdx.x % kWarp; j < count; j += kWarp) {
      const float distance = distances[j];
      if (!(distance > last) || distance > smallest) continue;
      equals = distance < smallest ? 1 : equals + 1;
      smallest = distance;
    }
    const float of_warp = WarpSmallest(smallest);
    if (smallest != of_warp) equals = 0;
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      equals += __shfl_xor_sync(kAllLanes, equals, distance);
    }
    if (equals == 0) break;
    const double square = __dmul_rn(static_cast<double>(of_warp), static_cast<double>(of_warp));
    for (; equals > 0 && taken < neighbours; --equals, ++taken) sum = __dadd_rn(sum, square);
    last = of_warp;
  }
  return sum;
}

// A warp for each row: its distances instead of its products, and its density.
__global__ void __launch_bounds__(kPeakThreads) densities_kernel(PeaksWork work) {
  const PeakRow row = FindRow(work, RowOfWarp());
  if (!row.there) return;
  float* const distances = work.distances + row.index * work.stride;
  const float* const squares = work.squares + row.entry * work.stride;
  const double own = static_cast<double>(work.squares[row.index]);
  const double dims = static_cast<double>(work.width);
  float farthest = 0;
  for (uint32_t j = threadIdx.x % kWarp; j < row.count; j += kWarp) {
    const double square = __dadd_rn(__dadd_rn(own, static_cast<double>(squares[j])),
                                    -__dmul_rn(2.0, static_cast<double>(distances[j])));
    const float distance =
        square > 0 ? __double2float_rn(__dsqrt_rn(__ddiv_rn(square, dims))) : 0.0f;
    distances[j] = distance;
    farthest = farthest < distance ? distance : farthest;
  }
  farthest = -WarpSmallest(-farthest);
  uint32_t neighbours = Smaller(work.neighbours, row.count);
  if (work.clusters_of != nullptr) neighbours = Smaller(neighbours, work.clusters_of[row.entry]);
  const double sum = SquaresOfNearest(distances, row.count, neighbours);
  if (threadIdx.x % kWarp != 0) return;
  work.farthest[row.index] = farthest;
  work.densities[row.index] =
      __double2float_rn(Exponential(-__ddiv_rn(sum, static_cast<double>(neighbours))));
}

// A warp for each row: the distance to the nearest denser row, for the densest the largest one.
__global__ void __launch_bounds__(kPeakThreads) peaks_kernel(PeaksWork work) {
  const PeakRow row = FindRow(work, RowOfWarp());
  if (!row.there) return;
  const size_t first = row.entry * work.stride;
  const float* const distances = work.distances + row.index * work.stride;
  const float own = work.densities[row.index];
  float largest = 0;
  float nearest = kInfinity;
  for (uint32_t j = threadIdx.x % kWarp; j < row.count; j += kWarp) {
    const float farthest = work.farthest[first + j];
    largest = largest < farthest ? farthest : largest;
    if (work.densities[first + j] > own && distances[j] < nearest) nearest = distances[j];
  }
  nearest = WarpSmallest(nearest);
  largest = -WarpSmallest(-largest);
  if (threadIdx.x % kWarp != 0) return;
  nearest = largest < nearest ? largest : nearest;
  work.peaks[row.index] = nearest;
  work.scores[row.index] = __fmul_rn(nearest, own);
}

struct CentresShared {
  uint64_t keys[kPeakThreads];
};

// The highest score has the lowest key; of equal ones the lowest index.
__device__ inline uint64_t ScoreKey(float score, uint32_t index) {
  return static_cast<uint64_t>(~RisingKey(score)) << 32 | index;
}

// Ranks by counting; the rows of the lowest ranks are the centres.
__global__ void __launch_bounds__(kPeakThreads) centres_kernel(PeaksWork work) {
  LV_SHARED(CentresShared, shared);
  const uint32_t blocks = (work.stride + kPeakThreads - 1) / kPeakThreads;
  const size_t entry = blockIdx.x / blocks;
  const uint32_t row = blockIdx.x % blocks * kPeakThreads + threadIdx.x;
  const uint32_t rows = RowsOf(work, entry);
  const float* const scores = work.scores + entry * work.stride;
  const uint64_t own = row < rows ? ScoreKey(scores[row], row) : 0;
  uint32_t rank = 0;
  for (uint32_t first = 0; first < rows; first += kPeakThreads) {
    const uint32_t count = Smaller<uint32_t>(kPeakThreads, rows - first);
    __syncthreads();
    if (threadIdx.x < count) {
      shared.keys[threadIdx.x] = ScoreKey(scores[first + threadIdx.x], first + threadIdx.x);
    }
    __syncthreads();
    for (uint32_t i = 0; i < count; ++i) rank += shared.keys[i] < own ? 1 : 0;
  }
  if (row < rows && rank < ClustersOf(work, entry)) {
    work.centres[entry * work.centre_stride + rank] = static_cast<int32_t>(row);
  }
}

__global__ void __launch_bounds__(kPeakThreads) clusters_kernel(PeaksWork work) {
  const uint32_t blocks = (work.stride + kPeakThreads - 1) / kPeakThreads;
  const size_t entry = blockIdx.x / blocks;
  const uint32_t row = blockIdx.x % blocks * kPeakThreads + threadIdx.x;
  if (row >= RowsOf(work, entry)) return;
  const int32_t* const centres = work.centres + entry * work.centre_stride;
  const float* const distances = work.distances + entry * work.stride * work.stride;
  const uint32_t clusters = ClustersOf(work, entry);
  float nearest = kInfinity;
  int32_t cluster = 0;
  int32_t itself = -1;
  for (uint32_t i = 0; i < clusters; ++i) {
    const auto centre = static_cast<uint32_t>(centres[i]);
    // That of the centre to the row is the same, and its neighbours' lie beside it.
    const float distance = distances[static_cast<size_t>(centre) * work.stride + row];
    if (distance < nearest) {
      nearest = distance;
      cluster = static_cast<int32_t>(i);
    }
    if (centre == row) itself = static_cast<int32_t>(i);
  }
  work.in_clusters[entry * work.stride + row] = itself >= 0 ? itself : cluster;
}

struct Plan {
  size_t entries;  // at once
  float* rows;
  PeaksWork work;
  size_t bytes;
};

Plan Divide(const lv_density_peaks_args& args, void* workspace) {
  Arena arena(workspace);
  Plan plan = {};
  plan.entries = EntriesAtOnce(args.batch, args.tokens_of_entry);
  const size_t rows = plan.entries * args.tokens_of_entry;
  plan.rows = arena.Take<float>(rows * RowStride(args.channels));
  plan.work.distances = arena.Take<float>(rows * args.tokens_of_entry);
  plan.work.squares = arena.Take<float>(rows);
  plan.work.farthest = arena.Take<float>(rows);
  plan.work.scores = arena.Take<float>(rows);
  plan.bytes = arena.bytes();
  return plan;
}

lv_status Run(const lv_density_peaks_args& args, const Plan& plan, cudaStream_t stream) {
  int32_t multiprocessors = 0;
  LV_TRY(Multiprocessors(args.device, &multiprocessors));
  const size_t count = args.tokens_of_entry;
  for (size_t first = 0; first < args.batch; first += plan.entries) {
    const size_t entries = std::min<size_t>(plan.entries, args.batch - first);
    const auto* const tokens = static_cast<const char*>(args.tokens) +
                               first * count * args.channels * TypeBytes(args.type);
    const UnitRowsWork read = {tokens,          nullptr,       entries * count,
                               entries * count, args.channels, false,
                               plan.rows,       args.report,   first * count * args.channels};
    LV_TRY(LaunchUnitRows(args.type, read, stream));
    const RowProductsWork products = {plan.rows, static_cast<uint32_t>(count),
                                      static_cast<uint32_t>(RowStride(args.channels)), entries,
                                      plan.work.distances};
    LV_TRY(LaunchRowProducts(products, multiprocessors, stream));
    PeaksWork work = plan.work;
    work.stride = static_cast<uint32_t>(count);
    work.width = static_cast<uint32_t>(args.channels);
    work.neighbours = static_cast<uint32_t>(std::min<uint64_t>(args.neighbours, count));
    work.clusters = static_cast<uint32_t>(args.clusters);
    work.centre_stride = work.clusters;
    work.entries = entries;
    work.densities = args.out_densities + first * count;
    work.peaks = args.out_distances + first * count;
    if (args.clusters > 0) {
      work.centres = args.out_centres + first * args.clusters;
      work.in_clusters = args.out_clusters + first * count;
    }
    LV_TRY(LaunchPeaks(work, stream));
  }
  return LV_OK;
}

}  // namespace

lv_status LaunchPeaks(const PeaksWork& work, cudaStream_t stream) {
  const size_t rows = work.entries * work.stride;
  LV_TRY(Launch(squares_kernel, CeilDiv(rows, kPeakThreads), kPeakThreads, 0, stream, work));
  const size_t warps = CeilDiv(rows, kRowsOfBlock);
  LV_TRY(Launch(densities_kernel, warps, kPeakThreads, 0, stream, work));
  LV_TRY(Launch(peaks_kernel, warps, kPeakThreads, 0, stream, work));
  if (work.clusters == 0) return LV_OK;
  const size_t blocks = work.entries * CeilDiv(work.stride, kPeakThreads);
  LV_TRY(Launch(centres_kernel, blocks, kPeakThreads, 0, stream, work));
  return Launch(clusters_kernel, blocks, kPeakThreads, 0, stream, work);
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_density_peaks(const lv_density_peaks_args* args, void* workspace,
                           size_t* workspace_bytes, lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(CheckType(args->type));
  LV_TRY(CheckTokens(args->batch, args->tokens_of_entry, args->channels));
  LV_TRY(CheckProductRows(args->tokens_of_entry));
  LV_EXPECT(args->neighbours >= 1, "Expected at least 1 for neighbours but received 0");
  LV_EXPECT(args->clusters <= args->tokens_of_entry,
            "Expected at most %llu for clusters but received %llu",
            static_cast<unsigned long long>(args->tokens_of_entry),
            static_cast<unsigned long long>(args->clusters));
  const Plan sizes = Divide(*args, nullptr);
  if (workspace == nullptr) {
    *workspace_bytes = sizes.bytes;
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, sizes.bytes));
  LV_EXPECT(
      args->tokens != nullptr && args->out_densities != nullptr && args->out_distances != nullptr &&
          args->report != nullptr &&
          (args->clusters == 0 || (args->out_centres != nullptr && args->out_clusters != nullptr)),
      "Expected device memory for tokens, outputs and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  return Run(*args, Divide(*args, workspace), ToCuda(stream));
}
