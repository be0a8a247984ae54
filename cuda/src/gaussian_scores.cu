#include "block_sums.cuh"
#include "exponential.cuh"
#include "gaussian_scores.cuh"
#include "share_whole.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

// A thread for each channel: its variance over all tokens, from sums in one chain each.
template <typename T>
__global__ void __launch_bounds__(kMomentThreads) variances_kernel(GaussianWork work) {
  const uint32_t channel = blockIdx.x * kMomentThreads + threadIdx.x;
  if (channel >= work.width) return;
  const size_t rows = static_cast<size_t>(work.frames) * work.patches;
  const T* const values = static_cast<const T*>(work.tokens) + channel;
  double sum = 0;
  double squares = 0;
  for (size_t first = 0; first < rows; first += kMomentLoads) {
    T loaded[kMomentLoads] = {};
#pragma unroll
    for (size_t i = 0; i < kMomentLoads; ++i) {
      if (first + i < rows) loaded[i] = values[(first + i) * work.width];
    }
#pragma unroll
    for (size_t i = 0; i < kMomentLoads; ++i) {
      const float given = ToFloat(loaded[i]);
      if (!IsFinite(given)) {
        ReportLowest(&work.report->not_finite, (first + i) * work.width + channel);
      }
      // Tokens beyond the last count as 0. The square is exact.
      const double value = static_cast<double>(given);
      sum = __dadd_rn(sum, value);
      squares = __fma_rn(value, value, squares);
    }
  }
  const double mean = __ddiv_rn(sum, static_cast<double>(rows));
  const double of_squares = __ddiv_rn(squares, static_cast<double>(rows));
  work.variances[channel] = RisingKey(__dadd_rn(of_squares, -__dmul_rn(mean, mean)));
}

struct QuietShared {
  uint64_t variances[kRankThreads];
};

// Ranks variances by counting; of equal ones the first channel's is lower.
__global__ void __launch_bounds__(kRankThreads) quiet_channels_kernel(GaussianWork work) {
  LV_SHARED(QuietShared, shared);
  const uint32_t channel = blockIdx.x * kRankThreads + threadIdx.x;
  const uint64_t own = channel < work.width ? work.variances[channel] : 0;
  uint32_t rank = 0;
  for (uint32_t first = 0; first < work.width; first += kRankThreads) {
    const uint32_t count = Smaller<uint32_t>(kRankThreads, work.width - first);
    __syncthreads();
    if (threadIdx.x < count) shared.variances[threadIdx.x] = work.variances[first + threadIdx.x];
    __syncthreads();
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t other = shared.variances[i];
      rank += other < own || (other == own && first + i < channel) ? 1 : 0;
    }
  }
  if (channel < work.width) work.quiet[channel] = rank < work.half ? 1 : 0;
}

// One block: the numbers of the quiet channels, ascending.
__global__ void __launch_bounds__(kSelectThreads) list_channels_kernel(GaussianWork work) {
  LV_SHARED(CountShared<kSelectThreads>, shared);
  uint32_t listed = 0;
  for (uint32_t first = 0; first < work.width; first += kSelectThreads) {
    const uint32_t channel = first + threadIdx.x;
    const bool quiet = channel < work.width && work.quiet[channel] != 0;
    uint32_t count = 0;
    const uint32_t place = listed + CountBefore(quiet, shared, &count);
    if (quiet) work.channels[place] = static_cast<int32_t>(channel);
    listed += count;
  }
}

// A thread for each channel of each frame: the mean of the frame's units.
__global__ void __launch_bounds__(kMomentThreads) frame_centres_kernel(GaussianWork work) {
  const uint32_t blocks = (work.half + kMomentThreads - 1) / kMomentThreads;
  const size_t frame = blockIdx.x / blocks;
  const uint32_t k = blockIdx.x % blocks * kMomentThreads + threadIdx.x;
  if (k >= work.half) return;
  const size_t row_stride = (work.half + 3) / 4 * 4;
  const float* const units = work.units + frame * work.patches * row_stride + k;
  double sum = 0;
#pragma unroll 8
  for (uint32_t i = 0; i < work.patches; ++i) {
    sum = __dadd_rn(sum, static_cast<double>(units[i * row_stride]));
  }
  work.centres[frame * work.half + k] = __ddiv_rn(sum, static_cast<double>(work.patches));
}

__global__ void __launch_bounds__(kMomentThreads) video_centre_kernel(GaussianWork work) {
  const uint32_t k = blockIdx.x * kMomentThreads + threadIdx.x;
  if (k >= work.half) return;
  double sum = 0;
#pragma unroll 8
  for (uint32_t frame = 0; frame < work.frames; ++frame) {
    sum = __dadd_rn(sum, work.centres[static_cast<size_t>(frame) * work.half + k]);
  }
  work.centres[static_cast<size_t>(work.frames) * work.half + k] =
      __ddiv_rn(sum, static_cast<double>(work.frames));
}

// A warp's tokens, and channels at a time. One value of padding: the threads of a warp, which read
// a channel of a token each, then use other banks.
constexpr uint32_t kScoreTokens = kWarp;
constexpr uint32_t kScoreChannels = 64;
constexpr int kScoreThreads = 2 * kWarp;

struct ScoreShared {
  float units[kScoreTokens][kScoreChannels + 1];
  double centres[2][kScoreChannels];
};

// The sum of exp(-square / (2 alpha)) for alpha = 1/8, 1/4, 1/2, 1 and 2.
__device__ inline float GaussianScore(double square) {
  double score = 0;
  for (double twice = 0.25; twice <= 4; twice = __dmul_rn(twice, 2.0)) {
    score = __dadd_rn(score, Exponential(__ddiv_rn(-square, twice)));
  }
  return __double2float_rn(score);
}

// A block has some tokens of a frame. The threads of its first warp compare these with the video's
// centre, those of the second with the frame's; each adds the squares of one token in one chain.
__global__ void __launch_bounds__(kScoreThreads) gaussian_scores_kernel(GaussianWork work) {
  LV_SHARED(ScoreShared, shared);
  const uint32_t blocks = (work.patches + kScoreTokens - 1) / kScoreTokens;
  const uint32_t frame = blockIdx.x / blocks;
  const uint32_t first_patch = blockIdx.x % blocks * kScoreTokens;
  const size_t first_token = static_cast<size_t>(frame) * work.patches + first_patch;
  const size_t row_stride = (work.half + 3) / 4 * 4;
  const uint32_t own = threadIdx.x % kWarp;
  const uint32_t which = threadIdx.x / kWarp;
  const uint32_t tokens = Smaller(kScoreTokens, work.patches - first_patch);
  double square = 0;
  for (uint32_t first = 0; first < work.half; first += kScoreChannels) {
    const uint32_t count = Smaller(kScoreChannels, work.half - first);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < kScoreTokens * kScoreChannels; i += kScoreThreads) {
      const uint32_t token = i / kScoreChannels;
      const uint32_t k = i % kScoreChannels;
      const bool there = token < tokens && k < count;
      shared.units[token][k] =
          there ? work.units[(first_token + token) * row_stride + first + k] : 0.0f;
    }
    for (uint32_t k = threadIdx.x; k < count; k += kScoreThreads) {
      shared.centres[0][k] = work.centres[static_cast<size_t>(work.frames) * work.half + first + k];
      shared.centres[1][k] = work.centres[static_cast<size_t>(frame) * work.half + first + k];
    }
    __syncthreads();
    for (uint32_t k = 0; k < count; ++k) {
      const double difference =
          __dadd_rn(static_cast<double>(shared.units[own][k]), -shared.centres[which][k]);
      square = __dadd_rn(square, __dmul_rn(difference, difference));
    }
  }
  if (own >= tokens) return;
  (which == 0 ? work.of_video : work.of_frame)[first_token + own] = GaussianScore(square);
}

}  // namespace

GaussianWork TakeGaussian(uint64_t frames, uint64_t patches, uint64_t channels, Arena& arena) {
  GaussianWork work = {};
  work.frames = static_cast<uint32_t>(frames);
  work.patches = static_cast<uint32_t>(patches);
  work.width = static_cast<uint32_t>(channels);
  work.half = work.width < 2 ? 1 : work.width / 2;
  work.variances = arena.Take<uint64_t>(channels);
  work.quiet = arena.Take<uint8_t>(channels);
  work.channels = arena.Take<int32_t>(work.half);
  work.units = arena.Take<float>(frames * patches * RowStride(work.half));
  work.centres = arena.Take<double>((frames + 1) * work.half);
  return work;
}

lv_status LaunchGaussianScores(lv_type type, const GaussianWork& work, cudaStream_t stream) {
  LV_TRY(ForType(type, [&](auto value) {
    return Launch(variances_kernel<decltype(value)>, CeilDiv(work.width, kMomentThreads),
                  kMomentThreads, 0, stream, work);
  }));
  LV_TRY(Launch(quiet_channels_kernel, CeilDiv(work.width, kRankThreads), kRankThreads, 0, stream,
                work));
  LV_TRY(Launch(list_channels_kernel, 1, kSelectThreads, 0, stream, work));
  const size_t tokens = static_cast<size_t>(work.frames) * work.patches;
  UnitRowsWork units = {work.tokens, nullptr, tokens,     tokens,
                        work.half,   true,    work.units, work.report};
  units.channels = work.channels;
  units.all_channels = work.width;
  LV_TRY(LaunchUnitRows(type, units, stream));
  const size_t blocks = CeilDiv(work.half, kMomentThreads);
  LV_TRY(Launch(frame_centres_kernel, work.frames * blocks, kMomentThreads, 0, stream, work));
  LV_TRY(Launch(video_centre_kernel, blocks, kMomentThreads, 0, stream, work));
  return Launch(gaussian_scores_kernel, work.frames * CeilDiv(work.patches, kScoreTokens),
                kScoreThreads, 0, stream, work);
}

}  // namespace longvlm::cuda
