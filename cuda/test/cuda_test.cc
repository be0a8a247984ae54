// Compares liblongvlm_cuda with the definition in plain loops (reference.h), with the CPU's
// implementation, and with what the reference implementation computed.
//
//   cuda_test [--quick] [--golden DIR] [--only TEST] [--part I/N] [--repeat N] [--poison] [--device
//   N]
//
// One line a group of cases; exit code 1 on any mismatch, 2 without a device. --only runs one of
// the tests that main() lists, --part every N-th of them from I on; --repeat merges each case N
// times, which must give the same bytes;
// --poison fills device memory with NaN before it is used.
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "checks.h"
#include "cpu_core.h"
#include "device.h"
#include "inputs.h"
#include "reducer_tests.h"
#include "reference.h"

namespace {

using checks::Group;
using lv::Buffer;
using lv::Stream;

int repeats = 1;

constexpr lv_type kTypes[] = {LV_FLOAT32, LV_FLOAT16, LV_BFLOAT16};

std::vector<uint32_t> HalvingSchedule(size_t tokens, size_t keep) {
  std::vector<uint32_t> schedule;
  while (tokens > 2 * keep) {
    schedule.push_back(static_cast<uint32_t>(tokens / 2));
    tokens -= tokens / 2;
  }
  if (tokens > keep) schedule.push_back(static_cast<uint32_t>(tokens - keep));
  return schedule;
}

template <typename T>
std::span<const T> View(const std::vector<T>& values) {
  return values;
}

lv_report ReadReport(const Buffer& report, const Stream& stream) {
  return report.Read<lv_report>(stream).front();
}

struct MergeCase {
  lv_type type = LV_FLOAT32;
  size_t segments = 1, tokens = 1, channels = 4, heads = 1, protect = 0;
  std::vector<uint32_t> schedule;
  std::vector<float> values;  // [segments, tokens, channels]
  std::vector<float> sizes;   // [segments, tokens], or empty
  size_t offset = 0;          // values by which the tensors miss their alignment

  std::string Name() const {
    return "[" + std::to_string(segments) + ", " + std::to_string(tokens) + ", " +
           std::to_string(channels) + "] " + lv::TypeName(type) + " heads " +
           std::to_string(heads) + " protect " + std::to_string(protect) + " levels " +
           std::to_string(schedule.size()) + (sizes.empty() ? "" : " sizes");
  }
};

struct MergeResult {
  std::vector<uint8_t> bytes;
  std::vector<float> tokens;
  std::vector<float> sizes;
  std::vector<int32_t> assignment;
  lv_report report;
};

MergeResult RunMergeOnce(const MergeCase& test, const Stream& stream) {
  const std::vector<uint8_t> bytes = lv::Encode(test.type, test.values);
  const size_t shift = test.offset * lv::TypeBytes(test.type);
  const size_t kept =
      lv_kept_tokens(test.tokens, test.protect, test.schedule.data(), test.schedule.size());
  std::vector<uint8_t> shifted(shift);
  shifted.insert(shifted.end(), bytes.begin(), bytes.end());
  const Buffer tokens = Buffer::Of(View(shifted), stream);
  const Buffer sizes = Buffer::Of(View(test.sizes), stream);
  const Buffer out(shift + test.segments * kept * test.channels * lv::TypeBytes(test.type));
  const Buffer out_sizes(test.segments * kept * sizeof(float));
  const Buffer assignment(test.segments * test.tokens * sizeof(int32_t));
  const Buffer report(sizeof(lv_report));
  lv_merge_tokens_args args = {};
  args.device = lv::device;
  args.type = test.type;
  args.tokens = tokens.get<char>() + shift;
  args.sizes = sizes.get<float>();
  args.segments = test.segments;
  args.tokens_per_segment = test.tokens;
  args.channels = test.channels;
  args.heads = test.heads;
  args.protected_tokens = test.protect;
  args.schedule = test.schedule.data();
  args.levels = test.schedule.size();
  args.out_tokens = out.get<char>() + shift;
  args.out_sizes = out_sizes.get<float>();
  args.out_assignment = assignment.get<int32_t>();
  args.report = report.get<lv_report>();
  size_t workspace_bytes = 0;
  LV_NEED(lv_merge_tokens(&args, nullptr, &workspace_bytes, stream.get()));
  const Buffer workspace(workspace_bytes);
  LV_NEED(lv_merge_tokens(&args, workspace.get(), &workspace_bytes, stream.get()));
  MergeResult result;
  result.bytes = out.Read<uint8_t>(stream);
  result.bytes.erase(result.bytes.begin(), result.bytes.begin() + static_cast<ptrdiff_t>(shift));
  result.tokens = lv::Decode(test.type, result.bytes);
  result.sizes = out_sizes.Read<float>(stream);
  result.assignment = assignment.Read<int32_t>(stream);
  result.report = ReadReport(report, stream);
  return result;
}

MergeResult RunMerge(Group& group, const MergeCase& test, const Stream& stream) {
  MergeResult first = RunMergeOnce(test, stream);
  for (int i = 1; i < repeats; ++i) {
    const MergeResult next = RunMergeOnce(test, stream);
    group.Same("bytes of a repeat", View(next.bytes), View(first.bytes));
    group.Same("assignment of a repeat", View(next.assignment), View(first.assignment));
    group.Same("sizes of a repeat", View(next.sizes), View(first.sizes));
  }
  return first;
}

// The CPU's implementation knows no bfloat16; what is rounded to it is float32 all the same.
void CompareWithCpu(Group& group, const MergeCase& test, const std::vector<float>& rounded,
                    const MergeResult& got) {
  const bool half = test.type == LV_FLOAT16;
  const std::vector<uint8_t> bytes =
      half ? lv::Encode(LV_FLOAT16, rounded) : lv::Encode(LV_FLOAT32, rounded);
  std::vector<uint8_t> tokens(got.tokens.size() * (half ? 2 : 4));
  std::vector<float> sizes(got.sizes.size());
  std::vector<int32_t> assignment(got.assignment.size());
  cpu_core::Run({bytes.data(), half, test.segments, test.tokens, test.channels, test.heads,
                 test.protect, test.schedule, test.sizes.empty() ? nullptr : test.sizes.data(),
                 tokens.data(), sizes.data(), assignment.data()});
  group.Same("assignment against the CPU's", View(got.assignment), View(assignment));
  group.Same("sizes against the CPU's", View(got.sizes), View(sizes));
  const std::vector<float> decoded = lv::Decode(half ? LV_FLOAT16 : LV_FLOAT32, tokens);
  group.Close("tokens against the CPU's", test.type, got.tokens,
              std::vector<double>(decoded.begin(), decoded.end()));
}

void CheckMerge(Group& group, const MergeCase& test, const Stream& stream) {
  group.Begin(test.Name());
  const MergeResult got = RunMerge(group, test, stream);
  group.Expect(got.report.not_finite == LV_NOTHING_FOUND, "reports value %llu",
               static_cast<unsigned long long>(got.report.not_finite));
  const std::vector<float> rounded = lv::Decode(test.type, lv::Encode(test.type, test.values));
  const size_t dims = test.channels / test.heads;
  std::vector<int32_t> assignment;
  std::vector<double> tokens;
  std::vector<float> sizes;
  for (size_t segment = 0; segment < test.segments; ++segment) {
    const float* const values = rounded.data() + segment * test.tokens * test.channels;
    const float* const of_sizes =
        test.sizes.empty() ? nullptr : test.sizes.data() + segment * test.tokens;
    std::vector<std::vector<float>> metric;
    for (size_t token = 0; token < test.tokens; ++token) {
      metric.push_back(reference::Metric(values + token * test.channels, test.heads, dims));
    }
    reference::Matching matching(std::move(metric), of_sizes, test.protect);
    for (const uint32_t wanted : test.schedule) {
      const size_t r = std::min<size_t>(wanted, matching.max_r());
      if (r == 0) continue;
      matching.FindMatches();
      matching.Merge(r);
    }
    const auto merged =
        reference::MergeByAssignment(values, of_sizes, matching.assignment().data(), test.tokens,
                                     test.channels, matching.tokens(), true);
    assignment.insert(assignment.end(), matching.assignment().begin(), matching.assignment().end());
    tokens.insert(tokens.end(), merged.values.begin(), merged.values.end());
    sizes.insert(sizes.end(), merged.weights.begin(), merged.weights.end());
  }
  group.Same("assignment", View(got.assignment), View(assignment));
  group.Same("sizes", View(got.sizes), View(sizes));
  group.Close("tokens", test.type, got.tokens, tokens);
  CompareWithCpu(group, test, rounded, got);
}

MergeCase MakeMerge(const std::string& kind, lv_type type, size_t segments, size_t tokens,
                    size_t channels, size_t heads, std::vector<uint32_t> schedule, uint64_t seed) {
  MergeCase test;
  test.type = type;
  test.segments = segments;
  test.tokens = tokens;
  test.channels = channels;
  test.heads = heads;
  test.schedule = std::move(schedule);
  for (size_t segment = 0; segment < segments; ++segment) {
    const auto values = inputs::Make(kind, tokens, channels, seed + segment);
    test.values.insert(test.values.end(), values.begin(), values.end());
  }
  return test;
}

std::vector<float> SomeSizes(size_t count, bool whole) {
  inputs::Random random(77);
  std::vector<float> sizes;
  for (size_t i = 0; i < count; ++i) {
    const float fraction = whole ? 0 : static_cast<float>(random.Below(1000)) / 777;
    sizes.push_back(static_cast<float>(1 + random.Below(9)) + fraction);
  }
  return sizes;
}

void TestGolden(const std::string& folder, const Stream& stream) {
  Group group("golden files of the reference");
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".bin") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    const auto read = [&file](auto& values) {
      file.read(reinterpret_cast<char*>(values.data()),
                static_cast<std::streamsize>(values.size() * sizeof(values[0])));
    };
    std::vector<char> magic(8);
    std::vector<uint64_t> header(6);
    read(magic);
    read(header);
    group.Begin(path.filename().string());
    if (!group.Expect(std::string(magic.begin(), magic.end()) == "LVGOLD01", "is no golden file")) {
      continue;
    }
    MergeCase test;
    test.segments = header[0];
    test.tokens = header[1];
    test.channels = header[2];
    test.heads = header[3];
    test.schedule.resize(header[4]);
    const size_t kept = header[5];
    test.values.resize(test.segments * test.tokens * test.channels);
    std::vector<float> merged(test.segments * kept * test.channels);
    std::vector<float> sizes(test.segments * kept);
    std::vector<int32_t> assignment(test.segments * test.tokens);
    read(test.schedule);
    read(test.values);
    read(merged);
    read(sizes);
    read(assignment);
    if (!group.Expect(static_cast<bool>(file), "is too short")) continue;
    const MergeResult got = RunMerge(group, test, stream);
    group.Same("assignment", View(got.assignment), View(assignment));
    group.Same("sizes", View(got.sizes), View(sizes));
    // The reference rounds to float32 at every level.
    group.Close("tokens", LV_FLOAT32, got.tokens, std::vector<double>(merged.begin(), merged.end()),
                1e-5);
  }
  group.Begin("all of them");
  group.Expect(!files.empty(), "there are none in %s", folder.c_str());
}

void TestKinds(bool quick, const Stream& stream) {
  for (const char* kind : {"random", "video", "constant", "frames repeat", "near ties",
                           "few values", "zero rows", "all zero", "wide range"}) {
    Group group(std::string("mergeTokens, ") + kind);
    for (const lv_type type : kTypes) {
      CheckMerge(group, MakeMerge(kind, type, 2, 320, 64, 4, HalvingSchedule(320, 10), 1), stream);
      CheckMerge(group, MakeMerge(kind, type, 3, 51, 48, 3, {25, 13, 6, 2}, 2), stream);
      CheckMerge(group, MakeMerge(kind, type, 1, 200, 96, 2, {30, 90, 1}, 3), stream);
    }
    if (quick) continue;
    CheckMerge(group, MakeMerge(kind, LV_FLOAT16, 2, 2560, 1024, 16, HalvingSchedule(2560, 30), 4),
               stream);
    CheckMerge(group, MakeMerge(kind, LV_FLOAT32, 1, 2560, 128, 16, HalvingSchedule(2560, 30), 5),
               stream);
  }
}

void TestTokenCounts(bool quick, const Stream& stream) {
  Group group("mergeTokens, numbers of tokens");
  // Around the sides of tiles (64, 128), the small levels (165, 192), blocks and windows.
  std::vector<size_t> counts = {1,   2,   3,   4,   5,   31,  32,  33,   63,   64,  65,  127,
                                128, 129, 130, 163, 164, 165, 166, 167,  191,  192, 193, 255,
                                256, 257, 258, 511, 512, 513, 640, 1023, 1025, 1300};
  for (const size_t tokens : counts) {
    CheckMerge(group,
               MakeMerge("video", LV_FLOAT32, 2, tokens, 32, 2,
                         HalvingSchedule(tokens, std::min<size_t>(tokens, 7)), tokens),
               stream);
    CheckMerge(
        group,
        MakeMerge("few values", LV_FLOAT16, 1, tokens, 64, 1,
                  {static_cast<uint32_t>(tokens / 3), static_cast<uint32_t>(tokens / 3)}, tokens),
        stream);
  }
  // More tokens go to one slot than a block's list holds.
  CheckMerge(group, MakeMerge("constant", LV_FLOAT32, 1, 4500, 8, 2, {2250, 100}, 1), stream);
  for (const size_t tokens : {size_t{2560}, size_t{3001}, size_t{6000}}) {
    if (quick && tokens != 3001) continue;
    CheckMerge(group,
               MakeMerge("video", LV_FLOAT32, 1, tokens, 16, 2, HalvingSchedule(tokens, 30), 9),
               stream);
  }
}

void TestShapes(const Stream& stream) {
  Group group("mergeTokens, dims, heads, alignment");
  const struct {
    size_t channels, heads;
  } shapes[] = {{1, 1},   {2, 2},   {3, 1},     {5, 5},   {7, 1},   {12, 3},  {17, 1},  {30, 2},
                {63, 1},  {64, 1},  {65, 1},    {66, 2},  {100, 4}, {128, 1}, {130, 1}, {256, 1},
                {300, 1}, {520, 2}, {1000, 10}, {48, 16}, {24, 24}, {272, 17}};
  for (const auto& shape : shapes) {
    for (const lv_type type : kTypes) {
      MergeCase test = MakeMerge("video", type, 2, 300, shape.channels, shape.heads,
                                 {100, 50, 75, 20, 10}, shape.channels);
      CheckMerge(group, test, stream);
      test.offset = 1;
      CheckMerge(group, test, stream);
    }
  }
}

void TestProtectAndSizes(const Stream& stream) {
  Group group("mergeTokens, protected tokens and sizes");
  for (const size_t protect : {0u, 1u, 2u, 5u, 64u, 199u, 200u, 297u, 298u, 299u, 300u}) {
    for (const char* kind : {"video", "constant", "few values", "wide values"}) {
      MergeCase test = MakeMerge(kind, LV_FLOAT32, 2, 300, 32, 2, {120, 60, 30, 15}, protect);
      test.protect = protect;
      CheckMerge(group, test, stream);
      test.sizes = SomeSizes(600, true);
      CheckMerge(group, test, stream);
      test.sizes = SomeSizes(600, false);
      CheckMerge(group, test, stream);
      test.tokens = 100;
      test.protect = std::min<size_t>(protect, 100);
      test.segments = 6;
      CheckMerge(group, test, stream);
    }
  }
}

void TestSchedules(const Stream& stream) {
  Group group("mergeTokens, schedules and batches");
  const std::vector<std::vector<uint32_t>> schedules = {{},
                                                        {0},
                                                        {0, 0, 5, 0},
                                                        {1000, 1000, 1000},
                                                        std::vector<uint32_t>(60, 1),
                                                        std::vector<uint32_t>(60, 3),
                                                        {1},
                                                        {149},
                                                        {150}};
  for (const auto& schedule : schedules) {
    for (const size_t tokens : {size_t{300}, size_t{90}}) {
      for (const char* kind : {"video", "constant"}) {
        CheckMerge(group, MakeMerge(kind, LV_FLOAT32, 2, tokens, 24, 3, schedule, 4), stream);
      }
    }
  }
  CheckMerge(group, MakeMerge("random", LV_FLOAT16, 700, 12, 8, 1, {6, 3}, 5), stream);
  CheckMerge(group, MakeMerge("random", LV_FLOAT32, 40, 200, 16, 1, {100, 50}, 6), stream);
}

void CheckMatching(Group& group, const MergeCase& data, size_t protect, size_t r,
                   const Stream& stream) {
  const size_t batch = data.segments, tokens = data.tokens, dims = data.channels;
  group.Begin(data.Name() + " protect " + std::to_string(protect) + " r " + std::to_string(r));
  const size_t num_a = (tokens - protect + 1 - protect % 2) / 2;
  const Buffer metric = Buffer::Of(View(lv::Encode(data.type, data.values)), stream);
  const Buffer unmerged(batch * (num_a - r) * 4);
  const Buffer source(batch * r * 4);
  const Buffer destination(batch * r * 4);
  const Buffer assignment(batch * tokens * 4);
  const Buffer report(sizeof(lv_report));
  lv_bipartite_soft_matching_args args = {};
  args.device = lv::device;
  args.type = data.type;
  args.metric = metric.get();
  args.batch = batch;
  args.tokens = tokens;
  args.dims = dims;
  args.r = r;
  args.protected_tokens = protect;
  args.out_unmerged = unmerged.get<int32_t>();
  args.out_source = source.get<int32_t>();
  args.out_destination = destination.get<int32_t>();
  args.out_assignment = assignment.get<int32_t>();
  args.report = report.get<lv_report>();
  size_t bytes = 0;
  LV_NEED(lv_bipartite_soft_matching(&args, nullptr, &bytes, stream.get()));
  const Buffer workspace(bytes);
  LV_NEED(lv_bipartite_soft_matching(&args, workspace.get(), &bytes, stream.get()));

  const std::vector<float> rounded = lv::Decode(data.type, lv::Encode(data.type, data.values));
  std::vector<int32_t> unmerged_wanted, source_wanted, destination_wanted, places;
  for (size_t entry = 0; entry < batch; ++entry) {
    std::vector<std::vector<float>> rows;
    for (size_t token = 0; token < tokens; ++token) {
      rows.push_back(reference::Metric(&rounded[(entry * tokens + token) * dims], 1, dims));
    }
    reference::Matching matching(std::move(rows), nullptr, protect);
    const auto token_of = [&](size_t row) {
      return static_cast<int32_t>(matching.first_a() + 2 * row);
    };
    if (r == 0) {
      for (size_t row = 0; row < num_a; ++row) unmerged_wanted.push_back(token_of(row));
    } else {
      matching.FindMatches();
      for (size_t i = 0; i < num_a; ++i) {
        const uint32_t row = matching.order()[i];
        if (i >= r) {
          unmerged_wanted.push_back(token_of(row));
        } else {
          source_wanted.push_back(token_of(row));
          destination_wanted.push_back(
              static_cast<int32_t>(matching.first_b() + 2 * matching.matches()[row].row_of_b));
        }
      }
      matching.Merge(r);
    }
    places.insert(places.end(), matching.assignment().begin(), matching.assignment().end());
  }
  group.Same("unmerged", View(unmerged.Read<int32_t>(stream)), View(unmerged_wanted));
  group.Same("source", View(source.Read<int32_t>(stream)), View(source_wanted));
  group.Same("destination", View(destination.Read<int32_t>(stream)), View(destination_wanted));
  group.Same("assignment", View(assignment.Read<int32_t>(stream)), View(places));
}

void TestMatching(const Stream& stream) {
  for (const char* kind : {"video", "random", "constant", "few values", "zero rows", "near ties"}) {
    Group group(std::string("bipartiteSoftMatching, ") + kind);
    for (const size_t tokens : {1u, 2u, 3u, 9u, 64u, 197u, 300u}) {
      for (const size_t protect : {0u, 1u, 4u}) {
        if (protect > tokens) continue;
        const size_t most = (tokens - protect) / 2;
        for (const size_t r : {size_t{0}, most / 2, most}) {
          const lv_type type = kTypes[(tokens + r) % 3];
          CheckMatching(group, MakeMerge(kind, type, 2, tokens, 20 + tokens % 3, 1, {}, tokens),
                        protect, r, stream);
        }
      }
    }
  }
}

// What a wrong margin, a wrong choice among ties or a list that is full would not survive.
void TestScreening(bool quick, const Stream& stream) {
  for (const char* kind : {"video", "one ulp", "groups", "constant", "zero rows"}) {
    Group group(std::string("screening, ") + kind);
    for (const size_t dims : {1u, 5u, 16u, 63u, 64u, 100u, 130u}) {
      // Small slabs, and parts of B of one tile or a few.
      for (const size_t tokens : {67u, 390u}) {
        CheckMatching(group, MakeMerge(kind, LV_FLOAT32, 1, tokens, dims, 1, {}, dims), dims % 5,
                      tokens / 3, stream);
      }
    }
    // Large slabs; and parts of B of many tiles.
    const size_t tokens = quick ? 700 : 1400;
    CheckMatching(group, MakeMerge(kind, LV_FLOAT32, quick ? 2 : 5, tokens, 64, 1, {}, 1), 1,
                  tokens / 3, stream);
    CheckMatching(group, MakeMerge(kind, LV_FLOAT32, quick ? 16 : 300, 300, 24, 1, {}, 1), 0, 150,
                  stream);
  }
  Group group("screening, rounding");
  for (const size_t tokens : {10u, 300u, 700u}) {
    for (const size_t dims : {64u, 100u, 128u}) {
      CheckMatching(group, MakeMerge("rounding", LV_FLOAT32, 2, tokens, dims, 1, {}, dims), 0,
                    tokens / 2, stream);
    }
  }
}

void TestMergeByAssignment(const Stream& stream) {
  Group group("mergeByAssignment");
  inputs::Random random(3);
  for (const size_t rows : {1u, 5u, 63u, 64u, 65u, 128u, 700u}) {
    for (const size_t slots : {1u, 2u, 30u, 300u}) {
      for (const size_t width : {1u, 8u, 33u, 264u, 2056u}) {
        const lv_type type = kTypes[random.Below(3)];
        const bool weighted = random.Below(2) == 0;
        const bool divide = random.Below(2) == 0;
        constexpr size_t kBatch = 2;
        const MergeCase data = MakeMerge("random", type, kBatch, rows, width, 1, {}, rows);
        group.Begin(data.Name() + " slots " + std::to_string(slots));
        std::vector<int32_t> assignment;
        // Half of the rows in one slot: it spans windows.
        for (size_t i = 0; i < kBatch * rows; ++i) {
          assignment.push_back(
              static_cast<int32_t>(random.Below(2) == 0 ? slots / 2 : random.Below(slots)));
        }
        const std::vector<float> weights = SomeSizes(kBatch * rows, false);
        const Buffer in = Buffer::Of(View(lv::Encode(type, data.values)), stream);
        const Buffer places = Buffer::Of(View(assignment), stream);
        const Buffer of_weights = Buffer::Of(View(weights), stream);
        const Buffer out(kBatch * slots * width * lv::TypeBytes(type));
        const Buffer sums(kBatch * slots * 4);
        const Buffer report(sizeof(lv_report));
        lv_merge_by_assignment_args args = {};
        args.device = lv::device;
        args.type = type;
        args.rows = in.get();
        args.assignment = places.get<int32_t>();
        args.weights = weighted ? of_weights.get<float>() : nullptr;
        args.batch = kBatch;
        args.num_rows = rows;
        args.width = width;
        args.slots = slots;
        args.mode = divide ? LV_MERGE_MEAN : LV_MERGE_SUM;
        args.out = out.get();
        args.out_weights = sums.get<float>();
        args.report = report.get<lv_report>();
        size_t bytes = 0;
        LV_NEED(lv_merge_by_assignment(&args, nullptr, &bytes, stream.get()));
        const Buffer workspace(bytes);
        LV_NEED(lv_merge_by_assignment(&args, workspace.get(), &bytes, stream.get()));
        const std::vector<float> rounded = lv::Decode(type, lv::Encode(type, data.values));
        std::vector<double> wanted;
        std::vector<float> wanted_sums;
        for (size_t entry = 0; entry < kBatch; ++entry) {
          const auto merged = reference::MergeByAssignment(
              &rounded[entry * rows * width], weighted ? &weights[entry * rows] : nullptr,
              &assignment[entry * rows], rows, width, slots, divide);
          wanted.insert(wanted.end(), merged.values.begin(), merged.values.end());
          wanted_sums.insert(wanted_sums.end(), merged.weights.begin(), merged.weights.end());
        }
        group.Close("out", type, lv::Decode(type, out.Read<uint8_t>(stream)), wanted);
        group.Same("sums of weights", View(sums.Read<float>(stream)), View(wanted_sums));
        const lv_report found = ReadReport(report, stream);
        group.Expect(
            found.not_finite == LV_NOTHING_FOUND && found.bad_assignment == LV_NOTHING_FOUND,
            "reports what is not there");
      }
    }
  }
}

void TestSpread(const Stream& stream) {
  Group group("spreadByAssignment");
  inputs::Random random(4);
  for (const lv_type type : kTypes) {
    for (const size_t width : {1u, 2u, 3u, 8u, 40u, 1024u}) {
      constexpr size_t kBatch = 2, kRows = 77, kSlots = 9;
      const MergeCase data = MakeMerge("random", type, kBatch, kSlots, width, 1, {}, width);
      group.Begin(data.Name());
      std::vector<int32_t> assignment;
      for (size_t i = 0; i < kBatch * kRows; ++i) {
        assignment.push_back(static_cast<int32_t>(random.Below(kSlots)));
      }
      const std::vector<uint8_t> bytes = lv::Encode(type, data.values);
      const Buffer in = Buffer::Of(View(bytes), stream);
      const Buffer places = Buffer::Of(View(assignment), stream);
      const size_t row_bytes = width * lv::TypeBytes(type);
      const Buffer out(kBatch * kRows * row_bytes);
      const Buffer report(sizeof(lv_report));
      const lv_spread_by_assignment_args args = {
          lv::device, type,   in.get(),  places.get<int32_t>(),  kBatch, kRows,
          width,      kSlots, out.get(), report.get<lv_report>()};
      LV_NEED(lv_spread_by_assignment(&args, stream.get()));
      std::vector<uint8_t> wanted;
      for (size_t row = 0; row < kBatch * kRows; ++row) {
        const size_t slot = row / kRows * kSlots + static_cast<size_t>(assignment[row]);
        const auto from = bytes.begin() + static_cast<ptrdiff_t>(slot * row_bytes);
        wanted.insert(wanted.end(), from, from + static_cast<ptrdiff_t>(row_bytes));
      }
      group.Same("out", View(out.Read<uint8_t>(stream)), View(wanted));
    }
  }
}

void TestPoolAndMetric(const Stream& stream) {
  Group pool("poolClsTokens");
  for (const lv_type type : kTypes) {
    for (const size_t frames : {1u, 7u, 8u, 9u, 100u}) {
      constexpr size_t kLayers = 5, kChannels = 67;
      const MergeCase data = MakeMerge("random", type, frames, kLayers, kChannels, 1, {}, 1);
      pool.Begin(data.Name());
      const Buffer in = Buffer::Of(View(lv::Encode(type, data.values)), stream);
      const Buffer out(kLayers * kChannels * lv::TypeBytes(type));
      const Buffer report(sizeof(lv_report));
      const lv_pool_cls_tokens_args args = {
          lv::device, type,      in.get(),  frames,
          kLayers,    kChannels, out.get(), report.get<lv_report>()};
      LV_NEED(lv_pool_cls_tokens(&args, stream.get()));
      const std::vector<float> rounded = lv::Decode(type, lv::Encode(type, data.values));
      const std::vector<int32_t> zeros(frames, 0);
      const auto wanted = reference::MergeByAssignment(rounded.data(), nullptr, zeros.data(),
                                                       frames, kLayers * kChannels, 1, true);
      // The same additions, and the same two roundings: the bits are equal.
      std::vector<float> once(wanted.values.begin(), wanted.values.end());
      pool.Same("out", View(out.Read<uint8_t>(stream)), View(lv::Encode(type, once)));
    }
  }
  Group metric("tokenMetric");
  constexpr size_t kCancelling = 96;
  for (const lv_type type : kTypes) {
    for (const auto& [channels, heads] : {std::pair<size_t, size_t>{64, 4},
                                          {64, 64},
                                          {33, 3},
                                          {1024, 16},
                                          {40, 1},
                                          {2000, 1},
                                          {272, 17},
                                          {kCancelling * 8, kCancelling}}) {
      constexpr size_t kCount = 70;
      MergeCase data = MakeMerge(type == LV_FLOAT16 ? "wide range" : "wide values", type, 1, kCount,
                                 channels, heads, {}, channels);
      // What is left of the largest float16 values is small ones that a float32 sum would lose.
      for (size_t i = 0; heads == kCancelling && i < data.values.size(); ++i) {
        const size_t head = i % channels / (channels / heads);
        data.values[i] = head < 40 ? 65504.0f : head < 56 ? 0.0625f : -65504.0f;
      }
      metric.Begin(data.Name());
      const size_t dims = channels / heads;
      const Buffer in = Buffer::Of(View(lv::Encode(type, data.values)), stream);
      const Buffer out(kCount * dims * 4);
      const Buffer report(sizeof(lv_report));
      const lv_token_metric_args args = {
          lv::device, type,  in.get(),         kCount,
          channels,   heads, out.get<float>(), report.get<lv_report>()};
      LV_NEED(lv_token_metric(&args, stream.get()));
      const std::vector<float> rounded = lv::Decode(type, lv::Encode(type, data.values));
      std::vector<float> wanted;
      for (size_t token = 0; token < kCount; ++token) {
        const auto row = reference::Metric(&rounded[token * channels], heads, dims);
        wanted.insert(wanted.end(), row.begin(), row.end());
      }
      metric.Same("out", View(out.Read<float>(stream)), View(wanted));
    }
  }
}

void TestReports(const Stream& stream) {
  Group group("reports of NaN, infinity, bad assignments");
  inputs::Random random(5);
  for (const lv_type type : kTypes) {
    for (const size_t heads : {1u, 4u}) {
      for (const size_t levels : {0u, 1u, 3u}) {
        for (int bad = 1; bad <= 3; ++bad) {
          MergeCase test =
              MakeMerge("video", type, 3, 300, 64, heads, std::vector<uint32_t>(levels, 60), 8);
          size_t lowest = test.values.size();
          for (int i = 0; i < bad; ++i) {
            const size_t at = random.Below(test.values.size());
            test.values[at] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY;
            lowest = std::min(lowest, at);
          }
          group.Begin(test.Name());
          const MergeResult got = RunMerge(group, test, stream);
          group.Expect(got.report.not_finite == lowest, "value %llu is reported, not %zu",
                       static_cast<unsigned long long>(got.report.not_finite), lowest);
        }
      }
    }
  }
  // Values whose sum over heads is beyond float32 but whose mean is not.
  MergeCase large = MakeMerge("random", LV_FLOAT32, 1, 40, 64, 4, {20}, 1);
  for (float& value : large.values) value = value < 0 ? -3e38f : 3e38f;
  CheckMerge(group, large, stream);

  group.Begin("assignments outside the slots");
  constexpr size_t kRows = 100, kWidth = 8, kSlots = 4;
  std::vector<float> rows(kRows * kWidth, 1.0f);
  rows[70 * kWidth + 3] = NAN;
  std::vector<int32_t> assignment(kRows, 1);
  assignment[90] = 4;
  assignment[33] = -1;
  assignment[60] = INT32_MAX;
  const Buffer in = Buffer::Of(View(rows), stream);
  const Buffer places = Buffer::Of(View(assignment), stream);
  const Buffer out(kSlots * kWidth * 4);
  const Buffer report(sizeof(lv_report));
  lv_merge_by_assignment_args args = {};
  args.device = lv::device;
  args.rows = in.get();
  args.assignment = places.get<int32_t>();
  args.batch = 1;
  args.num_rows = kRows;
  args.width = kWidth;
  args.slots = kSlots;
  args.out = out.get();
  args.report = report.get<lv_report>();
  size_t bytes = 0;
  LV_NEED(lv_merge_by_assignment(&args, nullptr, &bytes, stream.get()));
  const Buffer workspace(bytes);
  LV_NEED(lv_merge_by_assignment(&args, workspace.get(), &bytes, stream.get()));
  lv_report found = ReadReport(report, stream);
  group.Expect(found.bad_assignment == 33 && found.not_finite == 70 * kWidth + 3,
               "%llu and %llu are reported", static_cast<unsigned long long>(found.bad_assignment),
               static_cast<unsigned long long>(found.not_finite));

  group.Begin("spreading from outside the slots");
  const Buffer spread(kRows * kWidth * 4);
  const lv_spread_by_assignment_args spread_args = {
      lv::device, LV_FLOAT32, in.get(), places.get<int32_t>(), 1,
      kRows,      kWidth,     kSlots,   spread.get(),          report.get<lv_report>()};
  LV_NEED(lv_spread_by_assignment(&spread_args, stream.get()));
  found = ReadReport(report, stream);
  group.Expect(found.bad_assignment == 33, "%llu is reported",
               static_cast<unsigned long long>(found.bad_assignment));
}

void TestErrors(const Stream& stream) {
  Group group("errors");
  lv_merge_tokens_args good = {};
  good.device = lv::device;
  good.segments = good.tokens_per_segment = good.channels = good.heads = 4;
  const auto rejects = [&](const char* what, lv_status status, const char* text, auto change) {
    group.Begin(what);
    lv_merge_tokens_args args = good;
    change(args);
    size_t bytes = 0;
    const lv_status got = lv_merge_tokens(&args, nullptr, &bytes, stream.get());
    group.Expect(got == status, "status %d, not %d", got, status);
    group.Expect(std::string(lv_last_error()).find(text) != std::string::npos, "text '%s'",
                 lv_last_error());
  };
  using Args = lv_merge_tokens_args;
  rejects("type", LV_ERROR_INVALID_ARGUMENT, "received 7", [](Args& a) { a.type = 7; });
  rejects("heads", LV_ERROR_INVALID_ARGUMENT, "for heads but received 3",
          [](Args& a) { a.heads = 3; });
  rejects("no segments", LV_ERROR_INVALID_ARGUMENT, "segments", [](Args& a) { a.segments = 0; });
  rejects("protected", LV_ERROR_INVALID_ARGUMENT, "protected tokens but received 5",
          [](Args& a) { a.protected_tokens = 5; });
  rejects("schedule", LV_ERROR_INVALID_ARGUMENT, "schedule", [](Args& a) { a.levels = 2; });
  rejects("volume", LV_ERROR_INVALID_ARGUMENT, "too large", [](Args& a) {
    a.segments = uint64_t{1} << 30;
    a.channels = uint64_t{1} << 30;
    a.heads = 1;
  });

  group.Begin("workspace");
  size_t bytes = 3;
  const Buffer small(256);
  group.Expect(
      lv_merge_tokens(&good, small.get(), &bytes, stream.get()) == LV_ERROR_INVALID_ARGUMENT,
      "a workspace of 3 bytes is taken");
  group.Begin("device");
  void* pointer = nullptr;
  group.Expect(lv_device_alloc(999, 16, &pointer) == LV_ERROR_NO_DEVICE && pointer == nullptr,
               "device 999 gives memory");
  group.Begin("out of memory");
  group.Expect(lv_device_alloc(lv::device, size_t{1} << 50, &pointer) == LV_ERROR_OUT_OF_MEMORY,
               "a petabyte is given: %s", lv_last_error());
  group.Expect(std::string(lv_last_error()).find("runtime.cu") != std::string::npos, "text '%s'",
               lv_last_error());
  group.Begin("after an error all goes on");
  CheckMerge(group, MakeMerge("video", LV_FLOAT32, 1, 64, 16, 2, {32}, 1), stream);
}

void TestThreads() {
  Group group("threads with streams of their own");
  constexpr size_t kThreads = 4;
  std::vector<MergeCase> tests;
  std::vector<MergeResult> alone(kThreads), together(kThreads);
  for (size_t i = 0; i < kThreads; ++i) {
    tests.push_back(MakeMerge("video", kTypes[i % 3], 2, 300 + i, 32, 2, {150, 75, 37}, i));
    const Stream stream;
    alone[i] = RunMergeOnce(tests[i], stream);
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const Stream stream;
      for (int round = 0; round < 3; ++round) together[i] = RunMergeOnce(tests[i], stream);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < kThreads; ++i) {
    group.Begin(tests[i].Name());
    group.Same("assignment", View(together[i].assignment), View(alone[i].assignment));
    group.Same("bytes", View(together[i].bytes), View(alone[i].bytes));
  }
}

}  // namespace

int main(int count, char** arguments) {
  bool quick = false;
  size_t part = 0, parts = 1;
  std::string golden, only;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--quick") {
      quick = true;
    } else if (argument == "--golden" && i + 1 < count) {
      golden = arguments[++i];
    } else if (argument == "--only" && i + 1 < count) {
      only = arguments[++i];
    } else if (argument == "--part" && i + 1 < count &&
               std::sscanf(arguments[i + 1], "%zu/%zu", &part, &parts) == 2 && part < parts) {
      ++i;
    } else if (argument == "--repeat" && i + 1 < count) {
      repeats = std::max(1, std::atoi(arguments[++i]));
    } else if (argument == "--poison") {
      lv::poison = true;
    } else if (argument == "--device" && i + 1 < count) {
      lv::device = std::atoi(arguments[++i]);
    } else {
      std::fprintf(stderr,
                   "usage: cuda_test [--quick] [--golden DIR] [--only TEST] [--part I/N] "
                   "[--repeat N] [--poison] [--device N]\n");
      return 2;
    }
  }
  if (lv_abi_version() != LV_ABI_VERSION) {
    std::fprintf(stderr, "liblongvlm_cuda has ABI %u, this program %u\n", lv_abi_version(),
                 LV_ABI_VERSION);
    return 2;
  }
  int32_t devices = 0;
  lv_device_info info;
  if (lv_device_count(&devices) != LV_OK || lv_get_device_info(lv::device, &info) != LV_OK) {
    std::fprintf(stderr, "No device: %s\n", lv_last_error());
    return 2;
  }
  std::printf("device %d: %s, compute capability %d.%d, %d multiprocessors\n", lv::device,
              info.name, info.compute_major, info.compute_minor, info.multiprocessors);
  {
    const Stream stream;
    const std::pair<const char*, std::function<void()>> tests[] = {
        {"golden",
         [&] {
           if (!golden.empty()) TestGolden(golden, stream);
         }},
        {"kinds", [&] { TestKinds(quick, stream); }},
        {"counts", [&] { TestTokenCounts(quick, stream); }},
        {"shapes", [&] { TestShapes(stream); }},
        {"protect", [&] { TestProtectAndSizes(stream); }},
        {"schedules", [&] { TestSchedules(stream); }},
        {"matching", [&] { TestMatching(stream); }},
        {"screening", [&] { TestScreening(quick, stream); }},
        {"assignment", [&] { TestMergeByAssignment(stream); }},
        {"spread", [&] { TestSpread(stream); }},
        {"pool", [&] { TestPoolAndMetric(stream); }},
        {"reports", [&] { TestReports(stream); }},
        {"temporal", [&] { reducer_tests::TestTemporalSimilarity(stream); }},
        {"anchors", [&] { reducer_tests::TestAssignToAnchors(stream); }},
        {"top-k", [&] { reducer_tests::TestSelectTopK(stream); }},
        {"frame-means", [&] { reducer_tests::TestFrameMeans(stream); }},
        {"slot-products", [&] { reducer_tests::TestSlotProducts(stream); }},
        {"evs", [&] { reducer_tests::TestEvs(stream); }},
        {"v-cast", [&] { reducer_tests::TestVCast(stream); }},
        {"density", [&] { reducer_tests::TestDensityPeaks(stream); }},
        {"diverse", [&] { reducer_tests::TestSelectDiverse(stream); }},
        {"reducer-reports", [&] { reducer_tests::TestReports(stream); }},
        {"segments", [&] { reducer_tests::TestSegmentFrames(stream); }},
        {"flash-vid", [&] { reducer_tests::TestFlashVid(stream); }},
        {"vid-com2", [&] { reducer_tests::TestVidCom2(stream); }},
        {"aim", [&] { reducer_tests::TestAim(stream); }},
        {"method-reports", [&] { reducer_tests::TestMethodReports(stream); }},
        {"errors", [&] { TestErrors(stream); }},
        {"threads", [&] { TestThreads(); }},
    };
    size_t place = 0;
    for (const auto& [name, test] : tests) {
      if (place++ % parts == part && (only.empty() || only == name)) test();
    }
  }
  if (Group::total_cases == 0) {
    std::fprintf(stderr,
                 "No case was run: --only %s needs one of the names in main(), and golden "
                 "needs --golden\n",
                 only.c_str());
    return 1;
  }
  std::printf("%d passed, %d failed\n", Group::total_cases - Group::total_failed,
              Group::total_failed);
  return Group::total_failed == 0 ? 0 : 1;
}
