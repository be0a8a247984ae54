#include "core/v_cast.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/exponential.h"
#include "core/frame_means.h"
#include "core/highest.h"
#include "core/lanes.h"
#include "core/read_rows.h"

namespace longvlm {
namespace {

// Lengths below it count as it, as in the reference.
constexpr double kEpsilon = 1e-6;

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}

// softmax(curvature / temperature) of the path of the frames' means, scaled to length 1 in place.
std::vector<double> TurnWeights(std::vector<float>& means, size_t frames, size_t width,
                                double temperature) {
  std::vector<double> curvature(frames, 1.0);
  std::vector<double> unit(width), before(width), step(width), last_step;
  for (size_t frame = 0; frame < frames; ++frame) {
    float* mean = means.data() + frame * width;
    std::copy_n(mean, width, unit.begin());
    const double length = std::max(std::sqrt(Dot(unit, unit)), kEpsilon);
    for (size_t k = 0; k < width; ++k) {
      unit[k] /= length;
      mean[k] = static_cast<float>(unit[k]);
      step[k] = unit[k] - before[k];
    }
    if (frame >= 2) {
      const double lengths = std::max(std::sqrt(Dot(step, step)), kEpsilon) *
                             std::max(std::sqrt(Dot(last_step, last_step)), kEpsilon);
      curvature[frame - 1] = 1 - Dot(step, last_step) / lengths;
    }
    last_step = step;
    before.swap(unit);
  }
  const double highest = *std::ranges::max_element(curvature);
  double sum = 0;
  for (double& value : curvature) {
    value = Exponential((value - highest) / temperature);
    sum += value;
  }
  for (double& value : curvature) value /= sum;
  return curvature;
}

struct Lane {
  std::vector<float> rows;
  std::vector<double> lengths;
  std::vector<float> scores;
  std::vector<uint64_t> keys;
  std::vector<uint32_t> best;
};

// How much each token of a frame stands out: its distance from the frame's mean by angle, and its
// length among the frame's.
void ScoreTokens(const RowReader& tokens, const Kernels& kernels, const Shape& shape, size_t frame,
                 const float* mean, const Workers& workers, Lane& lane) {
  constexpr size_t kRowsPerBlock = 32;
  lane.rows.resize(shape.rows * shape.width);
  lane.lengths.resize(shape.rows);
  lane.scores.resize(shape.rows);
  std::vector<double> angles(shape.rows);
  const double mean_length =
      std::max(std::sqrt(kernels.dot_product(mean, mean, shape.width)), kEpsilon);
  workers.For((shape.rows + kRowsPerBlock - 1) / kRowsPerBlock, [&](size_t block) {
    const size_t first = block * kRowsPerBlock;
    const size_t count = std::min(kRowsPerBlock, shape.rows - first);
    float* rows = lane.rows.data() + first * shape.width;
    tokens.Read(frame * shape.rows + first, count, rows);
    for (size_t i = 0; i < count; ++i) {
      const float* row = rows + i * shape.width;
      const double length = std::sqrt(kernels.dot_product(row, row, shape.width));
      lane.lengths[first + i] = length;
      angles[first + i] = 1 - kernels.dot_product(row, mean, shape.width) /
                                  (std::max(length, kEpsilon) * mean_length);
    }
  });
  const auto [shortest, longest] = std::ranges::minmax(lane.lengths);
  for (size_t i = 0; i < shape.rows; ++i) {
    lane.scores[i] = static_cast<float>(angles[i] + (lane.lengths[i] - shortest) /
                                                        (longest - shortest + kEpsilon));
  }
}

}  // namespace

void VCast(const VCastArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  LocateNotFinite(args.tokens, shape, VCastArgs::kNames, [&] {
    const RowReader tokens{args.tokens, shape.width, kernels};
    std::vector<float> means;
    FrameMeans(args.tokens, shape, workers, means);
    const std::vector<double> weights =
        TurnWeights(means, shape.batch, shape.width, args.temperature);
    const std::vector<uint32_t> counts =
        ShareBudget(weights, args.total, args.least, shape.rows, args.leftover);
    std::vector<size_t> firsts(shape.batch, 0);
    for (size_t i = 1; i < shape.batch; ++i) firsts[i] = firsts[i - 1] + counts[i - 1];
    std::vector<Lane> lanes;
    ForItems(shape.batch, workers, lanes, [&](size_t frame, Lane& lane, const Workers& own) {
      ScoreTokens(tokens, kernels, shape, frame, means.data() + frame * shape.width, own, lane);
      FindHighest(lane.scores, counts[frame], lane.keys, lane.best);
      std::ranges::sort(lane.best);
      for (size_t i = 0; i < lane.best.size(); ++i) {
        const size_t token = frame * shape.rows + lane.best[i];
        args.out_indices[firsts[frame] + i] = static_cast<int32_t>(token);
        tokens.Copy(token, args.out, firsts[frame] + i);
      }
    });
  });
}

}  // namespace longvlm
