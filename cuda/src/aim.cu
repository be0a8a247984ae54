// AIM: bipartite soft matching inside each frame, step by step, with plain means.
#include "levels.cuh"
#include "reducers.cuh"
#include "row_chain.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr int kThreads = 256;

// Tokens of all frames between two steps: [frames, count, width], where each stands in its frame
// and how many it stands for.
struct Tokens {
  const void* values;
  const uint32_t* places;  // null before the first step: token i stands at i, for itself
  const float* sizes;
};

// One step of all frames.
struct StepWork {
  Level level;
  uint32_t frames;
  uint32_t key_stride;
  uint32_t width;
  const MatchKey* keys;
  const uint32_t* ranks;
  int32_t* assignment;  // [frames, tokens of the level]
  MeanScratch list;
  Tokens in;
  void* out_values;  // [frames, kept, width]
  uint32_t* out_places;
  float* out_sizes;
};

__global__ void __launch_bounds__(kThreads) assign_slots_kernel(StepWork work) {
  const size_t index = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= static_cast<size_t>(work.frames) * work.level.tokens) return;
  const size_t frame = index / work.level.tokens;
  const auto token = static_cast<uint32_t>(index % work.level.tokens);
  const uint32_t slot = work.level.SlotOf(token, work.keys + frame * work.key_stride,
                                          work.ranks + frame * work.key_stride);
  // Of tokens that are not finite it might be anywhere.
  work.assignment[index] = static_cast<int32_t>(Smaller(slot, work.level.kept() - 1));
}

// A block has a slot of a frame and V columns for each thread.
template <typename T, int V>
__global__ void __launch_bounds__(kAnchorThreads) slot_means_kernel(StepWork work) {
  const uint32_t columns = kAnchorThreads * V;
  const uint32_t tiles = (work.width + columns - 1) / columns;
  const size_t index = blockIdx.x / tiles;
  const uint32_t column = blockIdx.x % tiles * columns + threadIdx.x * V;
  if (column >= work.width) return;
  const uint32_t kept = work.level.kept();
  const size_t frame = index / kept;
  const uint32_t* const first =
      work.list.first + frame * (kept + size_t{1}) + static_cast<uint32_t>(index % kept);
  const size_t first_row = frame * work.level.tokens;
  const uint32_t* const rows = work.list.order + first_row + first[0];
  const uint32_t count = first[1] - first[0];
  const T* const values = static_cast<const T*>(work.in.values) + first_row * work.width + column;
  double sum[V] = {};
  AddRows<T, V>(
      values, work.width, count, [&](uint32_t i) { return rows[i]; }, sum);
  Store<T, V>(static_cast<T*>(work.out_values) + index * work.width + column,
              Quotients<T, V>(sum, static_cast<double>(count)));
}

// Slots of B keep the places of their tokens of B; a token of A that is alone keeps its own.
__global__ void __launch_bounds__(kThreads) follow_slots_kernel(StepWork work) {
  const uint32_t kept = work.level.kept();
  const size_t index = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= static_cast<size_t>(work.frames) * kept) return;
  const size_t frame = index / kept;
  const auto slot = static_cast<uint32_t>(index % kept);
  const size_t first_row = frame * work.level.tokens;
  const uint32_t* const first = work.list.first + frame * (kept + size_t{1}) + slot;
  float size = 0;
  uint32_t place = 0;
  for (uint32_t i = first[0]; i < first[1]; ++i) {
    const uint32_t token = work.list.order[first_row + i];
    size = __fadd_rn(size, work.in.sizes == nullptr ? 1.0f : work.in.sizes[first_row + token]);
    if (token % 2 == 1 || slot < work.level.stay()) {
      place = work.in.places == nullptr ? token : work.in.places[first_row + token];
    }
  }
  work.out_places[index] = place;
  work.out_sizes[index] = size;
}

struct OrderWork {
  uint32_t frames, patches, kept;
  Tokens tokens;
  int32_t* source;  // [frames, kept], rows of `tokens`
  int32_t* out_indices;
  float* out_sizes;
};

// Ranks places by counting.
__global__ void __launch_bounds__(kThreads) order_places_kernel(OrderWork work) {
  const size_t index = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= static_cast<size_t>(work.frames) * work.kept) return;
  const size_t frame = index / work.kept;
  auto place = static_cast<uint32_t>(index % work.kept);
  uint32_t rank = place;
  if (work.tokens.places != nullptr) {
    const uint32_t* const places = work.tokens.places + frame * work.kept;
    place = work.tokens.places[index];
    rank = 0;
    for (uint32_t i = 0; i < work.kept; ++i) rank += places[i] < place ? 1 : 0;
  }
  const size_t to = frame * work.kept + rank;
  work.source[to] = static_cast<int32_t>(index);
  work.out_indices[to] = static_cast<int32_t>(frame * work.patches + place);
  work.out_sizes[to] = work.tokens.sizes == nullptr ? 1.0f : work.tokens.sizes[index];
}

struct Memory {
  float* rows;
  MatchKey* keys;
  uint32_t* ranks;
  int32_t* assignment;
  MeanScratch list;
  void* values[2];  // of even and of odd steps
  uint32_t* places[2];
  float* sizes[2];
  int32_t* source;
  lv_report* report;  // of what steps after the first read
};

// Tokens of a frame that are left after all steps.
uint32_t KeptOf(const lv_aim_args& args) {
  auto kept = static_cast<uint32_t>(args.patches);
  for (uint64_t i = 0; i < args.steps; ++i) kept -= args.schedule[i];
  return kept;
}

Memory TakeMemory(const lv_aim_args& args, Arena& arena) {
  Memory memory = {};
  const size_t tokens = args.frames * args.patches;
  memory.source = arena.Take<int32_t>(args.frames * KeptOf(args));
  if (args.steps == 0) return memory;
  memory.report = arena.Take<lv_report>(1);
  const size_t keys = args.frames * CeilDiv(args.patches, 2);
  memory.rows = arena.Take<float>(tokens * RowStride(args.channels));
  memory.keys = arena.Take<MatchKey>(keys);
  memory.ranks = arena.Take<uint32_t>(keys);
  memory.assignment = arena.Take<int32_t>(tokens);
  memory.list.first = arena.Take<uint32_t>(tokens + args.frames);
  memory.list.order = arena.Take<uint32_t>(tokens);
  memory.list.totals = arena.Take<double>(tokens);
  size_t kept = args.patches;
  for (uint64_t i = 0; i < args.steps && i < 2; ++i) {
    kept -= args.schedule[i];
    memory.values[i] = arena.Take<char>(args.frames * kept * args.channels * TypeBytes(args.type));
    memory.places[i] = arena.Take<uint32_t>(args.frames * kept);
    memory.sizes[i] = arena.Take<float>(args.frames * kept);
  }
  return memory;
}

// Which tokens of a step merge: the assignment, and the rows of each slot.
lv_status Match(const lv_aim_args& args, const StepWork& work, const Memory& memory,
                lv_report* report, int32_t multiprocessors, cudaStream_t stream) {
  const Level& level = work.level;
  TokenMetricWork metric = {};
  metric.tokens = work.in.values;
  metric.count = args.frames * level.tokens;
  metric.heads = 1;
  metric.dims = work.width;
  metric.rows = memory.rows;
  metric.row_stride = static_cast<uint32_t>(RowStride(args.channels));
  metric.tokens_per_segment = level.tokens;
  metric.key_stride = work.key_stride;
  metric.keys = memory.keys;
  metric.report = report;
  LV_TRY(LaunchTokenMetric(args.type, metric, stream));
  MetricState state = {};
  state.segments = work.frames;
  state.all_tokens = level.tokens;
  state.dims = work.width;
  state.row_stride = metric.row_stride;
  state.key_stride = work.key_stride;
  state.rows = memory.rows;
  state.ranks = memory.ranks;
  LV_TRY(LaunchMatch(state, level, memory.keys, multiprocessors, stream));
  if (level.stay() > 0) LV_TRY(LaunchRank(state, level, memory.keys, stream));
  LV_TRY(Launch(assign_slots_kernel, CeilDiv(metric.count, kThreads), kThreads, 0, stream, work));
  MeanWork list = {};
  list.assignment = memory.assignment;
  list.batch = args.frames;
  list.num_rows = level.tokens;
  list.slots = level.kept();
  return LaunchListRows(list, memory.list, stream);
}

lv_status Merge(lv_type type, const StepWork& work, cudaStream_t stream) {
  const size_t slots = static_cast<size_t>(work.frames) * work.level.kept();
  LV_TRY(ForType(type, [&](auto value) {
    using T = decltype(value);
    return ForVector<T>(work.in.values, work.out_values, work.width, [&](auto vector) {
      constexpr int kV = decltype(vector)::value;
      return Launch(slot_means_kernel<T, kV>, slots * CeilDiv(work.width, kAnchorThreads * kV),
                    kAnchorThreads, 0, stream, work);
    });
  }));
  return Launch(follow_slots_kernel, CeilDiv(slots, kThreads), kThreads, 0, stream, work);
}

lv_status Run(const lv_aim_args& args, const Memory& memory, cudaStream_t stream) {
  int32_t multiprocessors = 0;
  LV_TRY(Multiprocessors(args.device, &multiprocessors));
  if (args.steps > 0) LV_TRY(ClearReport(memory.report, stream));
  Tokens left = {args.tokens, nullptr, nullptr};
  auto count = static_cast<uint32_t>(args.patches);
  for (uint64_t step = 0; step < args.steps; ++step) {
    StepWork work = {};
    work.level = {count, 0, args.schedule[step]};
    work.frames = static_cast<uint32_t>(args.frames);
    work.key_stride = (count + 1) / 2;
    work.width = static_cast<uint32_t>(args.channels);
    work.keys = memory.keys;
    work.ranks = memory.ranks;
    work.assignment = memory.assignment;
    work.list = memory.list;
    work.in = left;
    work.out_values = memory.values[step % 2];
    work.out_places = memory.places[step % 2];
    work.out_sizes = memory.sizes[step % 2];
    lv_report* const report = step == 0 ? args.report : memory.report;
    LV_TRY(Match(args, work, memory, report, multiprocessors, stream));
    LV_TRY(Merge(args.type, work, stream));
    left = {work.out_values, work.out_places, work.out_sizes};
    count = work.level.kept();
  }
  const OrderWork order = {static_cast<uint32_t>(args.frames),
                           static_cast<uint32_t>(args.patches),
                           count,
                           left,
                           memory.source,
                           args.out_indices,
                           args.out_sizes};
  const size_t kept = args.frames * count;
  LV_TRY(Launch(order_places_kernel, CeilDiv(kept, kThreads), kThreads, 0, stream, order));
  const GatherWork gather = {left.values,
                             memory.source,
                             kept,
                             kept,
                             args.channels,
                             args.out_tokens,
                             args.steps > 0 ? memory.report : args.report};
  return LaunchGather(args.type, gather, stream);
}

lv_status Check(const lv_aim_args& args) {
  LV_TRY(CheckType(args.type));
  LV_TRY(CheckTokens(args.frames, args.patches, args.channels));
  LV_TRY(CheckMetric(args.patches, args.channels));
  LV_EXPECT(args.schedule != nullptr || args.steps == 0,
            "Expected a schedule of %llu steps but received null",
            static_cast<unsigned long long>(args.steps));
  uint64_t left = args.patches;
  for (uint64_t i = 0; i < args.steps; ++i) {
    const uint32_t merges = args.schedule[i];
    LV_EXPECT(merges >= 1 && merges <= left / 2,
              "Expected between 1 and %llu for schedule[%llu] but received %u",
              static_cast<unsigned long long>(left / 2), static_cast<unsigned long long>(i),
              merges);
    left -= merges;
  }
  return LV_OK;
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_aim(const lv_aim_args* args, void* workspace, size_t* workspace_bytes,
                 lv_stream stream) {
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
  LV_EXPECT(args->tokens != nullptr && args->out_tokens != nullptr &&
                args->out_indices != nullptr && args->out_sizes != nullptr &&
                args->report != nullptr,
            "Expected device memory for tokens, outputs and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  return Run(*args, memory, ToCuda(stream));
}
