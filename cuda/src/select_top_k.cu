// The highest scores of each frame, and copies of the tokens that have them.
#include "block_sums.cuh"
#include "key_of_rank.cuh"
#include "reducers.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

struct SelectShared {
  RankShared rank;
  CountShared<kSelectThreads> before;
  uint32_t budget;
  unsigned long long budgets_before;
};

// One block for each frame: finds the key of the last score to take digit by digit, then writes the
// positions of all before it and of as many of its equals as are left, in order.
__global__ void __launch_bounds__(kSelectThreads) select_top_k_kernel(SelectWork work) {
  LV_SHARED(SelectShared, shared);
  const size_t frame = blockIdx.x;
  const size_t patches = work.patches;
  const float* const scores = work.scores + frame * patches;
  const auto budget_of = [&](size_t i) {
    if (work.budgets == nullptr) return static_cast<size_t>(work.budget);
    const int32_t budget = work.budgets[i];
    if (budget >= 0 && static_cast<size_t>(budget) <= patches) return static_cast<size_t>(budget);
    ReportLowest(&work.report->bad_assignment, i);
    return size_t{0};
  };
  if (threadIdx.x == 0) {
    shared.budgets_before = 0;
    shared.budget = static_cast<uint32_t>(budget_of(frame));
  }
  __syncthreads();
  const uint32_t budget = shared.budget;
  for (size_t i = threadIdx.x; i < frame; i += kSelectThreads) {
    atomicAdd(&shared.budgets_before, static_cast<unsigned long long>(budget_of(i)));
  }
  for (size_t i = threadIdx.x; work.checks && i < patches; i += kSelectThreads) {
    if (!IsFinite(scores[i])) ReportLowest(&work.report->not_finite, frame * patches + i);
  }
  if (budget == 0) return;
  const RankedKey found = KeyOfRank<kSelectThreads>(scores, patches, budget, shared.rank);
  const uint32_t last = found.key;
  const uint32_t equals = found.equals;
  size_t taken = shared.budgets_before;
  uint32_t equals_before = 0;
  for (size_t first = 0; first < patches; first += kSelectThreads) {
    const size_t i = first + threadIdx.x;
    const uint32_t key = i < patches ? FallingKey(scores[i]) : 0xffffffffu;
    const bool equal = i < patches && key == last;
    uint32_t count = 0;
    const uint32_t place = equals_before + CountBefore(equal, shared.before, &count);
    equals_before += count;
    const bool take = i < patches && (key < last || (equal && place < equals));
    const size_t to = taken + CountBefore(take, shared.before, &count);
    taken += count;
    if (take && to < work.total) {
      work.out[to] = work.first_index + static_cast<int32_t>(frame * patches + i);
    }
  }
}

template <typename T, int V>
__global__ void __launch_bounds__(kGatherThreads) gather_kernel(GatherWork work) {
  if (work.fewer != nullptr && static_cast<int32_t>(blockIdx.x) >= *work.fewer) return;
  const int32_t index = work.indices[blockIdx.x];
  if (index < 0 || static_cast<size_t>(index) >= work.limit) {
    if (threadIdx.x == 0) ReportLowest(&work.report->bad_assignment, blockIdx.x);
    return;
  }
  const size_t begin = static_cast<size_t>(index) * work.width;
  const T* const from = static_cast<const T*>(work.tokens) + begin;
  T* const to = static_cast<T*>(work.out) + blockIdx.x * work.width;
#pragma unroll 4
  for (size_t k = threadIdx.x * V; k < work.width; k += kGatherThreads * V) {
    const Values<T, V> values = Load<T, V>(from + k);
    Store<T, V>(to + k, values);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (IsFinite(ToFloat(values.value[v]))) continue;
      ReportLowest(&work.report->not_finite, begin + k + static_cast<size_t>(v));
    }
  }
}

}  // namespace

lv_status LaunchSelect(const SelectWork& work, cudaStream_t stream) {
  return Launch(select_top_k_kernel, work.frames, kSelectThreads, 0, stream, work);
}

lv_status LaunchGather(lv_type type, const GatherWork& work, cudaStream_t stream) {
  return ForType(type, [&](auto value) {
    using T = decltype(value);
    return ForVector<T>(work.tokens, work.out, work.width, [&](auto vector) {
      return Launch(gather_kernel<T, decltype(vector)::value>, work.count, kGatherThreads, 0,
                    stream, work);
    });
  });
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_select_top_k(const lv_select_top_k_args* args, lv_stream stream) {
  LV_EXPECT(args != nullptr, "Expected arguments but received null");
  LV_TRY(CheckTokens(args->frames, args->patches, 1));
  LV_EXPECT(args->total <= args->frames * args->patches,
            "Expected at most %llu for total but received %llu",
            static_cast<unsigned long long>(args->frames * args->patches),
            static_cast<unsigned long long>(args->total));
  LV_EXPECT(args->scores != nullptr && args->budgets != nullptr && args->report != nullptr &&
                (args->total == 0 || args->out_indices != nullptr),
            "Expected device memory for scores, budgets, out_indices and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  const SelectWork work = {
      args->scores,      args->frames, args->patches, args->budgets, 0, args->total, 0,
      args->out_indices, true,         args->report};
  return LaunchSelect(work, ToCuda(stream));
}

lv_status lv_gather_tokens(const lv_gather_tokens_args* args, lv_stream stream) {
  LV_EXPECT(args != nullptr, "Expected arguments but received null");
  LV_TRY(CheckType(args->type));
  LV_TRY(CheckTokens(1, args->tokens_in, args->channels));
  LV_EXPECT(args->count >= 1, "Expected at least 1 for count but received 0");
  LV_EXPECT(args->tokens != nullptr && args->indices != nullptr && args->out != nullptr &&
                args->report != nullptr,
            "Expected device memory for tokens, indices, out and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  const GatherWork work = {args->tokens,   args->indices, args->count, args->tokens_in,
                           args->channels, args->out,     args->report};
  return LaunchGather(args->type, work, ToCuda(stream));
}
