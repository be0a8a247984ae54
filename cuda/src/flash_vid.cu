// FlashVID, its vision side, on one stream: what is not known in advance is counted on the GPU, and
// the launches have room for the most that may come of it.
#include <algorithm>

#include "flash_vid.cuh"
#include "row_products.cuh"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kNeighbours = 7;

struct Plan {
  FlashVidWork work;
  lv_select_diverse_args diverse;
  void* scratch;  // first of the picks, then of the peaks
  size_t scratch_bytes;
  size_t bytes;
};

lv_select_diverse_args DiverseArgs(const lv_flash_vid_args& args, const FlashVidWork& work) {
  lv_select_diverse_args diverse = {};
  diverse.device = args.device;
  diverse.type = args.type;
  diverse.tokens = args.tokens;
  diverse.batch = args.frames;
  diverse.tokens_of_entry = args.patches;
  diverse.channels = args.channels;
  diverse.count = args.picked;
  diverse.weights = args.attention == nullptr ? nullptr : work.weights;
  diverse.out_picked = work.picks;
  diverse.report = args.report;
  return diverse;
}

// Of the frames that are looked at together.
PeaksWork TakePeaks(const FlashVidWork& work, Arena& arena) {
  PeaksWork peaks = {};
  peaks.entries = EntriesAtOnce(work.frames, work.room);
  const size_t rows = peaks.entries * work.room;
  peaks.distances = arena.Take<float>(rows * work.room);
  peaks.squares = arena.Take<float>(rows);
  peaks.farthest = arena.Take<float>(rows);
  peaks.scores = arena.Take<float>(rows);
  peaks.densities = arena.Take<float>(rows);
  peaks.peaks = arena.Take<float>(rows);
  return peaks;
}

FlashVidWork Numbers(const lv_flash_vid_args& args) {
  FlashVidWork work = {};
  work.tokens = args.tokens;
  work.frames = static_cast<uint32_t>(args.frames);
  work.patches = static_cast<uint32_t>(args.patches);
  work.width = static_cast<uint32_t>(args.channels);
  work.row_stride = static_cast<uint32_t>(RowStride(args.channels));
  work.budget = static_cast<uint32_t>(args.budget);
  work.picked = static_cast<uint32_t>(args.picked);
  work.others = work.patches - work.picked;
  work.room = args.cluster_picked != 0 ? work.patches : work.others;
  work.merges = work.picked < work.budget;
  work.compares = work.merges && work.frames > 1 && args.temporal_threshold < 1;
  work.cluster_picked = args.cluster_picked != 0;
  work.exact_budget = args.exact_budget != 0;
  work.temporal_threshold = args.temporal_threshold;
  work.segment_threshold = args.segment_threshold;
  work.segments = static_cast<uint32_t>(std::min<uint64_t>(args.segments, work.frames));
  work.attention = args.attention;
  work.out = args.out_tokens;
  work.out_indices = args.out_indices;
  work.out_sizes = args.out_sizes;
  work.out_starts = args.out_starts;
  work.out_counts = args.out_counts;
  work.report = args.report;
  return work;
}

void TakeTracks(FlashVidWork& work, Arena& arena) {
  const size_t slots = static_cast<size_t>(work.frames) * work.others;
  const size_t room = static_cast<size_t>(work.frames) * work.room;
  if (work.compares) {
    work.best = arena.Take<float>(slots);
    work.match = arena.Take<int32_t>(slots);
    work.keys = arena.Take<MatchKey>(slots);
  }
  work.rows = arena.Take<float>(room * work.row_stride);
  for (uint32_t** of_slot : {&work.parent, &work.size, &work.before, &work.offset}) {
    *of_slot = arena.Take<uint32_t>(slots);
  }
  work.members = arena.Take<int32_t>(slots);
  work.left_token = arena.Take<int32_t>(room);
  work.left_slot = arena.Take<uint32_t>(room);
  work.centres = arena.Take<int32_t>(room);
  work.in_clusters = arena.Take<int32_t>(room);
}

Plan Divide(const lv_flash_vid_args& args, void* workspace) {
  Arena arena(workspace);
  Plan plan = {};
  FlashVidWork& work = plan.work;
  work = Numbers(args);
  const size_t tokens = args.frames * args.patches;
  work.means = arena.Take<float>(args.frames * args.channels);
  work.falling = arena.Take<float>(args.frames);
  for (uint32_t** of_frame :
       {&work.lengths, &work.left_of, &work.merged_of, &work.clusters_of, &work.first_out}) {
    *of_frame = arena.Take<uint32_t>(args.frames);
  }
  if (args.attention != nullptr) work.weights = arena.Take<float>(tokens);
  work.picks = arena.Take<int32_t>(args.frames * args.picked);
  work.is_picked = arena.Take<uint8_t>(tokens);
  work.other = arena.Take<int32_t>(args.frames * work.others);
  work.centre_at = arena.Take<int32_t>(tokens);
  work.cluster_out = arena.Take<int32_t>(args.frames * (args.budget + 1));
  if (work.merges) TakeTracks(work, arena);
  plan.diverse = DiverseArgs(args, work);
  if (work.picked > 0) plan.scratch_bytes = DiverseBytes(plan.diverse);
  if (work.merges) {
    Arena peaks(nullptr);
    TakePeaks(work, peaks);
    plan.scratch_bytes = std::max(plan.scratch_bytes, peaks.bytes());
  }
  plan.scratch = arena.Take<char>(plan.scratch_bytes);
  plan.bytes = arena.bytes();
  return plan;
}

// The others' best matches in the frame before.
lv_status Compare(lv_type type, const FlashVidWork& work, int32_t multiprocessors,
                  cudaStream_t stream) {
  const size_t slots = static_cast<size_t>(work.frames) * work.others;
  const UnitRowsWork unit = {
      work.tokens, work.other, slots,     static_cast<size_t>(work.frames) * work.patches,
      work.width,  true,       work.rows, work.report};
  LV_TRY(LaunchUnitRows(type, unit, stream));
  const BestMatchWork match = {work.rows + static_cast<size_t>(work.others) * work.row_stride,
                               work.rows,
                               work.others,
                               work.others,
                               work.others,
                               work.others,
                               work.frames - size_t{1},
                               work.row_stride,
                               work.keys,
                               work.best,
                               work.match};
  return LaunchBestMatch(match, multiprocessors, stream);
}

// The clusters of what is left of each frame.
lv_status Cluster(const Plan& plan, int32_t multiprocessors, cudaStream_t stream) {
  const FlashVidWork& work = plan.work;
  Arena arena(plan.scratch);
  PeaksWork peaks = TakePeaks(work, arena);
  const size_t at_once = peaks.entries;
  for (size_t first = 0; first < work.frames; first += at_once) {
    peaks.entries = std::min<size_t>(at_once, work.frames - first);
    const size_t first_row = first * work.room;
    RowProductsWork products = {work.rows + first_row * work.row_stride, work.room, work.row_stride,
                                peaks.entries, peaks.distances};
    products.rows_of = work.left_of + first;
    LV_TRY(LaunchRowProducts(products, multiprocessors, stream));
    peaks.stride = work.room;
    peaks.rows_of = products.rows_of;
    peaks.clusters_of = work.clusters_of + first;
    peaks.width = work.width;
    peaks.neighbours = kNeighbours;
    peaks.clusters = work.room;
    peaks.centres = work.centres + first_row;
    peaks.centre_stride = work.room;
    peaks.in_clusters = work.in_clusters + first_row;
    LV_TRY(LaunchPeaks(peaks, stream));
  }
  return LV_OK;
}

lv_status Run(lv_type type, const Plan& plan, cudaStream_t stream) {
  const FlashVidWork& work = plan.work;
  int32_t multiprocessors = 0;
  LV_TRY(Multiprocessors(plan.diverse.device, &multiprocessors));
  // It also shows whether all tokens are finite.
  const FrameMeansWork means = {work.tokens, work.frames, work.patches,
                                work.width,  work.means,  work.report};
  LV_TRY(LaunchFrameMeans(type, means, stream));
  const SegmentWork segments = {work.means,      work.frames,  work.width,   work.segment_threshold,
                                work.segments,   false,        work.falling, nullptr,
                                work.out_starts, work.lengths, work.report};
  LV_TRY(LaunchSegments(segments, stream));
  LV_TRY(LaunchScaledAttention(work, stream));
  if (work.picked > 0) LV_TRY(LaunchDiverse(plan.diverse, plan.scratch, stream));
  LV_TRY(LaunchDivideFrames(work, stream));
  for (uint32_t* const of_frame : {work.left_of, work.merged_of, work.clusters_of}) {
    LV_CUDA(cudaMemsetAsync(of_frame, 0, work.frames * sizeof(uint32_t), stream));
  }
  if (work.merges) {
    if (work.compares) LV_TRY(Compare(type, work, multiprocessors, stream));
    LV_TRY(LaunchTracks(type, work, stream));
    LV_TRY(Cluster(plan, multiprocessors, stream));
  }
  return LaunchWriteFrames(type, work, stream);
}

lv_status Check(const lv_flash_vid_args& args) {
  LV_TRY(CheckType(args.type));
  LV_TRY(CheckTokens(args.frames, args.patches + 1, args.channels));
  LV_TRY(CheckTokens(args.frames, args.patches, args.channels));
  LV_TRY(CheckProductRows(args.patches));
  LV_EXPECT(args.budget >= 1 && args.budget <= args.patches,
            "Expected between 1 and %llu for budget but received %llu",
            static_cast<unsigned long long>(args.patches),
            static_cast<unsigned long long>(args.budget));
  LV_EXPECT(args.picked <= args.budget, "Expected at most %llu for picked but received %llu",
            static_cast<unsigned long long>(args.budget),
            static_cast<unsigned long long>(args.picked));
  LV_EXPECT(args.segments >= 1, "Expected at least 1 for segments but received 0");
  return LV_OK;
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_flash_vid(const lv_flash_vid_args* args, void* workspace, size_t* workspace_bytes,
                       lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(Check(*args));
  const Plan plan = Divide(*args, workspace);
  if (workspace == nullptr) {
    *workspace_bytes = plan.bytes;
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, plan.bytes));
  LV_EXPECT(args->tokens != nullptr && args->out_tokens != nullptr &&
                args->out_indices != nullptr && args->out_sizes != nullptr &&
                args->out_starts != nullptr && args->out_counts != nullptr &&
                args->report != nullptr,
            "Expected device memory for tokens, outputs and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  return Run(args->type, plan, ToCuda(stream));
}
