// Times the operations on a GPU.
//
//   cuda_bench [--device N] [--rounds N] [--case SUBSTRING] [--json]
//
// Times are those of CUDA events around one call on one stream, after warm-up, over inputs that
// change from call to call and are larger together than any L2. Beside them the bandwidth of a copy
// on the same device, and how long reading the tokens twice would take at that bandwidth: what
// token merging cannot go below.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "device.h"
#include "inputs.h"
#include "longvlm_cuda_reducers.h"

namespace {

using lv::Buffer;
using lv::Stream;

constexpr size_t kKeep = 30;
constexpr size_t kHeads = 16;
constexpr size_t kRotatedBytes = size_t{512} << 20;
constexpr size_t kMostInputs = 16;

struct Case {
  size_t segments, tokens, channels;
};
constexpr Case kCases[] = {{10, 2560, 1024}, {1, 2560, 1024}, {10, 5760, 1024}, {100, 2560, 1024}};

std::string Name(const Case& shape, lv_type type) {
  char name[100];
  std::snprintf(name, sizeof(name), "[%zu,%zu,%zu] %s", shape.segments, shape.tokens,
                shape.channels, lv::TypeName(type));
  return name;
}

struct Timing {
  double median, p10, p90;  // microseconds
};

class Event {
 public:
  Event() { LV_NEED(lv_event_create(lv::device, &event_)); }
  ~Event() { LV_NEED(lv_event_destroy(lv::device, event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void Record(const Stream& stream) const {
    LV_NEED(lv_event_record(lv::device, event_, stream.get()));
  }
  double MicrosecondsSince(const Event& begin) const {
    float milliseconds = 0;
    LV_NEED(lv_event_elapsed(lv::device, begin.event_, event_, &milliseconds));
    return 1000.0 * static_cast<double>(milliseconds);
  }

 private:
  lv_event event_ = nullptr;
};

// call(i) puts one call on the stream, with the i-th input.
template <typename Call>
Timing Time(const Stream& stream, int rounds, Call call) {
  constexpr int kWarmUp = 10;
  for (int i = 0; i < std::min(kWarmUp, rounds); ++i) call(static_cast<size_t>(i));
  stream.Synchronize();
  std::vector<std::unique_ptr<Event>> events;
  for (int i = 0; i < 2 * rounds; ++i) events.push_back(std::make_unique<Event>());
  for (int i = 0; i < rounds; ++i) {
    events[static_cast<size_t>(2 * i)]->Record(stream);
    call(static_cast<size_t>(i));
    events[static_cast<size_t>(2 * i + 1)]->Record(stream);
  }
  stream.Synchronize();
  std::vector<double> times;
  for (size_t i = 0; i < events.size(); i += 2) {
    times.push_back(events[i + 1]->MicrosecondsSince(*events[i]));
  }
  std::sort(times.begin(), times.end());
  const auto at = [&times](double part) {
    return times[static_cast<size_t>(part * static_cast<double>(times.size() - 1) + 0.5)];
  };
  return {at(0.5), at(0.1), at(0.9)};
}

class Output {
 public:
  Output(bool json, const lv_device_info& info) : json_(json), info_(info) {
    if (json_) return;
    std::printf("%s, compute capability %d.%d, driver %d, runtime %d, theoretical %.0f GB/s\n",
                info.name, info.compute_major, info.compute_minor, info.driver_version,
                info.runtime_version, info.memory_bytes_per_second / 1e9);
  }

  // `bytes`: what the operation reads and writes at least. `floor`: microseconds, or 0.
  void Line(const std::string& name, const char* operation, int rounds, const Timing& time,
            double bytes, double floor) const {
    const double gigabytes = bytes / time.median / 1e3;
    const double ratio = floor > 0 ? time.median / floor : 0;
    if (json_) {
      std::printf(
          "{\"case\":\"%s\",\"operation\":\"%s\",\"device\":\"%s\",\"sm\":\"%d.%d\",\"driver\":%d,"
          "\"n\":%d,\"medianUs\":%.3f,\"p10Us\":%.3f,\"p90Us\":%.3f,\"gigabytesPerSecond\":%.1f,"
          "\"timesTwoReads\":%.3f}\n",
          name.c_str(), operation, info_.name, info_.compute_major, info_.compute_minor,
          info_.driver_version, rounds, time.median, time.p10, time.p90, gigabytes, ratio);
    } else {
      std::printf("%-26s %-14s median %9.1f us  p10 %9.1f  p90 %9.1f  %7.1f GB/s", name.c_str(),
                  operation, time.median, time.p10, time.p90, gigabytes);
      if (ratio > 0) std::printf("  %.2f x two reads", ratio);
      std::printf("\n");
    }
    std::fflush(stdout);
  }

 private:
  bool json_;
  lv_device_info info_;
};

std::vector<uint32_t> Schedule(size_t tokens) {
  std::vector<uint32_t> schedule;
  while (tokens > 2 * kKeep) {
    schedule.push_back(static_cast<uint32_t>(tokens / 2));
    tokens -= tokens / 2;
  }
  if (tokens > kKeep) schedule.push_back(static_cast<uint32_t>(tokens - kKeep));
  return schedule;
}

// Different tensors of one shape, of video-like tokens. One segment is made; the others are turned
// copies of it, so that making them takes no minute.
std::vector<Buffer> MakeInputs(const Case& shape, lv_type type, const Stream& stream) {
  const size_t segment_values = shape.tokens * shape.channels;
  const auto bytes =
      lv::Encode(type, inputs::Make("video", shape.tokens, shape.channels, shape.tokens));
  const size_t row_bytes = shape.channels * lv::TypeBytes(type);
  const size_t tensor_bytes = shape.segments * segment_values * lv::TypeBytes(type);
  const size_t count = std::min(kMostInputs, std::max<size_t>(2, kRotatedBytes / tensor_bytes + 1));
  std::vector<Buffer> all;
  std::vector<uint8_t> tensor(tensor_bytes);
  for (size_t i = 0; i < count; ++i) {
    for (size_t segment = 0; segment < shape.segments; ++segment) {
      const size_t turn = (i * shape.segments + segment) * 37 % shape.tokens * row_bytes;
      uint8_t* const to = tensor.data() + segment * bytes.size();
      std::rotate_copy(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(turn), bytes.end(),
                       to);
    }
    all.push_back(Buffer::Of(std::span<const uint8_t>(tensor), stream));
  }
  return all;
}

// Read and written bytes a second.
double CopyBandwidth(const Stream& stream, int rounds, const Output& output) {
  constexpr size_t kBytes = size_t{256} << 20;
  const Buffer from(kBytes);
  const Buffer to(kBytes);
  LV_NEED(lv_memset(lv::device, from.get(), 1, kBytes, stream.get()));
  const Timing time = Time(stream, std::min(rounds, 30), [&](size_t) {
    LV_NEED(lv_copy_on_device(lv::device, to.get(), from.get(), kBytes, stream.get()));
  });
  output.Line("copy on the device", "copy", std::min(rounds, 30), time, 2.0 * kBytes, 0);
  return 2.0 * kBytes / time.median * 1e6;
}

void Bench(const Case& shape, lv_type type, int rounds, double copy_bandwidth, const Stream& stream,
           const Output& output) {
  const std::string name = Name(shape, type);
  const std::vector<Buffer> tokens = MakeInputs(shape, type, stream);
  const auto schedule = Schedule(shape.tokens);
  const size_t kept = lv_kept_tokens(shape.tokens, 0, schedule.data(), schedule.size());
  const size_t rows = shape.segments * shape.tokens;
  const size_t dims = shape.channels / kHeads;
  const double read = static_cast<double>(tokens.front().bytes());
  const Buffer out(shape.segments * kept * shape.channels * lv::TypeBytes(type));
  const Buffer out_sizes(shape.segments * kept * sizeof(float));
  const Buffer assignment(rows * sizeof(int32_t));
  const Buffer report(sizeof(lv_report));
  const double written = static_cast<double>(out.bytes());

  lv_merge_tokens_args merge = {};
  merge.device = lv::device;
  merge.type = type;
  merge.tokens = tokens.front().get();
  merge.segments = shape.segments;
  merge.tokens_per_segment = shape.tokens;
  merge.channels = shape.channels;
  merge.heads = kHeads;
  merge.schedule = schedule.data();
  merge.levels = schedule.size();
  merge.out_tokens = out.get();
  merge.out_sizes = out_sizes.get<float>();
  merge.out_assignment = assignment.get<int32_t>();
  merge.report = report.get<lv_report>();
  size_t merge_bytes = 0;
  LV_NEED(lv_merge_tokens(&merge, nullptr, &merge_bytes, stream.get()));
  const Buffer merge_workspace(merge_bytes);
  const double floor = 2 * read / copy_bandwidth * 1e6;
  output.Line(
      name, "merge_tokens", rounds,
      Time(stream, rounds,
           [&](size_t i) {
             merge.tokens = tokens[i % tokens.size()].get();
             LV_NEED(lv_merge_tokens(&merge, merge_workspace.get(), &merge_bytes, stream.get()));
           }),
      2 * read + written, floor);

  const Buffer metric(rows * dims * sizeof(float));
  lv_token_metric_args of_metric = {
      lv::device,     type,   tokens.front().get(), rows,
      shape.channels, kHeads, metric.get<float>(),  report.get<lv_report>()};
  output.Line(name, "token_metric", rounds,
              Time(stream, rounds,
                   [&](size_t i) {
                     of_metric.tokens = tokens[i % tokens.size()].get();
                     LV_NEED(lv_token_metric(&of_metric, stream.get()));
                   }),
              read + static_cast<double>(metric.bytes()), 0);

  lv_merge_by_assignment_args means = {};
  means.device = lv::device;
  means.type = type;
  means.assignment = assignment.get<int32_t>();  // what merge_tokens has left
  means.batch = shape.segments;
  means.num_rows = shape.tokens;
  means.width = shape.channels;
  means.slots = kept;
  means.out = out.get();
  means.report = report.get<lv_report>();
  size_t means_bytes = 0;
  LV_NEED(lv_merge_by_assignment(&means, nullptr, &means_bytes, stream.get()));
  const Buffer means_workspace(means_bytes);
  output.Line(name, "means", rounds,
              Time(stream, rounds,
                   [&](size_t i) {
                     means.rows = tokens[i % tokens.size()].get();
                     LV_NEED(lv_merge_by_assignment(&means, means_workspace.get(), &means_bytes,
                                                    stream.get()));
                   }),
              read + written, 0);

  lv_bipartite_soft_matching_args match = {};
  match.device = lv::device;
  match.type = LV_FLOAT32;
  match.metric = metric.get();
  match.batch = shape.segments;
  match.tokens = shape.tokens;
  match.dims = dims;
  match.r = shape.tokens / 2;
  const Buffer indices(rows * 2 * sizeof(int32_t));
  const Buffer places(rows * sizeof(int32_t));
  const size_t half = shape.segments * ((shape.tokens + 1) / 2);
  match.out_unmerged = indices.get<int32_t>() + 2 * half;
  match.out_source = indices.get<int32_t>();
  match.out_destination = indices.get<int32_t>() + half;
  match.out_assignment = places.get<int32_t>();
  match.report = report.get<lv_report>();
  size_t match_bytes = 0;
  LV_NEED(lv_bipartite_soft_matching(&match, nullptr, &match_bytes, stream.get()));
  const Buffer match_workspace(match_bytes);
  output.Line(name, "matching", rounds,
              Time(stream, rounds,
                   [&](size_t) {
                     LV_NEED(lv_bipartite_soft_matching(&match, match_workspace.get(), &match_bytes,
                                                        stream.get()));
                   }),
              static_cast<double>(metric.bytes()), 0);
}

void BenchPool(lv_type type, int rounds, const Stream& stream, const Output& output) {
  const Case shape = {100, 5, 1024};
  const std::vector<Buffer> cls = MakeInputs(shape, type, stream);
  const Buffer out(shape.tokens * shape.channels * lv::TypeBytes(type));
  const Buffer report(sizeof(lv_report));
  lv_pool_cls_tokens_args args = {
      lv::device,   type,           cls.front().get(), shape.segments,
      shape.tokens, shape.channels, out.get(),         report.get<lv_report>()};
  const std::string name = Name(shape, type);
  output.Line(name, "pool_cls", rounds,
              Time(stream, rounds,
                   [&](size_t i) {
                     args.cls = cls[i % cls.size()].get();
                     LV_NEED(lv_pool_cls_tokens(&args, stream.get()));
                   }),
              static_cast<double>(cls.front().bytes() + out.bytes()), 0);
}

// Reducers and their parts on a video of 32 frames, a quarter of its tokens kept.
class ReducerBench {
 public:
  ReducerBench(lv_type type, int rounds, double copy_bandwidth, const Stream& stream,
               const Output& output)
      : type_(type),
        rounds_(rounds),
        copy_bandwidth_(copy_bandwidth),
        stream_(stream),
        output_(output),
        tokens_(MakeInputs(kVideo, type, stream)),
        out_(tokens_.front().bytes()),
        indices_(kRows * sizeof(int32_t)),
        more_indices_(kRows * sizeof(int32_t)),
        floats_(kRows * sizeof(float)),
        more_floats_(kRows * sizeof(float)),
        report_(sizeof(lv_report)) {}

  void Run() const {
    const auto cosines = floats_.get<float>();
    const auto indices = indices_.get<int32_t>();
    lv_temporal_similarity_args temporal = {};
    SetVideo(temporal);
    temporal.out_cosines = cosines;
    temporal.out_matches = indices;
    Line("same_place", temporal, lv_temporal_similarity, 1);
    temporal.best = 1;
    Line("best_match", temporal, lv_temporal_similarity, 1);

    lv_evs_args evs = {};
    SetVideo(evs);
    evs.total = kKept;
    evs.out_tokens = out_.get();
    evs.out_indices = indices;
    Line("evs", evs, lv_evs, 1.5);

    lv_v_cast_args cast = {};
    SetVideo(cast);
    cast.total = kKept;
    cast.least = 1;
    cast.temperature = 0.7;
    cast.out_tokens = out_.get();
    cast.out_indices = indices;
    Line("v_cast", cast, lv_v_cast, 2.5);

    lv_vid_com2_args com = {};
    SetVideo(com);
    com.ratio = 0.25;
    com.out_tokens = out_.get();
    com.out_indices = indices;
    com.out_count = more_indices_.get<int32_t>();
    Line("vid_com2", com, lv_vid_com2, 2.5);

    const uint32_t halves[] = {kVideo.tokens / 2, kVideo.tokens / 4};
    lv_aim_args aim = {};
    SetVideo(aim);
    aim.schedule = halves;
    aim.steps = 2;
    aim.out_tokens = out_.get();
    aim.out_indices = indices;
    aim.out_sizes = more_floats_.get<float>();
    Line("aim", aim, lv_aim, 3.75);

    lv_flash_vid_args flash = {};
    SetVideo(flash);
    flash.budget = kVideo.tokens / 4;
    flash.picked = kVideo.tokens / 6;
    flash.temporal_threshold = 0.8f;
    flash.segment_threshold = 0.9f;
    flash.segments = 8;
    flash.out_tokens = out_.get();
    flash.out_indices = indices;
    flash.out_sizes = more_floats_.get<float>();
    flash.out_starts = more_indices_.get<int32_t>();
    flash.out_counts = more_indices_.get<int32_t>() + kVideo.segments;
    Line("flash_vid", flash, lv_flash_vid, 5);

    std::vector<int32_t> anchors;
    for (size_t i = 0; i < kRows; i += 8) anchors.push_back(static_cast<int32_t>(i));
    const Buffer on_device = Buffer::Of(std::span<const int32_t>(anchors), stream_);
    lv_assign_to_anchors_args assign = {};
    assign.tokens_in = kRows;
    assign.channels = kVideo.channels;
    assign.anchors = on_device.get<int32_t>();
    assign.count = anchors.size();
    assign.beta = 0.6;
    assign.out_assignment = indices;
    assign.out_cosines = cosines;
    assign.out_sizes = more_floats_.get<float>();
    assign.out_tokens = out_.get();
    Line("anchors", assign, lv_assign_to_anchors, 2);

    lv_density_peaks_args peaks = {};
    SetEntries(peaks);
    peaks.neighbours = 5;
    peaks.clusters = kVideo.tokens / 10;
    peaks.out_densities = cosines;
    peaks.out_distances = more_floats_.get<float>();
    peaks.out_centres = indices;
    peaks.out_clusters = more_indices_.get<int32_t>();
    Line("density_peaks", peaks, lv_density_peaks, 1);

    lv_select_diverse_args diverse = {};
    SetEntries(diverse);
    diverse.count = kVideo.tokens / 10;
    diverse.out_picked = indices;
    Line("select_diverse", diverse, lv_select_diverse, 1);
  }

 private:
  static constexpr Case kVideo = {32, 196, 3584};
  static constexpr size_t kRows = kVideo.segments * kVideo.tokens;
  static constexpr size_t kKept = kRows / 4;

  template <typename Args>
  static void SetVideo(Args& args) {
    args.frames = kVideo.segments;
    args.patches = kVideo.tokens;
    args.channels = kVideo.channels;
  }
  template <typename Args>
  static void SetEntries(Args& args) {
    args.batch = kVideo.segments;
    args.tokens_of_entry = kVideo.tokens;
    args.channels = kVideo.channels;
  }

  // `reads`: how often the operation reads, or writes, as much as the tokens are, at least.
  template <typename Args, typename Function>
  void Line(const char* operation, Args& args, Function function, double reads) const {
    args.device = lv::device;
    args.type = type_;
    args.report = report_.get<lv_report>();
    size_t bytes = 0;
    LV_NEED(function(&args, nullptr, &bytes, stream_.get()));
    const Buffer workspace(bytes);
    const Timing time = Time(stream_, rounds_, [&](size_t i) {
      args.tokens = tokens_[i % tokens_.size()].get();
      LV_NEED(function(&args, workspace.get(), &bytes, stream_.get()));
    });
    const double read = static_cast<double>(tokens_.front().bytes());
    output_.Line(Name(kVideo, type_), operation, rounds_, time, reads * read,
                 2 * read / copy_bandwidth_ * 1e6);
  }

  lv_type type_;
  int rounds_;
  double copy_bandwidth_;
  const Stream& stream_;
  const Output& output_;
  std::vector<Buffer> tokens_;
  Buffer out_, indices_, more_indices_, floats_, more_floats_, report_;
};

}  // namespace

int main(int count, char** arguments) {
  bool json = false;
  int rounds = 100;
  std::string wanted;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--json") {
      json = true;
    } else if (argument == "--device" && i + 1 < count) {
      lv::device = std::atoi(arguments[++i]);
    } else if (argument == "--rounds" && i + 1 < count) {
      rounds = std::max(1, std::atoi(arguments[++i]));
    } else if (argument == "--case" && i + 1 < count) {
      wanted = arguments[++i];
    } else {
      std::fprintf(stderr,
                   "usage: cuda_bench [--device N] [--rounds N] [--case SUBSTRING] [--json]\n");
      return 2;
    }
  }
  int32_t devices = 0;
  lv_device_info info;
  if (lv_device_count(&devices) != LV_OK || lv_get_device_info(lv::device, &info) != LV_OK) {
    std::fprintf(stderr, "No device: %s\n", lv_last_error());
    return 2;
  }
  const Output output(json, info);
  const Stream stream;
  const double copy_bandwidth = CopyBandwidth(stream, rounds, output);
  for (const Case& shape : kCases) {
    for (const lv_type type : {LV_FLOAT16, LV_FLOAT32}) {
      const std::string name = Name(shape, type);
      if (name.find(wanted) == std::string::npos) continue;
      Bench(shape, type, rounds, copy_bandwidth, stream, output);
    }
  }
  for (const lv_type type : {LV_FLOAT16, LV_FLOAT32}) {
    const std::string name = std::string("reducers ") + lv::TypeName(type);
    if (name.find(wanted) == std::string::npos) continue;
    ReducerBench(type, rounds, copy_bandwidth, stream, output).Run();
  }
  if (wanted.empty()) {
    for (const lv_type type : {LV_FLOAT16, LV_FLOAT32}) BenchPool(type, rounds, stream, output);
  }
  return 0;
}
