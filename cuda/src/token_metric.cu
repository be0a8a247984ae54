// The metric of tokens (the mean of each over its heads), and its rows scaled to length 1.
#include "levels.cuh"
#include "normalize_rows.cuh"
#include "own_ring.cuh"
#include "row_sum.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

struct MetricShared {
  RingMemory<kMetricThreads> ring;
};

// V values of one token's mean over its heads, to `mean`.
template <typename T, int V>
__device__ void MeanOverHeads(const T* token, uint32_t heads, uint32_t dims, size_t first_index,
                              lv_report* report, MetricShared& shared, float (&mean)[V]) {
  RowSum<T, V> sum;
  const auto add = [&](uint32_t head, const Values<T, V>& values) {
    sum.Add(values);
    if (head % kMostAdded == kMostAdded - 1) sum.Carry();
  };
  const auto from = [&](uint32_t head) { return token + static_cast<size_t>(head) * dims; };
  if constexpr (V == 1) {
    for (uint32_t head = 0; head < heads; ++head) add(head, Load<T, V>(from(head)));
  } else {
    ReadAhead<T, V>(shared.ring, heads, from, add);
  }
  sum.Carry();
  bool finite = true;
#pragma unroll
  for (int v = 0; v < V; ++v) {
    mean[v] = __double2float_rn(__ddiv_rn(sum.Get(v), static_cast<double>(heads)));
    finite = finite && IsFinite(mean[v]);
  }
  if (finite) return;
  // Finite float32 values have a finite mean, so one of these values is not finite.
  for (uint32_t head = 0; head < heads; ++head) {
    const size_t offset = static_cast<size_t>(head) * dims;
    const Values<T, V> values = Load<T, V>(token + offset);
    for (int v = 0; v < V; ++v) {
      if (!IsFinite(ToFloat(values.value[v]))) {
        ReportLowest(&report->not_finite, first_index + offset + static_cast<size_t>(v));
        return;
      }
    }
  }
}

template <typename T, int V>
__global__ void __launch_bounds__(kMetricThreads)
    token_metric_kernel(TokenMetricWork work, uint32_t tokens_per_block, bool shared_means) {
  LV_SHARED(MetricShared, shared);
  LV_DYNAMIC_SHARED(dynamic);
  const size_t first = static_cast<size_t>(blockIdx.x) * tokens_per_block;
  const uint32_t count =
      static_cast<uint32_t>(Smaller<size_t>(tokens_per_block, work.count - first));
  const size_t channels = static_cast<size_t>(work.heads) * work.dims;
  float* const rows = work.rows == nullptr ? nullptr : work.rows + first * work.row_stride;
  float* const means = shared_means ? reinterpret_cast<float*>(dynamic) : rows;
  const uint32_t groups = work.dims / V;
  for (uint32_t i = threadIdx.x; i < count * groups; i += blockDim.x) {
    const uint32_t token = i / groups;
    const uint32_t k = i % groups * V;
    const size_t index = (first + token) * channels + k;
    float mean[V];
    MeanOverHeads<T, V>(static_cast<const T*>(work.tokens) + index, work.heads, work.dims, index,
                        work.report, shared, mean);
#pragma unroll
    for (uint32_t v = 0; v < V; ++v) {
      if (work.metric != nullptr) work.metric[(first + token) * work.dims + k + v] = mean[v];
      if (rows != nullptr) means[static_cast<size_t>(token) * work.row_stride + k + v] = mean[v];
    }
  }
  if (rows == nullptr) return;
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const size_t token = first + i;
    const size_t place = token % work.tokens_per_segment;
    if (place % 2 == 0)
      work.keys[token / work.tokens_per_segment * work.key_stride + place / 2] = 0;
  }
  NormalizeRows(means, work.row_stride, rows, work.row_stride, count, work.dims);
}

template <typename T, int V>
lv_status LaunchFor(const TokenMetricWork& work, cudaStream_t stream) {
  const size_t row_bytes = static_cast<size_t>(work.row_stride) * sizeof(float);
  const bool shared_means = work.rows != nullptr && kMetricTokens * row_bytes <= kMetricSharedBytes;
  return Launch(token_metric_kernel<T, V>, CeilDiv(work.count, kMetricTokens), kMetricThreads,
                shared_means ? kMetricTokens * row_bytes : 0, stream, work,
                static_cast<uint32_t>(kMetricTokens), shared_means);
}

}  // namespace

lv_status LaunchTokenMetric(lv_type type, const TokenMetricWork& work, cudaStream_t stream) {
  return ForType(type, [&](auto value) {
    using T = decltype(value);
    return ForVector<T>(work.tokens, nullptr, work.dims, [&](auto vector) {
      return LaunchFor<T, decltype(vector)::value>(work, stream);
    });
  });
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_token_metric(const lv_token_metric_args* args, lv_stream stream) {
  LV_EXPECT(args != nullptr, "Expected arguments but received null");
  LV_TRY(CheckType(args->type));
  LV_EXPECT(args->count >= 1 && args->channels >= 1 && args->heads >= 1,
            "Expected count, channels and heads of at least 1 but received %llu, %llu and %llu",
            static_cast<unsigned long long>(args->count),
            static_cast<unsigned long long>(args->channels),
            static_cast<unsigned long long>(args->heads));
  LV_EXPECT(args->channels % args->heads == 0,
            "Expected divisor of channels %llu for heads but received %llu",
            static_cast<unsigned long long>(args->channels),
            static_cast<unsigned long long>(args->heads));
  LV_TRY(CheckVolume(1, args->count, args->channels));
  LV_EXPECT(args->tokens != nullptr && args->out != nullptr && args->report != nullptr,
            "Expected device memory for tokens, out and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  TokenMetricWork work = {};
  work.tokens = args->tokens;
  work.count = args->count;
  work.heads = static_cast<uint32_t>(args->heads);
  work.dims = static_cast<uint32_t>(args->channels / args->heads);
  work.metric = args->out;
  work.report = args->report;
  return LaunchTokenMetric(args->type, work, ToCuda(stream));
}
