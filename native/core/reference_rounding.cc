#include "core/reference_rounding.h"

#include <algorithm>
#include <utility>

namespace longvlm {
namespace {

constexpr size_t kChains = 4;
constexpr size_t kMostLanes = 8;
constexpr size_t kStepsOfLevel = 16;
constexpr size_t kLevels = 4;

}  // namespace

float ReferenceSquare(const float* row, size_t dims) {
  const size_t lanes = dims < kMostLanes ? 1 : kMostLanes;
  const size_t width = lanes * kChains;
  float sums[kLevels][kMostLanes * kChains] = {};
  const auto add_squares = [&](size_t first, size_t count) {
    for (size_t i = 0; i < count; ++i) sums[0][i] += row[first + i] * row[first + i];
  };
  const size_t vectors = dims / lanes;
  const size_t steps = vectors / kChains;
  size_t step = 0;
  while (step + kStepsOfLevel <= steps) {
    for (size_t end = step + kStepsOfLevel; step < end; ++step) add_squares(step * width, width);
    for (size_t level = 1; level < kLevels; ++level) {
      for (size_t i = 0; i < width; ++i) {
        sums[level][i] += sums[level - 1][i];
        sums[level - 1][i] = 0;
      }
      if ((step >> (4 * level) & (kStepsOfLevel - 1)) != 0) break;
    }
  }
  for (; step < steps; ++step) add_squares(step * width, width);
  for (size_t level = 1; level < kLevels; ++level) {
    for (size_t i = 0; i < width; ++i) sums[0][i] += sums[level][i];
  }
  for (size_t vector = steps * kChains; vector < vectors; ++vector) {
    add_squares(vector * lanes, lanes);
  }
  for (size_t i = lanes; i < width; ++i) sums[0][i % lanes] += sums[0][i];
  float total = 0;
  for (size_t k = vectors * lanes; k < dims; ++k) total += row[k] * row[k];
  for (size_t i = 0; i < lanes; ++i) total += sums[0][i];
  return total;
}

float ReferenceMeanOfSquares(std::span<const float> distances) {
  const size_t even = distances.size() / kChains * kChains;
  float sums[kChains] = {};
  for (size_t i = 0; i < distances.size(); ++i) {
    sums[i < even ? i % kChains : 0] += distances[i] * distances[i];
  }
  for (size_t chain = 1; chain < kChains; ++chain) sums[0] += sums[chain];
  return sums[0] / static_cast<float>(distances.size());
}

void ReferenceHighest(std::span<const float> values, size_t count, std::vector<uint32_t>& out) {
  std::vector<std::pair<float, uint32_t>> queue;
  for (size_t i = 0; i < values.size(); ++i) {
    queue.emplace_back(values[i], static_cast<uint32_t>(i));
  }
  const auto higher = [](const auto& a, const auto& b) { return a.first > b.first; };
  out.clear();
  if (count == 0) return;
  const auto last = queue.begin() + static_cast<std::ptrdiff_t>(count);
  constexpr size_t kFew = 64;
  if (count * kFew <= queue.size()) {
    std::partial_sort(queue.begin(), last, queue.end(), higher);
  } else {
    std::nth_element(queue.begin(), last - 1, queue.end(), higher);
    std::sort(queue.begin(), last - 1, higher);
  }
  for (size_t i = 0; i < count; ++i) out.push_back(queue[i].second);
}

}  // namespace longvlm
