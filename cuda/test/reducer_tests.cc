#include "reducer_tests.h"

#include <numeric>
#include <string>

#include "core/assign_to_anchors.h"
#include "core/density_peaks.h"
#include "core/frame_means.h"
#include "core/select_diverse.h"
#include "core/select_top_k.h"
#include "core/temporal_similarity.h"
#include "core/v_cast.h"
#include "longvlm_cuda_reducers.h"
#include "videos.h"

namespace reducer_tests {
namespace {

lv_report RunTemporal(const Video& video, const void* tokens, bool best,
                      std::vector<float>& cosines, std::vector<int32_t>& matches,
                      const Stream& stream) {
  const size_t pairs = video.tokens() - video.shape.rows;
  const Buffer out_cosines(pairs * sizeof(float));
  const Buffer out_matches(pairs * sizeof(int32_t));
  lv_temporal_similarity_args args = {};
  args.type = video.type;
  args.tokens = tokens;
  args.frames = video.shape.batch;
  args.patches = video.shape.rows;
  args.channels = video.shape.width;
  args.best = best ? 1 : 0;
  args.out_cosines = out_cosines.get<float>();
  args.out_matches = best ? out_matches.get<int32_t>() : nullptr;
  const lv_report report = RunWith(args, lv_temporal_similarity, stream);
  cosines = out_cosines.Read<float>(stream);
  if (best) matches = out_matches.Read<int32_t>(stream);
  return report;
}

void CheckTemporal(Group& group, const std::string& kind, const Video& video, bool best,
                   const Stream& stream) {
  group.Begin(video.Name(kind) + (best ? " best" : " place"));
  std::vector<float> cosines;
  std::vector<int32_t> matches;
  const Buffer tokens = Buffer::Of(View(video.bytes), stream);
  ExpectNothing(group, RunTemporal(video, tokens.get(), best, cosines, matches, stream));
  std::vector<float> expected(cosines.size());
  std::vector<int32_t> expected_matches(matches.size());
  longvlm::TemporalSimilarity({.tokens = video.values(),
                               .shape = video.shape,
                               .best = best,
                               .out_cosines = expected.data(),
                               .out_matches = best ? expected_matches.data() : nullptr},
                              kAlone);
  group.Same("cosines", View(cosines), View(expected));
  group.Same("matches", View(matches), View(expected_matches));
}

void CheckAnchors(Group& group, const std::string& kind, const Video& video,
                  const std::vector<int32_t>& anchors, double beta, const Stream& stream) {
  group.Begin(video.Name(kind) + " " + std::to_string(anchors.size()) + " anchors, beta " +
              std::to_string(beta));
  const size_t count = video.tokens();
  const size_t row_bytes = video.shape.width * lv::TypeBytes(video.type);
  const Buffer tokens = Buffer::Of(View(video.bytes), stream);
  const Buffer in_anchors = Buffer::Of(View(anchors), stream);
  const Buffer assignment(count * sizeof(int32_t)), cosines(count * sizeof(float));
  const Buffer sizes(anchors.size() * sizeof(float)), out(anchors.size() * row_bytes);
  lv_assign_to_anchors_args args = {};
  args.type = video.type;
  args.tokens = tokens.get();
  args.tokens_in = count;
  args.channels = video.shape.width;
  args.anchors = in_anchors.get<int32_t>();
  args.count = anchors.size();
  args.beta = beta;
  args.out_assignment = assignment.get<int32_t>();
  args.out_cosines = cosines.get<float>();
  args.out_sizes = sizes.get<float>();
  args.out_tokens = out.get();
  ExpectNothing(group, RunWith(args, lv_assign_to_anchors, stream));
  std::vector<int32_t> expected_assignment(count);
  std::vector<float> expected_cosines(count), expected_sizes(anchors.size());
  Rows expected(video, anchors.size());
  longvlm::AssignToAnchors({.tokens = video.values(),
                            .shape = {1, count, video.shape.width},
                            .anchors = anchors.data(),
                            .count = anchors.size(),
                            .beta = beta,
                            .out_assignment = expected_assignment.data(),
                            .out_cosines = expected_cosines.data(),
                            .out_sizes = expected_sizes.data(),
                            .out = expected.values()},
                           kAlone);
  group.Same("assignment", View(assignment.Read<int32_t>(stream)), View(expected_assignment));
  group.Same("cosines", View(cosines.Read<float>(stream)), View(expected_cosines));
  group.Same("sizes", View(sizes.Read<float>(stream)), View(expected_sizes));
  group.Same("bytes of tokens", View(out.Read<uint8_t>(stream)), View(expected.Encoded()));
}

std::vector<float> Scores(const std::string& kind, size_t count, uint64_t seed) {
  inputs::Random random(seed);
  std::vector<float> scores(count);
  for (float& score : scores) {
    score = kind == "ties" ? static_cast<float>(random.Below(5)) - 2 : random.Normal();
    if (kind == "zeros") score = random.Below(2) == 0 ? 0.0f : -0.0f;
  }
  return scores;
}

void CheckTopK(Group& group, const std::string& kind, size_t frames, size_t patches,
               const std::vector<int32_t>& budgets, const Stream& stream) {
  group.Begin(kind + " [" + std::to_string(frames) + ", " + std::to_string(patches) + "]");
  const std::vector<float> scores = Scores(kind, frames * patches, patches);
  const auto total = static_cast<size_t>(std::accumulate(budgets.begin(), budgets.end(), 0));
  const Buffer in_scores = Buffer::Of(View(scores), stream);
  const Buffer in_budgets = Buffer::Of(View(budgets), stream);
  const Buffer indices(total * sizeof(int32_t));
  lv_select_top_k_args args = {};
  args.scores = in_scores.get<float>();
  args.frames = frames;
  args.patches = patches;
  args.budgets = in_budgets.get<int32_t>();
  args.total = total;
  args.out_indices = indices.get<int32_t>();
  ExpectNothing(group, RunWithout(args, lv_select_top_k, stream));
  std::vector<int32_t> expected(total);
  longvlm::SelectTopK({.scores = scores.data(),
                       .shape = {1, frames, patches},
                       .budgets = budgets.data(),
                       .total = total,
                       .out_indices = expected.data()},
                      kAlone);
  group.Same("indices", View(indices.Read<int32_t>(stream)), View(expected));
}

// What EVS keeps, from the CPU's parts.
std::vector<int32_t> ExpectedEvs(const Video& video, size_t total) {
  const size_t patches = video.shape.rows;
  std::vector<int32_t> indices(total);
  std::iota(indices.begin(), indices.begin() + static_cast<std::ptrdiff_t>(patches), 0);
  if (video.shape.batch == 1) return indices;
  std::vector<float> changes(video.tokens() - patches);
  longvlm::TemporalSimilarity({.tokens = video.values(),
                               .shape = video.shape,
                               .best = false,
                               .out_cosines = changes.data(),
                               .out_matches = nullptr},
                              kAlone);
  for (float& change : changes) change = 1 - change;
  const auto others = static_cast<int32_t>(total - patches);
  longvlm::SelectTopK({.scores = changes.data(),
                       .shape = {1, 1, changes.size()},
                       .budgets = &others,
                       .total = total - patches,
                       .out_indices = indices.data() + patches},
                      kAlone);
  for (size_t i = patches; i < total; ++i) indices[i] += static_cast<int32_t>(patches);
  return indices;
}

// Compares kept tokens with the tokens at `indices`, and the indices that the device found.
void ExpectKept(Group& group, const Video& video, const Buffer& out, const Buffer& out_indices,
                const std::vector<int32_t>& indices, const Stream& stream) {
  const size_t row_bytes = video.shape.width * lv::TypeBytes(video.type);
  std::vector<uint8_t> rows;
  for (const int32_t index : indices) {
    const auto from = video.bytes.begin() + index * static_cast<std::ptrdiff_t>(row_bytes);
    rows.insert(rows.end(), from, from + static_cast<std::ptrdiff_t>(row_bytes));
  }
  group.Same("indices", View(out_indices.Read<int32_t>(stream)), View(indices));
  group.Same("bytes of tokens", View(out.Read<uint8_t>(stream)), View(rows));
}

void CheckEvs(Group& group, const std::string& kind, const Video& video, size_t total,
              const Stream& stream) {
  group.Begin(video.Name(kind) + " " + std::to_string(total));
  const Buffer tokens = Buffer::Of(View(video.bytes), stream);
  const Buffer out(total * video.shape.width * lv::TypeBytes(video.type));
  const Buffer indices(total * sizeof(int32_t));
  lv_evs_args args = {};
  args.type = video.type;
  args.tokens = tokens.get();
  args.frames = video.shape.batch;
  args.patches = video.shape.rows;
  args.channels = video.shape.width;
  args.total = total;
  args.out_tokens = out.get();
  args.out_indices = indices.get<int32_t>();
  ExpectNothing(group, RunWith(args, lv_evs, stream));
  ExpectKept(group, video, out, indices, ExpectedEvs(video, total), stream);
}

struct VCastOptions {
  size_t total;
  size_t least;
  double temperature;
  bool reference;
};

void CheckVCast(Group& group, const std::string& kind, const Video& video,
                const VCastOptions& options, const Stream& stream) {
  const auto [total, least, temperature, reference] = options;
  group.Begin(video.Name(kind) + " " + std::to_string(total) + " of which " +
              std::to_string(least) + " each" + (reference ? ", reference" : ""));
  const Buffer tokens = Buffer::Of(View(video.bytes), stream);
  const Buffer out(total * video.shape.width * lv::TypeBytes(video.type));
  const Buffer indices(total * sizeof(int32_t));
  lv_v_cast_args args = {};
  args.type = video.type;
  args.tokens = tokens.get();
  args.frames = video.shape.batch;
  args.patches = video.shape.rows;
  args.channels = video.shape.width;
  args.total = total;
  args.least = least;
  args.temperature = temperature;
  args.leftover = reference ? LV_LEFTOVER_REFERENCE : LV_LEFTOVER_REMAINDER;
  args.out_tokens = out.get();
  args.out_indices = indices.get<int32_t>();
  ExpectNothing(group, RunWith(args, lv_v_cast, stream));
  std::vector<int32_t> expected(total);
  Rows rows(video, total);
  longvlm::VCast(
      {.tokens = video.values(),
       .shape = video.shape,
       .total = total,
       .least = least,
       .temperature = temperature,
       .leftover = reference ? longvlm::Leftover::kReference : longvlm::Leftover::kRemainder,
       .out = rows.values(),
       .out_indices = expected.data()},
      kAlone);
  ExpectKept(group, video, out, indices, expected, stream);
}

void CheckPeaks(Group& group, const std::string& kind, const Video& video, size_t neighbours,
                size_t clusters, const Stream& stream) {
  group.Begin(video.Name(kind) + " " + std::to_string(neighbours) + " neighbours, " +
              std::to_string(clusters) + " clusters");
  const size_t rows = video.tokens();
  const Buffer tokens = Buffer::Of(View(video.bytes), stream);
  const Buffer densities(rows * 4), distances(rows * 4), in_clusters(rows * 4);
  const Buffer centres(video.shape.batch * clusters * 4);
  lv_density_peaks_args args = {};
  args.type = video.type;
  args.tokens = tokens.get();
  args.batch = video.shape.batch;
  args.tokens_of_entry = video.shape.rows;
  args.channels = video.shape.width;
  args.neighbours = neighbours;
  args.clusters = clusters;
  args.out_densities = densities.get<float>();
  args.out_distances = distances.get<float>();
  args.out_centres = centres.get<int32_t>();
  args.out_clusters = in_clusters.get<int32_t>();
  ExpectNothing(group, RunWith(args, lv_density_peaks, stream));
  std::vector<float> expected_densities(rows), expected_distances(rows);
  std::vector<int32_t> expected_centres(video.shape.batch * clusters), expected_clusters(rows);
  longvlm::ClusterByDensity({.tokens = video.values(),
                             .shape = video.shape,
                             .neighbours = neighbours,
                             .clusters = clusters,
                             .out_densities = expected_densities.data(),
                             .out_distances = expected_distances.data(),
                             .out_centres = expected_centres.data(),
                             .out_clusters = expected_clusters.data()},
                            kAlone);
  group.Same("densities", View(densities.Read<float>(stream)), View(expected_densities));
  group.Same("distances", View(distances.Read<float>(stream)), View(expected_distances));
  group.Same("centres", View(centres.Read<int32_t>(stream)), View(expected_centres));
  if (clusters == 0) return;
  group.Same("clusters", View(in_clusters.Read<int32_t>(stream)), View(expected_clusters));
}

void CheckDiverse(Group& group, const std::string& kind, const Video& video, size_t count,
                  const std::vector<float>& weights, const Stream& stream) {
  group.Begin(video.Name(kind) + " " + std::to_string(count) +
              (weights.empty() ? "" : " with weights"));
  const Buffer tokens = Buffer::Of(View(video.bytes), stream);
  const Buffer in_weights = Buffer::Of(View(weights), stream);
  const Buffer picked(video.shape.batch * count * sizeof(int32_t));
  lv_select_diverse_args args = {};
  args.type = video.type;
  args.tokens = tokens.get();
  args.batch = video.shape.batch;
  args.tokens_of_entry = video.shape.rows;
  args.channels = video.shape.width;
  args.count = count;
  args.weights = in_weights.get<float>();
  args.out_picked = picked.get<int32_t>();
  ExpectNothing(group, RunWith(args, lv_select_diverse, stream));
  std::vector<int32_t> expected(video.shape.batch * count);
  longvlm::SelectDiverseTokens({.tokens = video.values(),
                                .shape = video.shape,
                                .count = count,
                                .weights = weights.empty() ? nullptr : weights.data(),
                                .out_picked = expected.data()},
                               kAlone);
  group.Same("picked", View(picked.Read<int32_t>(stream)), View(expected));
}

std::vector<int32_t> SomeAnchors(size_t tokens, size_t count, uint64_t seed) {
  inputs::Random random(seed);
  std::vector<int32_t> anchors(count);
  for (int32_t& anchor : anchors) anchor = static_cast<int32_t>(random.Below(tokens));
  return anchors;
}

}  // namespace

void TestTemporalSimilarity(const Stream& stream) {
  Group group("temporalSimilarity");
  for (const bool best : {false, true}) {
    for (const char* kind : kKinds) {
      for (const lv_type type : kTypes) {
        CheckTemporal(group, kind, Video(kind, type, {3, 67, 40}, 1), best, stream);
      }
      CheckTemporal(group, kind, Video(kind, LV_FLOAT32, {2, 130, 21}, 2), best, stream);
    }
    for (const size_t width : {1, 3, 4, 7, 8, 9, 15, 16, 17, 64, 257}) {
      CheckTemporal(group, "random", Video("random", LV_FLOAT16, {5, 19, width}, width), best,
                    stream);
    }
    CheckTemporal(group, "video", Video("video", LV_FLOAT32, {9, 300, 8}, 3), best, stream);
  }
}

void TestAssignToAnchors(const Stream& stream) {
  Group group("assignToAnchors");
  for (const char* kind : kKinds) {
    for (const lv_type type : kTypes) {
      const Video video(kind, type, {4, 50, 24}, 5);
      CheckAnchors(group, kind, video, SomeAnchors(200, 17, 5), -1, stream);
      CheckAnchors(group, kind, video, SomeAnchors(200, 70, 6), 0.6, stream);
    }
  }
  const Video odd("video", LV_FLOAT32, {1, 1100, 13}, 7);
  CheckAnchors(group, "video", odd, SomeAnchors(1100, 5, 7), 0.6, stream);
  CheckAnchors(group, "video", odd, {3}, 0, stream);
  CheckAnchors(group, "video", Video("video", LV_FLOAT16, {1, 300, 1100}, 8),
               SomeAnchors(300, 9, 8), 1, stream);
}

void TestSelectTopK(const Stream& stream) {
  Group group("selectTopK");
  inputs::Random random(9);
  for (const char* kind : {"normal", "ties", "zeros"}) {
    for (const size_t patches : {1, 31, 196, 511, 512, 513, 2000}) {
      std::vector<int32_t> budgets(6);
      for (int32_t& budget : budgets) budget = static_cast<int32_t>(random.Below(patches + 1));
      budgets[1] = 0;
      budgets[4] = static_cast<int32_t>(patches);
      CheckTopK(group, kind, 6, patches, budgets, stream);
    }
    CheckTopK(group, kind, 600, 5, std::vector<int32_t>(600, 2), stream);
  }
}

void TestFrameMeans(const Stream& stream) {
  Group group("means of frames");
  for (const char* kind : {"random", "zero rows", "wide values"}) {
    for (const lv_type type : kTypes) {
      for (const size_t width : {1, 24, 1000}) {
        const Video video(kind, type, {3, 37, width}, width);
        group.Begin(video.Name(kind));
        const Buffer tokens = Buffer::Of(View(video.bytes), stream);
        const Buffer out(3 * width * sizeof(float));
        lv_frame_means_args args = {};
        args.type = type;
        args.tokens = tokens.get();
        args.frames = 3;
        args.patches = 37;
        args.channels = width;
        args.out = out.get<float>();
        ExpectNothing(group, RunWithout(args, lv_frame_means, stream));
        std::vector<float> expected;
        longvlm::FrameMeans(video.values(), video.shape, kAlone, expected);
        group.Same("means", View(out.Read<float>(stream)), View(expected));
      }
    }
  }
}

// Of tokens on the host, as the device has them: the product with a row of `slots` and the square.
std::vector<double> SlotProductsOf(std::span<const float> tokens, std::span<const float> slots,
                                   std::span<const int32_t> assignment, size_t width) {
  std::vector<double> expected;
  for (size_t token = 0; token < tokens.size() / width; ++token) {
    double product = 0;
    double square = 0;
    for (size_t k = 0; k < width; ++k) {
      const double value = tokens[token * width + k];
      square += value * value;
      if (assignment.empty()) continue;
      product += value * slots[static_cast<size_t>(assignment[token]) * width + k];
    }
    expected.push_back(product);
    expected.push_back(square);
  }
  return expected;
}

void TestSlotProducts(const Stream& stream) {
  Group group("products with slots");
  for (const char* kind : {"random", "zero rows", "wide values"}) {
    for (const lv_type type : kTypes) {
      for (const size_t width : {1, 64, 131}) {
        constexpr size_t kTokens = 70;
        constexpr size_t kSlots = 5;
        const Video video(kind, type, {1, kTokens, width}, width);
        const Video rows(kind, type, {1, kSlots, width}, width + 1);
        std::vector<int32_t> assignment(kTokens);
        for (size_t i = 0; i < kTokens; ++i) assignment[i] = static_cast<int32_t>(i * 7 % kSlots);
        const Buffer tokens = Buffer::Of(View(video.bytes), stream);
        const Buffer slots = Buffer::Of(View(rows.bytes), stream);
        const Buffer slot_of = Buffer::Of(View(assignment), stream);
        const Buffer out(kTokens * 2 * sizeof(double));
        const std::vector<float> values = lv::Decode(type, video.bytes);
        const std::vector<float> slot_values = lv::Decode(type, rows.bytes);
        for (const bool with_slots : {true, false}) {
          group.Begin(video.Name(kind) + (with_slots ? "" : " lengths"));
          lv_slot_products_args args = {};
          args.type = type;
          args.tokens = tokens.get();
          args.count = kTokens;
          args.channels = width;
          if (with_slots) {
            args.assignment = slot_of.get<int32_t>();
            args.slots = slots.get();
            args.slots_in = kSlots;
          } else {
            assignment.clear();
          }
          args.out = out.get<double>();
          ExpectNothing(group, RunWithout(args, lv_slot_products, stream));
          const std::vector<double> expected =
              SlotProductsOf(values, slot_values, assignment, width);
          const std::vector<double> found = out.Read<double>(stream);
          group.Expect(found == expected, "the sums are those of the host");
        }
      }
    }
  }
}

void TestEvs(const Stream& stream) {
  Group group("evs");
  for (const char* kind : kKinds) {
    for (const lv_type type : kTypes) {
      CheckEvs(group, kind, Video(kind, type, {6, 40, 24}, 11), 75, stream);
    }
  }
  const Video video("video", LV_FLOAT32, {7, 90, 13}, 12);
  for (const size_t total : {90, 91, 300, 630}) CheckEvs(group, "video", video, total, stream);
  CheckEvs(group, "video", Video("video", LV_FLOAT16, {1, 33, 8}, 13), 33, stream);
}

void TestVCast(const Stream& stream) {
  Group group("vCast");
  for (const char* kind : kKinds) {
    for (const lv_type type : kTypes) {
      const Video video(kind, type, {6, 40, 24}, 14);
      CheckVCast(group, kind, video, {61, 1, 0.7, false}, stream);
      CheckVCast(group, kind, video, {130, 2, 0.1, true}, stream);
    }
  }
  for (const size_t frames : {1, 2, 3, 40}) {
    const Video video("video", LV_FLOAT32, {frames, 17, 301}, frames);
    for (const size_t total : {frames, frames * 5, frames * 17}) {
      CheckVCast(group, "video", video, {total, 1, 0.02, false}, stream);
      CheckVCast(group, "video", video, {total, 0, 3, true}, stream);
    }
  }
}

void TestDensityPeaks(const Stream& stream) {
  Group group("densityPeaks");
  for (const char* kind : kKinds) {
    // Squares of wide values overflow, and 0 times infinity has no sign that all machines agree on.
    if (std::string(kind) == "wide values") continue;
    for (const lv_type type : kTypes) {
      CheckPeaks(group, kind, Video(kind, type, {3, 70, 24}, 16), 5, 11, stream);
    }
    CheckPeaks(group, kind, Video(kind, LV_FLOAT32, {1, 30, 7}, 17), 100, 30, stream);
  }
  for (const size_t rows : {1, 2, 3, 63, 64, 65, 129, 300}) {
    const Video video("video", LV_FLOAT32, {2, rows, 13}, rows);
    CheckPeaks(group, "video", video, 4, 1, stream);
    CheckPeaks(group, "video", video, 1, rows / 2, stream);
  }
}

void TestSelectDiverse(const Stream& stream) {
  Group group("selectDiverse");
  for (const char* kind : kKinds) {
    for (const lv_type type : kTypes) {
      const Video video(kind, type, {3, 70, 24}, 18);
      CheckDiverse(group, kind, video, 17, {}, stream);
      CheckDiverse(group, kind, video, 70, Scores("normal", 210, 19), stream);
    }
  }
  for (const size_t rows : {1, 2, 65, 600}) {
    const Video video("video", LV_FLOAT32, {2, rows, 13}, rows);
    CheckDiverse(group, "video", video, (rows + 1) / 2, Scores("ties", 2 * rows, 20), stream);
    CheckDiverse(group, "video", video, rows, {}, stream);
  }
}

void TestReports(const Stream& stream) {
  Group group("reducers, reports");
  const auto bad_video = [](lv_type type) {
    Video video("random", type, {4, 20, 24}, 15);
    std::vector<float> values = lv::Decode(type, video.bytes);
    values[1000] = NAN;
    values[999] = INFINITY;
    values[1500] = -INFINITY;
    video.bytes = lv::Encode(type, values);
    return video;
  };
  const auto expect = [&](const lv_report& found, uint64_t not_finite) {
    group.Expect(found.not_finite == not_finite, "value %llu is reported, not %llu",
                 static_cast<unsigned long long>(found.not_finite),
                 static_cast<unsigned long long>(not_finite));
  };
  for (const lv_type type : kTypes) {
    const Video video = bad_video(type);
    const Buffer tokens = Buffer::Of(View(video.bytes), stream);
    for (const bool best : {false, true}) {
      group.Begin(video.Name(best ? "best" : "place"));
      std::vector<float> cosines;
      std::vector<int32_t> matches;
      expect(RunTemporal(video, tokens.get(), best, cosines, matches, stream), 999);
    }
    const Buffer out(80 * 24 * 4), indices(80 * 4), floats(80 * 4), sizes(80 * 4);
    group.Begin(video.Name("evs"));
    lv_evs_args evs = {};
    evs.type = type;
    evs.tokens = tokens.get();
    evs.frames = 4, evs.patches = 20, evs.channels = 24, evs.total = 50;
    evs.out_tokens = out.get();
    evs.out_indices = indices.get<int32_t>();
    expect(RunWith(evs, lv_evs, stream), 999);
    for (const bool reference : {false, true}) {
      group.Begin(video.Name("vCast"));
      lv_v_cast_args cast = {};
      cast.type = type;
      cast.tokens = tokens.get();
      cast.frames = 4, cast.patches = 20, cast.channels = 24, cast.total = 50, cast.least = 1;
      cast.temperature = 0.7;
      cast.leftover = reference ? LV_LEFTOVER_REFERENCE : LV_LEFTOVER_REMAINDER;
      cast.out_tokens = out.get();
      cast.out_indices = indices.get<int32_t>();
      expect(RunWith(cast, lv_v_cast, stream), 999);
    }
    group.Begin(video.Name("assignToAnchors"));
    const Buffer anchors = Buffer::Of(View(std::vector<int32_t>{1, 80, -3, 79}), stream);
    lv_assign_to_anchors_args assign = {};
    assign.type = type;
    assign.tokens = tokens.get();
    assign.tokens_in = 80, assign.channels = 24, assign.count = 4, assign.beta = -1;
    assign.anchors = anchors.get<int32_t>();
    assign.out_assignment = indices.get<int32_t>();
    assign.out_cosines = floats.get<float>();
    assign.out_sizes = sizes.get<float>();
    assign.out_tokens = out.get();
    const lv_report found = RunWith(assign, lv_assign_to_anchors, stream);
    expect(found, 999);
    group.Expect(found.bad_assignment == 1, "anchor %llu is reported",
                 static_cast<unsigned long long>(found.bad_assignment));
    group.Begin(video.Name("gatherTokens"));
    const Buffer wanted = Buffer::Of(View(std::vector<int32_t>{79, 42, 41, 80, 2}), stream);
    lv_gather_tokens_args gather = {};
    gather.type = type;
    gather.tokens = tokens.get();
    gather.tokens_in = 80, gather.channels = 24, gather.count = 5;
    gather.indices = wanted.get<int32_t>();
    gather.out = out.get();
    const lv_report gathered = RunWithout(gather, lv_gather_tokens, stream);
    expect(gathered, 999);
    group.Expect(gathered.bad_assignment == 3, "index %llu is reported",
                 static_cast<unsigned long long>(gathered.bad_assignment));
    group.Begin(video.Name("slotProducts"));
    const Buffer products(5 * 2 * sizeof(double));
    lv_slot_products_args slots = {};
    slots.type = type;
    slots.tokens = slots.slots = tokens.get();
    slots.count = 5, slots.channels = 24, slots.slots_in = 80;
    slots.assignment = wanted.get<int32_t>();
    slots.out = products.get<double>();
    const lv_report multiplied = RunWithout(slots, lv_slot_products, stream);
    group.Expect(multiplied.bad_assignment == 3, "slot %llu is reported",
                 static_cast<unsigned long long>(multiplied.bad_assignment));
  }
  group.Begin("selectTopK");
  const Buffer scores = Buffer::Of(View(std::vector<float>{1, 2, NAN, 3, 4, 5}), stream);
  const Buffer budgets = Buffer::Of(View(std::vector<int32_t>{2, 4}), stream);
  const Buffer picked(6 * sizeof(int32_t));
  lv_select_top_k_args select = {};
  select.scores = scores.get<float>();
  select.frames = 2, select.patches = 3, select.total = 6;
  select.budgets = budgets.get<int32_t>();
  select.out_indices = picked.get<int32_t>();
  const lv_report found = RunWithout(select, lv_select_top_k, stream);
  expect(found, 2);
  group.Expect(found.bad_assignment == 1, "budget %llu is reported",
               static_cast<unsigned long long>(found.bad_assignment));
}

}  // namespace reducer_tests
