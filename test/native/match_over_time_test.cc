// Matches over time, with what neighbours tell, against float32 products of all pairs.
#include "core/match_over_time.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

#include "check.h"
#include "core/word_matrix.h"
#include "kernels/dispatch.h"
#include "rows.h"
#include "tests.h"

namespace longvlm {
namespace {

constexpr Workers kAlone{nullptr, nullptr};

// Two frames: the second has `change` of another video added, and every ninth token is new.
std::vector<float> TwoFrames(InputKind kind, size_t patches, size_t width, float change) {
  std::vector<float> tokens = MakeInput(kind, patches, width, 31);
  const std::vector<float> other = MakeInput(InputKind::kRandom, patches, width, 32);
  tokens.resize(2 * patches * width);
  for (size_t i = 0; i < patches * width; ++i) {
    const bool is_new = i / width % 9 == 4;
    tokens[patches * width + i] = (is_new ? 0 : tokens[i]) + (is_new ? 1 : change) * other[i];
  }
  return tokens;
}

void Test(const Kernels& kernels, InputKind kind, size_t patches, size_t width, float change,
          float threshold) {
  const std::vector<float> tokens = TwoFrames(kind, patches, width, change);
  const RowReader reader{tokens.data(), width, kernels};
  std::vector<float> units(tokens);
  NormalizeRows_portable(units.data(), 2 * patches, width);
  CosineRows rows[2];
  std::vector<uint32_t> numbers[2], others[2];
  for (uint32_t frame = 0; frame < 2; ++frame) {
    std::vector<uint32_t> all(patches);
    std::iota(all.begin(), all.end(), static_cast<uint32_t>(frame * patches));
    rows[frame].Set(reader, width, all, kernels.width_a, kernels, kAlone);
    for (uint32_t i = 0; i < patches; ++i) {
      if (i % 5 == 2 * frame) continue;
      numbers[frame].push_back(i);
      others[frame].push_back(all[i]);
    }
  }
  std::vector<float> nearest;
  if (rows[0].has_words()) {
    WordMatrix matrix;
    matrix.Multiply(rows[0], kernels, kAlone);
    nearest = NearestCosines(matrix);
  }
  TimeMatchScratch scratch;
  TimeMatches found;
  MatchOverTime({rows[1], numbers[1]}, {rows[0], numbers[0]}, nearest, threshold, kernels, kAlone,
                scratch, found);
  std::vector<float> expected;
  for (size_t i = 0; i < numbers[1].size(); ++i) {
    float highest = -std::numeric_limits<float>::infinity();
    int32_t match = 0;
    for (size_t j = 0; j < numbers[0].size(); ++j) {
      const float chain = Chain(&units[others[1][i] * width], &units[others[0][j] * width], width);
      if (!(chain > highest)) continue;
      highest = chain;
      match = static_cast<int32_t>(j);
    }
    expected.push_back(highest);
    CHECK(found.match[i] == match, "token %zu of %zu: %d, not %d", i, width, found.match[i], match);
    CHECK((found.best[i] > threshold) == (highest > threshold), "token %zu of %zu", i, width);
    CHECK(found.is_rounded[i] != 0 ? std::fabs(found.best[i] - highest) < 1e-2f
                                   : found.best[i] == highest,
          "token %zu of %zu", i, width);
  }
  if (kind == InputKind::kRandom && change < 0.02f && rows[0].has_words()) {
    const auto rounded = std::ranges::count(found.is_rounded, 1);
    CHECK(static_cast<size_t>(rounded) > patches / 2, "only %zd of %zu", rounded, patches);
  }
  MakeExact(reader, width, others[1], others[0], kernels, kAlone, scratch, found);
  CHECK(found.best == expected, "exact cosines of %zu", width);
}

}  // namespace

void TestMatchOverTime() {
  const Kernels& kernels = ActiveKernels();
  for (const float threshold : {0.8f, 0.99f}) {
    for (const float change : {0.0f, 0.01f}) {
      Test(kernels, InputKind::kRandom, 60, 150, change, threshold);
    }
    for (const InputKind kind : kInputKinds) {
      Test(kernels, kind, 40, 33, 0.05f, threshold);
      Test(kernels, kind, 40, 33, 1.0f, threshold);
    }
  }
}

}  // namespace longvlm
