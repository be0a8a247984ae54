#include "core/gaussian_scores.h"

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/exponential.h"
#include "core/lanes.h"
#include "core/read_rows.h"

namespace longvlm {
namespace {

constexpr double kAlphas[] = {0.125, 0.25, 0.5, 1, 2};

// The channels with the lowest variance over all tokens, half of them, ascending.
std::vector<size_t> QuietChannels(const GaussianScoresArgs& args, const Workers& workers) {
  constexpr size_t kColumns = 512;
  constexpr size_t kRowsAtOnce = 32;
  const Kernels& kernels = ActiveKernels();
  const size_t width = args.shape.width;
  const size_t rows = args.shape.batch * args.shape.rows;
  std::vector<double> variances(width);
  workers.For((width + kColumns - 1) / kColumns, [&](size_t block) {
    const size_t first = block * kColumns;
    const size_t columns = std::min(kColumns, width - first);
    double sums[kColumns] = {};
    double squares[kColumns] = {};
    std::vector<float> converted;
    Visit(args.tokens, [&](const auto* tokens) {
      if constexpr (std::is_same_v<decltype(tokens), const float*>) {
        kernels.add_moments(tokens + first, width, rows, columns, sums, squares);
      } else {
        converted.resize(kRowsAtOnce * columns);
        for (size_t row = 0; row < rows; row += kRowsAtOnce) {
          const size_t count = std::min(kRowsAtOnce, rows - row);
          for (size_t i = 0; i < count; ++i) {
            kernels.token_metric_f16(tokens + (row + i) * width + first, 1, 1, columns,
                                     converted.data() + i * columns);
          }
          kernels.add_moments(converted.data(), columns, count, columns, sums, squares);
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

// The chosen channels of tokens, and how like they are to a centre.
class Scorer {
 public:
  Scorer(const GaussianScoresArgs& args, const std::vector<size_t>& channels)
      : width_(args.shape.width),
        kernels_(ActiveKernels()),
        tokens_(args.tokens, args.shape.width, kernels_),
        channels_(channels.size()),
        chosen_((width_ + 15) / 16, 0) {
    for (const size_t channel : channels) {
      chosen_[channel / 16] |= static_cast<uint16_t>(1u << channel % 16);
    }
  }

  size_t channels() const { return channels_; }

  // The chosen channels of `count` tokens, scaled to length 1: units [count, channels].
  void ReadUnits(size_t first, size_t count, float* units) const {
    std::vector<float> scratch(width_);
    for (size_t i = 0; i < count; ++i) {
      const float* row = tokens_.Row(first + i, scratch.data());
      float* unit = units + i * channels_;
      kernels_.select_channels(row, chosen_.data(), width_, unit);
    }
    kernels_.normalize_rows(units, count, channels_);
  }

  // The scores of the `count` tokens of a panel.
  void Score(const float* panel, const std::vector<double>& centre, size_t count,
             float* scores) const {
    double squares[kTokensOfPanel];
    kernels_.squared_distances(panel, centre.data(), centre.size(), squares);
    for (size_t i = 0; i < count; ++i) {
      double score = 0;
      for (const double alpha : kAlphas) score += Exponential(-squares[i] / (2 * alpha));
      scores[i] = static_cast<float>(score);
    }
  }

 private:
  const size_t width_;
  const Kernels& kernels_;
  const RowReader tokens_;
  const size_t channels_;
  std::vector<uint16_t> chosen_;  // as in gaussian_sums.h
};

struct Lane {
  std::vector<float> units;
};

// The mean unit of each frame.
std::vector<std::vector<double>> FrameCentres(const Scorer& scorer, const Shape& shape,
                                              const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const size_t channels = scorer.channels();
  std::vector<std::vector<double>> centres(shape.batch, std::vector<double>(channels));
  std::vector<size_t> offsets(shape.rows);
  for (size_t i = 0; i < shape.rows; ++i) offsets[i] = i * channels;
  std::vector<Lane> lanes;
  ForItems(shape.batch, workers, lanes, [&](size_t frame, Lane& lane, const Workers& own) {
    lane.units.resize(shape.rows * channels);
    own.For((shape.rows + kTokensOfPanel - 1) / kTokensOfPanel, [&](size_t block) {
      const size_t first = block * kTokensOfPanel;
      scorer.ReadUnits(frame * shape.rows + first, std::min(kTokensOfPanel, shape.rows - first),
                       lane.units.data() + first * channels);
    });
    std::vector<double>& centre = centres[frame];
    kernels.sum_rows_f32(lane.units.data(), offsets.data(), nullptr, shape.rows, channels,
                         centre.data());
    for (double& value : centre) value /= static_cast<double>(shape.rows);
  });
  return centres;
}

}  // namespace

void GaussianScores(const GaussianScoresArgs& args, const Workers& workers) {
  const Shape& shape = args.shape;
  LocateNotFinite(args.tokens, shape, GaussianScoresArgs::kNames, [&] {
    const Scorer scorer(args, QuietChannels(args, workers));
    const std::vector<std::vector<double>> centres = FrameCentres(scorer, shape, workers);
    std::vector<double> video(scorer.channels(), 0.0);
    for (const std::vector<double>& centre : centres) {
      for (size_t i = 0; i < video.size(); ++i) video[i] += centre[i];
    }
    for (double& value : video) value /= static_cast<double>(shape.batch);
    const size_t blocks = (shape.rows + kTokensOfPanel - 1) / kTokensOfPanel;
    workers.For(shape.batch * blocks, [&](size_t i) {
      const size_t frame = i / blocks;
      const size_t patch = i % blocks * kTokensOfPanel;
      const size_t token = frame * shape.rows + patch;
      const size_t count = std::min(kTokensOfPanel, shape.rows - patch);
      std::vector<float> units(count * scorer.channels());
      std::vector<float> panel(kTokensOfPanel * scorer.channels());
      scorer.ReadUnits(token, count, units.data());
      ActiveKernels().pack_panel(units.data(), count, 0, scorer.channels(), kTokensOfPanel,
                                 panel.data());
      scorer.Score(panel.data(), video, count, args.out_video + token);
      scorer.Score(panel.data(), centres[frame], count, args.out_frame + token);
    });
  });
}

}  // namespace longvlm
