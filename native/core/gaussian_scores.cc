#include "core/gaussian_scores.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "core/exponential.h"
#include "core/read_rows.h"
#include "kernels/half.h"

namespace longvlm {
namespace {

constexpr double kAlphas[] = {0.125, 0.25, 0.5, 1, 2};

// The channels with the lowest variance over all tokens, half of them, ascending.
std::vector<size_t> QuietChannels(const GaussianScoresArgs& args, const Workers& workers) {
  constexpr size_t kColumns = 128;
  const size_t width = args.shape.width;
  const size_t rows = args.shape.batch * args.shape.rows;
  std::vector<double> variances(width);
  workers.For((width + kColumns - 1) / kColumns, [&](size_t block) {
    const size_t first = block * kColumns;
    const size_t columns = std::min(kColumns, width - first);
    double sums[kColumns] = {};
    double squares[kColumns] = {};
    Visit(args.tokens, [&](const auto* tokens) {
      for (size_t row = 0; row < rows; ++row) {
        const auto* values = tokens + row * width + first;
        for (size_t c = 0; c < columns; ++c) {
          const double value = ToDouble(values[c]);
          sums[c] += value;
          squares[c] += value * value;
        }
      }
    });
    CheckFinite(sums, columns);
    for (size_t c = 0; c < columns; ++c) {
      const double mean = sums[c] / static_cast<double>(rows);
      variances[first + c] = squares[c] / static_cast<double>(rows) - mean * mean;
    }
  });
  std::vector<size_t> order(width);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t channel) { return variances[channel]; });
  order.resize(std::max<size_t>(width / 2, 1));
  std::ranges::sort(order);
  return order;
}

struct Lane {
  std::vector<float> row, unit;
};

class Scorer {
 public:
  Scorer(const GaussianScoresArgs& args, std::vector<size_t> channels)
      : shape_(args.shape),
        kernels_(ActiveKernels()),
        tokens_(args.tokens, args.shape.width, kernels_),
        channels_(std::move(channels)) {}

  size_t channels() const { return channels_.size(); }

  // A token's chosen channels, scaled to length 1.
  const float* Unit(size_t token, Lane& lane) const {
    lane.row.resize(shape_.width);
    lane.unit.resize(channels_.size());
    tokens_.Read(token, 1, lane.row.data());
    for (size_t i = 0; i < channels_.size(); ++i) lane.unit[i] = lane.row[channels_[i]];
    kernels_.normalize_row(lane.unit.data(), lane.unit.size(), lane.unit.data());
    return lane.unit.data();
  }

  static float Score(const float* unit, const std::vector<double>& centre) {
    double square = 0;
    for (size_t i = 0; i < centre.size(); ++i) {
      const double difference = static_cast<double>(unit[i]) - centre[i];
      square += difference * difference;
    }
    double score = 0;
    for (const double alpha : kAlphas) score += Exponential(-square / (2 * alpha));
    return static_cast<float>(score);
  }

 private:
  const Shape shape_;
  const Kernels& kernels_;
  const RowReader tokens_;
  const std::vector<size_t> channels_;
};

}  // namespace

void GaussianScores(const GaussianScoresArgs& args, const Workers& workers) {
  const size_t frames = args.shape.batch;
  const size_t patches = args.shape.rows;
  LocateNotFinite(args.tokens, args.shape, GaussianScoresArgs::kNames, [&] {
    const Scorer scorer(args, QuietChannels(args, workers));
    std::vector<std::vector<double>> centres(frames, std::vector<double>(scorer.channels(), 0.0));
    workers.For(frames, [&](size_t frame) {
      Lane lane;
      std::vector<double>& centre = centres[frame];
      for (size_t patch = 0; patch < patches; ++patch) {
        const float* unit = scorer.Unit(frame * patches + patch, lane);
        for (size_t i = 0; i < centre.size(); ++i) centre[i] += static_cast<double>(unit[i]);
      }
      for (double& value : centre) value /= static_cast<double>(patches);
    });
    std::vector<double> video(scorer.channels(), 0.0);
    for (const std::vector<double>& centre : centres) {
      for (size_t i = 0; i < video.size(); ++i) video[i] += centre[i];
    }
    for (double& value : video) value /= static_cast<double>(frames);
    workers.For(frames, [&](size_t frame) {
      Lane lane;
      for (size_t patch = 0; patch < patches; ++patch) {
        const size_t token = frame * patches + patch;
        const float* unit = scorer.Unit(token, lane);
        args.out_video[token] = Scorer::Score(unit, video);
        args.out_frame[token] = Scorer::Score(unit, centres[frame]);
      }
    });
  });
}

}  // namespace longvlm
