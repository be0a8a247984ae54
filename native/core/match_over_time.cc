#include "core/match_over_time.h"

#include <algorithm>

#include "core/lanes.h"

namespace longvlm {
namespace {

constexpr double kPerWord = 1.0 / (static_cast<double>(kScreenScale) * kScreenScale);
// More than lengths of float32 rows are off 1.
constexpr double kLengths = 0x1p-20;

// Notes the match of a token if that is the one at its place, which `word` is the product with.
// `margin` as of WordMatrix, as a cosine; `nearest` of the token at its place.
bool MatchesItsPlace(int32_t word, double margin, double nearest, double threshold, float* best) {
  const double cosine = word * kPerWord;
  const double least = cosine - margin / 2 - kLengths;
  if (!(least > 0 && 2 * least * least - 1 > nearest + margin + 4 * kLengths)) return false;
  if (!(cosine - margin / 2 > threshold || cosine + margin / 2 <= threshold)) return false;
  *best = static_cast<float>(cosine);
  return true;
}

}  // namespace

std::vector<float> NearestCosines(const WordMatrix& matrix) {
  std::vector<float> nearest(matrix.rows(), -1);
  for (size_t row = 0; matrix.rows() > 1 && row < nearest.size(); ++row) {
    const double most = matrix.HighestOther(row) + matrix.margin() / 2.0;
    nearest[row] = static_cast<float>(most * kPerWord + 2 * kLengths);
  }
  return nearest;
}

void MatchOverTime(const FrameTokens& now, const FrameTokens& before,
                   std::span<const float> nearest, float threshold, const Kernels& kernels,
                   const Workers& workers, TimeMatchScratch& scratch, TimeMatches& out) {
  const size_t count = now.numbers.size();
  out.best.resize(count);
  out.match.resize(count);
  out.is_rounded.assign(count, 0);
  scratch.position.assign(before.rows.size(), -1);
  for (size_t i = 0; i < before.numbers.size(); ++i) {
    scratch.position[before.numbers[i]] = static_cast<int32_t>(i);
  }
  const bool knows = !nearest.empty() && now.rows.has_words() && before.rows.has_words();
  const double margin = knows ? now.rows.WordMarginWith(before.rows) * kPerWord : 0;
  scratch.searched.clear();
  scratch.rows_a.clear();
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t place = now.numbers[i];
    const int32_t position = scratch.position[place];
    if (knows && position >= 0) {
      int32_t word;
      kernels.word_products(now.rows.words() + place, 1, before.rows.words() + place, 1,
                            now.rows.dims(), &word, 1);
      if (MatchesItsPlace(word, margin, static_cast<double>(nearest[place]),
                          static_cast<double>(threshold), &out.best[i])) {
        out.match[i] = position;
        out.is_rounded[i] = 1;
        continue;
      }
    }
    scratch.searched.push_back(i);
    scratch.rows_a.push_back(place);
  }
  if (scratch.searched.empty()) return;
  scratch.a.SetPart(now.rows, scratch.rows_a, kernels.width_a);
  scratch.b.SetPart(before.rows, before.numbers, kernels.width_b);
  scratch.best.resize(scratch.searched.size());
  scratch.match.resize(scratch.searched.size());
  ForBlocks(scratch.a.panels(), workers, scratch.lanes, [&](size_t i, BestCosinesScratch& lane) {
    const size_t first = i * kernels.width_a;
    FindBestCosines(scratch.a, i, scratch.b, Choice::kHighest, kernels, lane,
                    scratch.best.data() + first, scratch.match.data() + first);
  });
  for (size_t i = 0; i < scratch.searched.size(); ++i) {
    out.best[scratch.searched[i]] = scratch.best[i];
    out.match[scratch.searched[i]] = scratch.match[i];
  }
}

void MakeExact(const RowReader& tokens, size_t width, std::span<const uint32_t> now,
               std::span<const uint32_t> before, const Kernels& kernels, const Workers& workers,
               TimeMatchScratch& scratch, TimeMatches& matches) {
  scratch.searched.clear();
  scratch.rows_a.clear();
  scratch.rows_b.clear();
  std::vector<RowPair> pairs;
  for (uint32_t i = 0; i < now.size(); ++i) {
    if (matches.is_rounded[i] == 0) continue;
    const auto number = static_cast<uint32_t>(pairs.size());
    pairs.push_back({number, number});
    scratch.searched.push_back(i);
    scratch.rows_a.push_back(now[i]);
    scratch.rows_b.push_back(before[static_cast<size_t>(matches.match[i])]);
  }
  if (pairs.empty()) return;
  scratch.a.Set(tokens, width, scratch.rows_a, kernels.width_a, kernels, workers, false);
  scratch.b.Set(tokens, width, scratch.rows_b, kernels.width_b, kernels, workers, false);
  for (size_t i = 0; i < pairs.size(); ++i) {
    scratch.a.MakeUnit(i);
    scratch.b.MakeUnit(i);
  }
  scratch.best.resize(pairs.size());
  kernels.similarities(scratch.a.units(), scratch.b.units(), pairs.data(), pairs.size(), width,
                       scratch.best.data());
  for (size_t i = 0; i < pairs.size(); ++i) matches.best[scratch.searched[i]] = scratch.best[i];
  std::ranges::fill(matches.is_rounded, static_cast<uint8_t>(0));
}

}  // namespace longvlm
