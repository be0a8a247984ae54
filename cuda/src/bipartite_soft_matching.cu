// One step of token merging over the caller's metric: which tokens merge into which, as token
// numbers.
#include "levels.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr int kThreads = 256;

struct IndexWork {
  Level level;
  uint32_t batch;
  uint32_t key_stride;
  const MatchKey* keys;
  const uint32_t* ranks;
  int32_t* unmerged;
  int32_t* source;
  int32_t* destination;
  int32_t* assignment;
};

__global__ void __launch_bounds__(kThreads) write_indices_kernel(IndexWork work) {
  const Level level = work.level;
  const size_t index = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= static_cast<size_t>(work.batch) * level.tokens) return;
  const size_t entry = index / level.tokens;
  const uint32_t token = static_cast<uint32_t>(index % level.tokens);
  const MatchKey* const keys = work.keys + entry * work.key_stride;
  const uint32_t* const ranks = work.ranks + entry * work.key_stride;
  work.assignment[index] = static_cast<int32_t>(level.SlotOf(token, keys, ranks));
  if (token < level.protect || token % 2 != 0) return;
  const uint32_t row = (token - level.first_a()) / 2;
  const uint32_t rank = level.r == 0 ? row : ranks[row];
  if (rank >= level.r) {
    work.unmerged[entry * level.stay() + rank - level.r] = static_cast<int32_t>(token);
    return;
  }
  work.source[entry * level.r + rank] = static_cast<int32_t>(token);
  work.destination[entry * level.r + rank] =
      static_cast<int32_t>(level.first_b() + 2 * PartnerOf(keys[row]));
}

struct Memory {
  float* rows;
  MatchKey* keys;
  uint32_t* ranks;
};

Memory TakeMemory(const lv_bipartite_soft_matching_args& args, Arena& arena) {
  const size_t keys = args.batch * ((args.tokens + 1) / 2);
  return {arena.Take<float>(args.batch * args.tokens * CeilDiv(args.dims, 4) * 4),
          arena.Take<MatchKey>(keys), arena.Take<uint32_t>(keys)};
}

lv_status Check(const lv_bipartite_soft_matching_args& args) {
  LV_TRY(CheckType(args.type));
  LV_EXPECT(args.batch >= 1 && args.dims >= 1 && args.tokens >= 1 && args.tokens <= kMaxTokens,
            "Expected batch and dims of at least 1 and 1 to %llu tokens but received %llu, %llu "
            "and %llu",
            static_cast<unsigned long long>(kMaxTokens),
            static_cast<unsigned long long>(args.batch), static_cast<unsigned long long>(args.dims),
            static_cast<unsigned long long>(args.tokens));
  LV_EXPECT(args.protected_tokens <= args.tokens,
            "Expected at most %llu protected tokens but received %llu",
            static_cast<unsigned long long>(args.tokens),
            static_cast<unsigned long long>(args.protected_tokens));
  LV_EXPECT(args.r <= (args.tokens - args.protected_tokens) / 2,
            "Expected at most %llu for r but received %llu",
            static_cast<unsigned long long>((args.tokens - args.protected_tokens) / 2),
            static_cast<unsigned long long>(args.r));
  LV_TRY(CheckVolume(args.batch, args.tokens, args.dims));
  return CheckMetric(args.tokens, args.dims);
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_bipartite_soft_matching(const lv_bipartite_soft_matching_args* args, void* workspace,
                                     size_t* workspace_bytes, lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(Check(*args));
  Arena arena(workspace);
  const Memory memory = TakeMemory(*args, arena);
  if (workspace == nullptr) {
    *workspace_bytes = arena.bytes();
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, arena.bytes()));
  const Level level = {static_cast<uint32_t>(args->tokens),
                       static_cast<uint32_t>(args->protected_tokens),
                       static_cast<uint32_t>(args->r)};
  LV_EXPECT(args->metric != nullptr && args->out_assignment != nullptr && args->report != nullptr &&
                (level.stay() == 0 || args->out_unmerged != nullptr) &&
                (level.r == 0 || (args->out_source != nullptr && args->out_destination != nullptr)),
            "Expected device memory for metric, the outputs and report but received null");
  LV_ON_DEVICE(args->device);
  int multiprocessors = 0;
  LV_CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, args->device));
  LV_TRY(ClearReport(args->report, ToCuda(stream)));

  MetricState state = {};
  state.segments = static_cast<uint32_t>(args->batch);
  state.all_tokens = level.tokens;
  state.dims = static_cast<uint32_t>(args->dims);
  state.row_stride = static_cast<uint32_t>(CeilDiv(args->dims, 4) * 4);
  state.key_stride = (level.tokens + 1) / 2;
  state.rows = memory.rows;
  state.ranks = memory.ranks;

  TokenMetricWork metric = {};
  metric.tokens = args->metric;
  metric.count = args->batch * args->tokens;
  metric.heads = 1;
  metric.dims = state.dims;
  metric.rows = memory.rows;
  metric.row_stride = state.row_stride;
  metric.tokens_per_segment = level.tokens;
  metric.key_stride = state.key_stride;
  metric.keys = memory.keys;
  metric.report = args->report;
  LV_TRY(LaunchTokenMetric(args->type, metric, ToCuda(stream)));
  if (level.r > 0) {
    LV_TRY(LaunchMatch(state, level, memory.keys, multiprocessors, ToCuda(stream)));
    LV_TRY(LaunchRank(state, level, memory.keys, ToCuda(stream)));
  }
  const IndexWork indices = {level,
                             state.segments,
                             state.key_stride,
                             memory.keys,
                             memory.ranks,
                             args->out_unmerged,
                             args->out_source,
                             args->out_destination,
                             args->out_assignment};
  return Launch(write_indices_kernel, CeilDiv(metric.count, kThreads), kThreads, 0, ToCuda(stream),
                indices);
}
