#include "core/v_cast.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/exponential.h"
#include "core/frame_means.h"
#include "core/highest.h"
#include "core/lanes.h"
#include "core/read_rows.h"
#include "core/result_rows.h"

namespace longvlm {
namespace {

// Lengths below it count as it, as in the reference.
constexpr double kEpsilon = 1e-6;

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}

// The mean scaled to length 1.
void ScaleMean(const float* mean, size_t width, std::vector<double>& unit) {
  unit.assign(mean, mean + width);
  const double length = std::max(std::sqrt(Dot(unit, unit)), kEpsilon);
  for (double& value : unit) value /= length;
}

// softmax(curvature / temperature) of the path of the frames' means, each scaled to length 1.
std::vector<double> TurnWeights(const std::vector<float>& means, size_t frames, size_t width,
                                double temperature) {
  std::vector<double> curvature(frames, 1.0);
  std::vector<double> unit(width), before(width), step(width), last_step;
  for (size_t frame = 0; frame < frames; ++frame) {
    ScaleMean(means.data() + frame * width, width, unit);
    for (size_t k = 0; k < width; ++k) step[k] = unit[k] - before[k];
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
  std::vector<double> unit, lengths, angles;
  std::vector<float> mean;
  std::vector<uint64_t> keys;
  std::vector<uint32_t> best;
};

// How much each token of a frame stands out: its distance from the frame's mean by angle, and its
// length among the frame's.
void ScoreTokens(const RowReader& tokens, const Kernels& kernels, const Shape& shape, size_t frame,
                 const float* mean, const Workers& workers, Lane& lane, float* scores) {
  constexpr size_t kRowsPerBlock = 32;
  lane.lengths.resize(shape.rows);
  lane.angles.resize(shape.rows);
  ScaleMean(mean, shape.width, lane.unit);
  lane.mean.assign(lane.unit.begin(), lane.unit.end());
  const double mean_length = std::max(
      std::sqrt(kernels.dot_product(lane.mean.data(), lane.mean.data(), shape.width)), kEpsilon);
  workers.For((shape.rows + kRowsPerBlock - 1) / kRowsPerBlock, [&](size_t block) {
    std::vector<float> scratch(shape.width);
    const size_t first = block * kRowsPerBlock;
    for (size_t i = first; i < std::min(first + kRowsPerBlock, shape.rows); ++i) {
      const float* row = tokens.Row(frame * shape.rows + i, scratch.data());
      const SquareAndProduct found = kernels.square_and_product(row, lane.mean.data(), shape.width);
      const double length = std::sqrt(found.square);
      lane.lengths[i] = length;
      lane.angles[i] = 1 - found.product / (std::max(length, kEpsilon) * mean_length);
    }
  });
  const auto [shortest, longest] = std::ranges::minmax(lane.lengths);
  for (size_t i = 0; i < shape.rows; ++i) {
    scores[i] = static_cast<float>(lane.angles[i] +
                                   (lane.lengths[i] - shortest) / (longest - shortest + kEpsilon));
  }
}

}  // namespace

void VCast(const VCastArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  LocateNotFinite(args.tokens, shape, VCastArgs::kNames, [&] {
    const RowReader tokens{args.tokens, shape.width, kernels};
    std::vector<float> means(shape.batch * shape.width);
    std::vector<float> scores(shape.batch * shape.rows);
    std::vector<Lane> lanes;
    // Tokens are compared with the mean while they are in a cache.
    ForItems(shape.batch, workers, lanes, [&](size_t frame, Lane& lane, const Workers& own) {
      float* mean = means.data() + frame * shape.width;
      FrameMean(args.tokens, shape, frame, own, mean);
      ScoreTokens(tokens, kernels, shape, frame, mean, own, lane,
                  scores.data() + frame * shape.rows);
    });
    const std::vector<double> weights =
        TurnWeights(means, shape.batch, shape.width, args.temperature);
    const std::vector<uint32_t> counts =
        ShareBudget(weights, args.total, args.least, shape.rows, args.leftover);
    std::vector<size_t> firsts(shape.batch, 0);
    const ResultRows out{args.out, args.total, shape.width, kernels};
    for (size_t i = 1; i < shape.batch; ++i) firsts[i] = firsts[i - 1] + counts[i - 1];
    ForItems(shape.batch, workers, lanes, [&](size_t frame, Lane& lane, const Workers&) {
      FindHighest({scores.data() + frame * shape.rows, shape.rows}, counts[frame], lane.keys,
                  lane.best);
      std::ranges::sort(lane.best);
      for (size_t i = 0; i < lane.best.size(); ++i) {
        const size_t token = frame * shape.rows + lane.best[i];
        args.out_indices[firsts[frame] + i] = static_cast<int32_t>(token);
        out.Copy(args.tokens, token, firsts[frame] + i);
      }
    });
  });
}

}  // namespace longvlm
