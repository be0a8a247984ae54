// FlashVID with its segments, VidCom2 and AIM, against the CPU's implementation.
#include <cmath>
#include <string>

#include "core/aim.h"
#include "core/flash_vid.h"
#include "core/segment_frames.h"
#include "core/select_top_k.h"
#include "core/vid_com2.h"
#include "reducer_tests.h"
#include "videos.h"

namespace reducer_tests {
namespace {

// The first `count` tokens of a buffer, and of what the CPU wrote.
std::vector<uint8_t> FirstRows(const std::vector<uint8_t>& bytes, const Video& video,
                               size_t count) {
  const size_t row_bytes = video.shape.width * lv::TypeBytes(video.type);
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count * row_bytes)};
}
template <typename T>
std::vector<T> First(const std::vector<T>& values, size_t count) {
  return {values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count)};
}

// A buffer of tokens that the device writes.
Buffer OutTokens(const Video& video, size_t count) {
  return Buffer(count * video.shape.width * lv::TypeBytes(video.type));
}

template <typename Args>
Args ArgsOf(const Video& video, const Buffer& tokens) {
  Args args = {};
  args.type = video.type;
  args.tokens = tokens.get();
  args.frames = video.shape.batch;
  args.patches = video.shape.rows;
  args.channels = video.shape.width;
  return args;
}

struct FlashVidOptions {
  size_t budget, picked;
  float temporal = 0.8f;
  float segment = 0.9f;
  size_t segments = 1;
  bool cluster_picked = false, exact_budget = false;
  std::vector<float> attention = {};
};

struct FlashVidResult {
  std::vector<uint8_t> tokens;
  std::vector<int32_t> indices, starts, counts;
  std::vector<float> sizes;
};

lv_report RunFlashVid(const Video& video, const FlashVidOptions& options, FlashVidResult& result,
                      const Stream& stream) {
  const size_t bound = video.shape.batch * (options.budget + 1);
  const Buffer tokens = Buffer::Of(View(video.bytes), stream);
  const Buffer attention = Buffer::Of(View(options.attention), stream);
  const Buffer out = OutTokens(video, bound), indices(bound * 4), sizes(bound * 4);
  const Buffer starts(video.shape.batch * 4), counts(3 * 4);
  auto args = ArgsOf<lv_flash_vid_args>(video, tokens);
  args.attention = options.attention.empty() ? nullptr : attention.get<float>();
  args.budget = options.budget;
  args.picked = options.picked;
  args.temporal_threshold = options.temporal;
  args.segment_threshold = options.segment;
  args.segments = options.segments;
  args.cluster_picked = options.cluster_picked ? 1 : 0;
  args.exact_budget = options.exact_budget ? 1 : 0;
  args.out_tokens = out.get();
  args.out_indices = indices.get<int32_t>();
  args.out_sizes = sizes.get<float>();
  args.out_starts = starts.get<int32_t>();
  args.out_counts = counts.get<int32_t>();
  const lv_report report = RunWith(args, lv_flash_vid, stream);
  result = {out.Read<uint8_t>(stream), indices.Read<int32_t>(stream), starts.Read<int32_t>(stream),
            counts.Read<int32_t>(stream), sizes.Read<float>(stream)};
  return report;
}

void CheckFlashVid(Group& group, const std::string& kind, const Video& video,
                   const FlashVidOptions& options, const Stream& stream) {
  group.Begin(video.Name(kind) + " " + std::to_string(options.budget) + " of which " +
              std::to_string(options.picked) + " picked" +
              (options.cluster_picked ? ", these clustered" : "") +
              (options.exact_budget ? ", exact" : "") +
              (options.attention.empty() ? "" : ", attention"));
  FlashVidResult found;
  ExpectNothing(group, RunFlashVid(video, options, found, stream));
  const size_t bound = video.shape.batch * (options.budget + 1);
  FlashVidResult expected = {{},
                             std::vector<int32_t>(bound),
                             std::vector<int32_t>(video.shape.batch),
                             std::vector<int32_t>(3),
                             std::vector<float>(bound)};
  Rows rows(video, bound);
  std::vector<int32_t> owners(video.tokens());
  longvlm::FlashVid({.tokens = video.values(),
                     .shape = video.shape,
                     .attention = options.attention.empty() ? nullptr : options.attention.data(),
                     .budget = options.budget,
                     .picked = options.picked,
                     .temporal_threshold = options.temporal,
                     .segment_threshold = options.segment,
                     .segments = options.segments,
                     .reference_counts = false,
                     .cluster_picked = options.cluster_picked,
                     .exact_budget = options.exact_budget,
                     .out = rows.values(),
                     .out_indices = expected.indices.data(),
                     .out_sizes = expected.sizes.data(),
                     .out_starts = expected.starts.data(),
                     .out_counts = expected.counts.data(),
                     .out_owners = owners.data()},
                    kAlone);
  group.Same("starts", View(found.starts), View(expected.starts));
  if (!group.Same("counts", View(found.counts), View(expected.counts))) return;
  const auto kept = static_cast<size_t>(expected.counts[0]);
  group.Same("indices", View(First(found.indices, kept)), View(First(expected.indices, kept)));
  group.Same("sizes", View(First(found.sizes, kept)), View(First(expected.sizes, kept)));
  group.Same("bytes of tokens", View(FirstRows(found.tokens, video, kept)),
             View(FirstRows(rows.Encoded(), video, kept)));
}

std::vector<float> Attention(const Video& video, uint64_t seed) {
  inputs::Random random(seed);
  std::vector<float> attention(video.tokens());
  for (float& value : attention) value = static_cast<float>(random.Below(50)) / 1000;
  return attention;
}

struct Reduced {
  std::vector<uint8_t> tokens;
  std::vector<int32_t> indices;
  std::vector<float> sizes;
  size_t count;
};

lv_report RunVidCom2(const Video& video, size_t total, double ratio, Reduced& result,
                     const Stream& stream) {
  const size_t bound = longvlm::VidCom2Bound(video.shape, total, ratio);
  const Buffer tokens = Buffer::Of(View(video.bytes), stream);
  const Buffer out = OutTokens(video, bound), indices(bound * 4), count(4);
  auto args = ArgsOf<lv_vid_com2_args>(video, tokens);
  args.total = total;
  args.ratio = ratio;
  args.out_tokens = out.get();
  args.out_indices = indices.get<int32_t>();
  args.out_count = count.get<int32_t>();
  const lv_report report = RunWith(args, lv_vid_com2, stream);
  result = {out.Read<uint8_t>(stream),
            indices.Read<int32_t>(stream),
            {},
            static_cast<size_t>(count.Read<int32_t>(stream).front())};
  return report;
}

void CheckVidCom2(Group& group, const std::string& kind, const Video& video, size_t total,
                  double ratio, const Stream& stream) {
  group.Begin(video.Name(kind) + " " + std::to_string(total) + " or " + std::to_string(ratio));
  Reduced found;
  ExpectNothing(group, RunVidCom2(video, total, ratio, found, stream));
  const size_t bound = longvlm::VidCom2Bound(video.shape, total, ratio);
  std::vector<int32_t> indices(bound);
  Rows rows(video, bound);
  int32_t count = 0;
  longvlm::VidCom2({.tokens = video.values(),
                    .shape = video.shape,
                    .total = total,
                    .ratio = ratio,
                    .out = {},
                    .out_indices = indices.data(),
                    .out_count = &count},
                   kAlone);
  const auto kept = static_cast<size_t>(count);
  longvlm::GatherTokens({.tokens = video.values(),
                         .shape = video.shape,
                         .indices = indices.data(),
                         .count = kept,
                         .out = rows.values()},
                        kAlone);
  if (!group.Expect(found.count == kept && kept <= bound, "%zu tokens, not %zu", found.count,
                    kept)) {
    return;
  }
  group.Same("indices", View(First(found.indices, kept)), View(First(indices, kept)));
  group.Same("bytes of tokens", View(FirstRows(found.tokens, video, kept)),
             View(FirstRows(rows.Encoded(), video, kept)));
}

size_t KeptOf(const Video& video, const std::vector<uint32_t>& schedule) {
  size_t kept = video.shape.rows;
  for (const uint32_t merges : schedule) kept -= merges;
  return kept;
}

lv_report RunAim(const Video& video, const std::vector<uint32_t>& schedule, Reduced& result,
                 const Stream& stream) {
  const size_t count = video.shape.batch * KeptOf(video, schedule);
  const Buffer tokens = Buffer::Of(View(video.bytes), stream);
  const Buffer out = OutTokens(video, count), indices(count * 4), sizes(count * 4);
  auto args = ArgsOf<lv_aim_args>(video, tokens);
  args.schedule = schedule.data();
  args.steps = schedule.size();
  args.out_tokens = out.get();
  args.out_indices = indices.get<int32_t>();
  args.out_sizes = sizes.get<float>();
  const lv_report report = RunWith(args, lv_aim, stream);
  result = {out.Read<uint8_t>(stream), indices.Read<int32_t>(stream), sizes.Read<float>(stream),
            count};
  return report;
}

void CheckAim(Group& group, const std::string& kind, const Video& video,
              const std::vector<uint32_t>& schedule, const Stream& stream) {
  group.Begin(video.Name(kind) + " " + std::to_string(schedule.size()) + " steps");
  Reduced found;
  ExpectNothing(group, RunAim(video, schedule, found, stream));
  const size_t kept = KeptOf(video, schedule);
  std::vector<int32_t> indices(found.count);
  std::vector<float> sizes(found.count);
  Rows rows(video, found.count);
  std::vector<int32_t> owners(video.tokens());
  longvlm::Aim({.tokens = video.values(),
                .shape = video.shape,
                .schedule = schedule,
                .kept = kept,
                .out = rows.values(),
                .out_indices = indices.data(),
                .out_sizes = sizes.data(),
                .out_owners = owners.data()},
               kAlone);
  group.Same("indices", View(found.indices), View(indices));
  group.Same("sizes", View(found.sizes), View(sizes));
  group.Same("bytes of tokens", View(found.tokens), View(rows.Encoded()));
}

lv_report RunSegments(const Video& video, float threshold, size_t segments,
                      std::vector<float>& cosines, std::vector<int32_t>& starts,
                      const Stream& stream) {
  const size_t frames = video.tokens();
  const Buffer features = Buffer::Of(View(video.bytes), stream);
  const Buffer out_cosines((frames - 1) * 4), out_starts(frames * 4);
  lv_segment_frames_args args = {};
  args.threshold = threshold;
  args.features = features.get<float>();
  args.frames = frames;
  args.channels = video.shape.width;
  args.segments = segments;
  args.out_cosines = out_cosines.get<float>();
  args.out_starts = out_starts.get<int32_t>();
  const lv_report report = RunWith(args, lv_segment_frames, stream);
  cosines = out_cosines.Read<float>(stream);
  starts = out_starts.Read<int32_t>(stream);
  return report;
}

// The tokens are the features of as many frames.
void CheckSegments(Group& group, const std::string& kind, const Video& video, float threshold,
                   size_t segments, const Stream& stream) {
  group.Begin(video.Name(kind) + " " + std::to_string(segments));
  std::vector<float> cosines;
  std::vector<int32_t> starts;
  ExpectNothing(group, RunSegments(video, threshold, segments, cosines, starts, stream));
  const size_t frames = video.tokens();
  std::vector<float> expected(frames - 1);
  std::vector<int32_t> expected_starts(frames);
  longvlm::SegmentFrames({.features = reinterpret_cast<const float*>(video.bytes.data()),
                          .frames = frames,
                          .width = video.shape.width,
                          .threshold = threshold,
                          .segments = segments,
                          .out_cosines = expected.data(),
                          .out_starts = expected_starts.data()},
                         kAlone);
  group.Same("cosines", View(cosines), View(expected));
  group.Same("starts", View(starts), View(expected_starts));
}

}  // namespace

void TestSegmentFrames(const Stream& stream) {
  Group group("segmentFrames");
  for (const char* kind : kKinds) {
    const Video video(kind, LV_FLOAT32, {1, 40, 13}, 35);
    for (const size_t segments : {1, 8, 100}) {
      CheckSegments(group, kind, video, 0.5f, segments, stream);
    }
  }
  CheckSegments(group, "few values", Video("few values", LV_FLOAT32, {1, 1100, 4}, 36), -0.4f, 600,
                stream);
  for (const size_t frames : {1, 2}) {
    const Video video("random", LV_FLOAT32, {1, frames, 9}, frames);
    CheckSegments(group, "random", video, 0.9f, 1, stream);
  }
  for (const size_t frames : {1, 2, 20}) {
    Video video("random", LV_FLOAT32, {1, frames, 9}, frames);
    group.Begin(video.Name("not finite"));
    reinterpret_cast<float*>(video.bytes.data())[frames * 9 - 2] = INFINITY;
    std::vector<float> cosines;
    std::vector<int32_t> starts;
    const lv_report found = RunSegments(video, 0.9f, 3, cosines, starts, stream);
    group.Expect(found.not_finite == frames * 9 - 2, "value %llu is reported",
                 static_cast<unsigned long long>(found.not_finite));
  }
}

void TestFlashVid(const Stream& stream) {
  Group group("flashVid");
  for (const char* kind : kKinds) {
    // As for density peaks.
    if (std::string(kind) == "wide values") continue;
    for (const lv_type type : kTypes) {
      const Video video(kind, type, {6, 20, 12}, 21);
      CheckFlashVid(group, kind, video, {.budget = 7, .picked = 4}, stream);
    }
    const Video video(kind, LV_FLOAT32, {5, 23, 9}, 22);
    CheckFlashVid(group, kind, video,
                  {.budget = 6,
                   .picked = 3,
                   .temporal = 0.3f,
                   .segment = 0.5f,
                   .segments = 3,
                   .cluster_picked = true,
                   .exact_budget = true,
                   .attention = Attention(video, 22)},
                  stream);
  }
  const Video video("video", LV_FLOAT16, {7, 40, 16}, 23);
  CheckFlashVid(group, "video", video, {.budget = 40, .picked = 40}, stream);
  CheckFlashVid(group, "video", video, {.budget = 40, .picked = 9}, stream);
  CheckFlashVid(group, "video", video, {.budget = 9, .picked = 9, .segments = 100}, stream);
  CheckFlashVid(group, "video", video, {.budget = 9, .picked = 0, .segment = -1}, stream);
  CheckFlashVid(group, "video", video, {.budget = 39, .picked = 1, .temporal = -1}, stream);
  CheckFlashVid(group, "video", video, {.budget = 9, .picked = 2, .temporal = 1}, stream);
  for (const size_t segments : {2, 3, 7}) {
    CheckFlashVid(group, "video", video,
                  {.budget = 8,
                   .picked = 3,
                   .segments = segments,
                   .cluster_picked = true,
                   .exact_budget = segments == 3},
                  stream);
  }
  for (const size_t frames : {1, 2}) {
    for (const size_t patches : {1, 2, 5}) {
      const Video small("video", LV_FLOAT32, {frames, patches, 3}, patches);
      CheckFlashVid(group, "video", small, {.budget = 1, .picked = 0, .cluster_picked = true},
                    stream);
      CheckFlashVid(group, "video", small, {.budget = patches, .picked = 1}, stream);
    }
  }
  // More slots, frames and columns than a block has threads.
  const Video large("video", LV_FLOAT32, {3, 530, 5}, 24);
  CheckFlashVid(group, "video", large, {.budget = 60, .picked = 10}, stream);
  const Video long_video("frames repeat", LV_FLOAT32, {520, 2, 3}, 25);
  CheckFlashVid(group, "frames repeat", long_video,
                {.budget = 1, .picked = 0, .segments = 9, .exact_budget = true}, stream);
  const Video wide("video", LV_FLOAT16, {2, 6, 2056}, 26);
  CheckFlashVid(group, "video", wide, {.budget = 3, .picked = 1}, stream);
}

void TestVidCom2(const Stream& stream) {
  Group group("vidCom2");
  for (const char* kind : kKinds) {
    for (const lv_type type : kTypes) {
      CheckVidCom2(group, kind, Video(kind, type, {6, 40, 24}, 27), 0, 0.3, stream);
    }
    CheckVidCom2(group, kind, Video(kind, LV_FLOAT32, {5, 33, 13}, 28), 41, 0, stream);
  }
  for (const size_t frames : {1, 2, 3, 300}) {
    const Video video("wide range", LV_FLOAT32, {frames, 7, 10}, frames);
    for (const size_t total : {frames, frames * 5, frames * 7}) {
      CheckVidCom2(group, "wide range", video, total, 0, stream);
    }
    CheckVidCom2(group, "wide range", video, 0, 1, stream);
    CheckVidCom2(group, "wide range", video, 0, 0.5, stream);
    CheckVidCom2(group, "wide range", video, 0, 1e-9, stream);
  }
  for (const size_t width : {1, 2, 3, 130, 1100}) {
    CheckVidCom2(group, "video", Video("video", LV_FLOAT16, {3, 20, width}, width), 0, 0.25,
                 stream);
  }
}

void TestAim(const Stream& stream) {
  Group group("aim");
  for (const char* kind : kKinds) {
    for (const lv_type type : kTypes) {
      CheckAim(group, kind, Video(kind, type, {3, 70, 24}, 29), {35}, stream);
    }
    for (const lv_type type : {LV_FLOAT32, LV_FLOAT16}) {
      CheckAim(group, kind, Video(kind, type, {2, 41, 13}, 30), {20, 7, 1}, stream);
    }
  }
  const Video video("video", LV_FLOAT32, {2, 26, 260}, 31);
  CheckAim(group, "video", video, {}, stream);
  CheckAim(group, "video", video, {13, 6, 3, 2, 1}, stream);
  CheckAim(group, "video", Video("video", LV_FLOAT32, {4, 1, 5}, 32), {}, stream);
  CheckAim(group, "video", Video("video", LV_FLOAT16, {1, 2, 1}, 33), {1}, stream);
  CheckAim(group, "constant", Video("constant", LV_FLOAT32, {1, 300, 3}, 34), {150, 75}, stream);
}

void TestMethodReports(const Stream& stream) {
  Group group("methods, reports");
  for (const lv_type type : kTypes) {
    Video video("random", type, {4, 20, 24}, 15);
    std::vector<float> values = lv::Decode(type, video.bytes);
    // A frame's whole tokens, as such rows have cosines and distances of no order.
    for (size_t i = 960; i < 1200; ++i) values[i] = NAN;
    values[999] = INFINITY;
    values[959] = -INFINITY;
    video.bytes = lv::Encode(type, values);
    const auto expect = [&](const lv_report& found) {
      group.Expect(found.not_finite == 959 && found.bad_assignment == LV_NOTHING_FOUND,
                   "value %llu is reported, and assignment %llu",
                   static_cast<unsigned long long>(found.not_finite),
                   static_cast<unsigned long long>(found.bad_assignment));
    };
    FlashVidResult flash;
    Reduced reduced;
    group.Begin(video.Name("flashVid"));
    expect(RunFlashVid(video,
                       {.budget = 8, .picked = 3, .cluster_picked = true, .exact_budget = true},
                       flash, stream));
    group.Begin(video.Name("vidCom2"));
    expect(RunVidCom2(video, 0, 0.3, reduced, stream));
    expect(RunVidCom2(video, 30, 0, reduced, stream));
    group.Begin(video.Name("aim"));
    expect(RunAim(video, {10, 5}, reduced, stream));
    expect(RunAim(video, {}, reduced, stream));
  }
}

}  // namespace reducer_tests
