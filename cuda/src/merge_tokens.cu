// The whole hierarchy of token merging on one stream: metric, levels, means. The sizes of all
// levels are known in advance, so the host does not wait.
#include <algorithm>

#include "levels.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

struct Memory {
  float* metric;
  float* rows;
  LevelSums sums[2];  // double buffer of the levels; without keys
  MatchKey* keys[2];  // double buffer of the levels
  uint32_t* ranks;
  uint32_t* order;
  uint32_t* starts;
  uint32_t* lists;
  MeanScratch means;
};

// The levels that merge at least one token, each limited by the remaining tokens.
template <typename Visit>
void ForLevels(uint64_t tokens, uint64_t protect, const uint32_t* schedule, uint64_t levels,
               Visit visit) {
  for (uint64_t i = 0; i < levels; ++i) {
    Level level = {static_cast<uint32_t>(tokens), static_cast<uint32_t>(protect), 0};
    level.r = std::min(schedule[i], level.max_r());
    if (level.r == 0) continue;
    tokens -= level.r;
    visit(level);
  }
}

MeanWork MeansOf(const lv_merge_tokens_args& args, uint32_t kept) {
  MeanWork work = {};
  work.rows = args.tokens;
  work.assignment = args.out_assignment;
  work.weights = args.sizes;
  work.batch = args.segments;
  work.num_rows = static_cast<uint32_t>(args.tokens_per_segment);
  work.width = args.channels;
  work.slots = kept;
  work.divide = true;
  work.out = args.out_tokens;
  work.out_weights = args.out_sizes;
  work.report = args.report;
  return work;
}

Memory TakeMemory(const lv_merge_tokens_args& args, Arena& arena) {
  const size_t dims = args.channels / args.heads;
  const size_t all = args.segments * args.tokens_per_segment;
  uint64_t levels = 0;
  uint32_t kept = static_cast<uint32_t>(args.tokens_per_segment);
  Memory memory = {};
  ForLevels(args.tokens_per_segment, args.protected_tokens, args.schedule, args.levels,
            [&](const Level& level) {
              kept = level.kept();
              if (levels < 2) memory.sums[levels].stride = kept;
              ++levels;
            });
  if (levels > 0) {
    const size_t keys = args.segments * ((args.tokens_per_segment + 1) / 2);
    memory.metric = arena.Take<float>(all * dims);
    memory.rows = arena.Take<float>(all * CeilDiv(dims, 4) * 4);
    for (LevelSums& sums : memory.sums) {
      // The last level's result is not summed, but the small levels alternate between the two
      // buffers.
      sums.sums = arena.Take<double>(args.segments * sums.stride * dims);
      sums.sizes = arena.Take<double>(args.segments * sums.stride);
    }
    for (MatchKey*& of_level : memory.keys) of_level = arena.Take<MatchKey>(keys);
    memory.ranks = arena.Take<uint32_t>(keys);
    memory.order = arena.Take<uint32_t>(all);
    memory.starts = arena.Take<uint32_t>(all + args.segments);
    memory.lists = arena.Take<uint32_t>(all);
  }
  memory.means = TakeMeanScratch(arena, MeansOf(args, kept));
  return memory;
}

lv_status Check(const lv_merge_tokens_args& args) {
  LV_TRY(CheckType(args.type));
  LV_EXPECT(args.segments >= 1 && args.channels >= 1 && args.heads >= 1,
            "Expected segments, channels and heads of at least 1 but received %llu, %llu and %llu",
            static_cast<unsigned long long>(args.segments),
            static_cast<unsigned long long>(args.channels),
            static_cast<unsigned long long>(args.heads));
  LV_EXPECT(args.channels % args.heads == 0,
            "Expected divisor of channels %llu for heads but received %llu",
            static_cast<unsigned long long>(args.channels),
            static_cast<unsigned long long>(args.heads));
  LV_EXPECT(args.tokens_per_segment >= 1 && args.tokens_per_segment <= kMaxTokens,
            "Expected 1 to %llu tokens a segment but received %llu",
            static_cast<unsigned long long>(kMaxTokens),
            static_cast<unsigned long long>(args.tokens_per_segment));
  LV_EXPECT(args.protected_tokens <= args.tokens_per_segment,
            "Expected at most %llu protected tokens but received %llu",
            static_cast<unsigned long long>(args.tokens_per_segment),
            static_cast<unsigned long long>(args.protected_tokens));
  LV_EXPECT(args.schedule != nullptr || args.levels == 0,
            "Expected a schedule of %llu levels but received null",
            static_cast<unsigned long long>(args.levels));
  LV_TRY(CheckVolume(args.segments, args.tokens_per_segment, args.channels));
  return CheckMetric(args.tokens_per_segment, args.channels / args.heads);
}

lv_status ReadMetric(const lv_merge_tokens_args& args, const MetricState& state,
                     const Memory& memory, cudaStream_t stream) {
  TokenMetricWork work = {};
  work.tokens = args.tokens;
  work.count = args.segments * args.tokens_per_segment;
  work.heads = static_cast<uint32_t>(args.heads);
  work.dims = state.dims;
  work.metric = memory.metric;
  work.rows = memory.rows;
  work.row_stride = state.row_stride;
  work.tokens_per_segment = state.all_tokens;
  work.key_stride = state.key_stride;
  work.keys = memory.keys[0];
  work.report = args.report;
  return LaunchTokenMetric(args.type, work, stream);
}

lv_status MergeLevels(const lv_merge_tokens_args& args, const MetricState& state,
                      const Memory& memory, uint64_t levels, cudaStream_t stream) {
  int multiprocessors = 0;
  LV_CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, args.device));
  lv_status status = LV_OK;
  uint64_t done = 0;
  LevelSums in = {nullptr, nullptr, 0, memory.keys[0]};
  int next = 0;
  SmallLevels small = {};
  bool identity = true;
  const auto flush = [&] {
    if (small.count == 0) return;
    status = LaunchSmallLevels(state, small, in, memory.sums[next], memory.sums[1 - next], identity,
                               done < levels, stream);
    if (small.count % 2 != 0) next = 1 - next;
    in = memory.sums[1 - next];
    small.count = 0;
    identity = false;
  };
  ForLevels(args.tokens_per_segment, args.protected_tokens, args.schedule, args.levels,
            [&](const Level& level) {
              if (status != LV_OK) return;
              if (IsSmallLevel(level, state.dims)) {
                small.level[small.count++] = level;
                ++done;
                if (small.count == kSmallLevels) flush();
                return;
              }
              ++done;
              status = LaunchMatch(state, level, in.keys, multiprocessors, stream);
              if (status == LV_OK && level.stay() > 0) {
                status = LaunchRank(state, level, in.keys, stream);
              }
              if (status == LV_OK && done < levels) {
                status = LaunchLink(state, level, in.keys, stream);
              }
              if (status != LV_OK) return;
              LevelSums out = memory.sums[next];
              out.keys = memory.keys[1 - next];
              status = LaunchMergeLevel(state, level, in, done < levels ? &out : nullptr, identity,
                                        stream);
              in = out;
              next = 1 - next;
              identity = false;
            });
  if (status == LV_OK) flush();
  return status;
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

uint64_t lv_kept_tokens(uint64_t tokens, uint64_t protected_tokens, const uint32_t* schedule,
                        uint64_t levels) {
  uint64_t kept = tokens;
  ForLevels(tokens, std::min(protected_tokens, tokens), schedule, levels,
            [&](const Level& level) { kept = level.kept(); });
  return kept;
}

lv_status lv_merge_tokens(const lv_merge_tokens_args* args, void* workspace,
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
  LV_EXPECT(args->tokens != nullptr && args->out_tokens != nullptr && args->out_sizes != nullptr &&
                args->out_assignment != nullptr && args->report != nullptr,
            "Expected device memory for tokens, the outputs and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));

  MetricState state = {};
  state.segments = static_cast<uint32_t>(args->segments);
  state.all_tokens = static_cast<uint32_t>(args->tokens_per_segment);
  state.dims = static_cast<uint32_t>(args->channels / args->heads);
  state.row_stride = static_cast<uint32_t>(CeilDiv(state.dims, 4) * 4);
  state.key_stride = (state.all_tokens + 1) / 2;
  state.metric = memory.metric;
  state.in_sizes = args->sizes;
  state.rows = memory.rows;
  state.ranks = memory.ranks;
  state.order = memory.order;
  state.starts = memory.starts;
  state.lists = memory.lists;
  state.assignment = args->out_assignment;

  uint64_t levels = 0;
  uint32_t kept = state.all_tokens;
  ForLevels(args->tokens_per_segment, args->protected_tokens, args->schedule, args->levels,
            [&](const Level& level) {
              ++levels;
              kept = level.kept();
            });
  MeanWork means = MeansOf(*args, kept);
  if (levels > 0) {
    LV_TRY(ReadMetric(*args, state, memory, ToCuda(stream)));
    LV_TRY(MergeLevels(*args, state, memory, levels, ToCuda(stream)));
  } else {
    const LevelSums none = {};
    const Level nothing = {state.all_tokens, 0, 0};
    LV_TRY(LaunchMergeLevel(state, nothing, none, nullptr, true, ToCuda(stream)));
    means.check = true;
  }
  return LaunchMeans(args->type, means, memory.means, ToCuda(stream));
}
