#include "core/gaussian_scores.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/exponential.h"
#include "core/lanes.h"
#include "core/read_rows.h"
#include "core/scratch_memory.h"

namespace longvlm {
namespace {

constexpr double kAlphas[] = {0.125, 0.25, 0.5, 1, 2};
// Tokens that are read at once: their chosen channels fit into a first-level cache.
constexpr size_t kTokensAtOnce = 4;

// The variances of some channels over all tokens.
void FindVariances(const GaussianScoresArgs& args, size_t first, size_t columns,
                   double* variances) {
  constexpr size_t kRowsAtOnce = 32;
  const Kernels& kernels = ActiveKernels();
  const size_t width = args.shape.width;
  const size_t rows = args.shape.batch * args.shape.rows;
  std::vector<double> sums(columns, 0.0), squares(columns, 0.0);
  Visit(args.tokens, [&](const auto* tokens) {
    if constexpr (std::is_same_v<decltype(tokens), const float*>) {
      kernels.add_moments(tokens + first, width, rows, columns, sums.data(), squares.data());
    } else {
      std::vector<float> converted(kRowsAtOnce * columns);
      for (size_t row = 0; row < rows; row += kRowsAtOnce) {
        const size_t count = std::min(kRowsAtOnce, rows - row);
        for (size_t i = 0; i < count; ++i) {
          kernels.token_metric_f16(tokens + (row + i) * width + first, 1, 1, columns,
                                   converted.data() + i * columns);
        }
        kernels.add_moments(converted.data(), columns, count, columns, sums.data(), squares.data());
      }
    }
  });
  CheckFinite(sums.data(), columns);
  for (size_t c = 0; c < columns; ++c) {
    const double mean = sums[c] / static_cast<double>(rows);
    variances[c] = squares[c] / static_cast<double>(rows) - mean * mean;
  }
}

// The channels with the lowest variance over all tokens, as many as `count`: a bit for each, as in
// gaussian_sums.h.
std::vector<uint16_t> QuietChannels(const GaussianScoresArgs& args, size_t count,
                                    const Workers& workers) {
  // Sums of a block fit into a second-level cache; each thread has as many blocks.
  constexpr size_t kMostColumns = 2048;
  constexpr size_t kLeastColumns = 64;
  const size_t width = args.shape.width;
  const size_t rounds = (width - 1) / (kMostColumns * workers.threads()) + 1;
  const size_t columns = std::max((width - 1) / (rounds * workers.threads()) + 1, kLeastColumns);
  std::vector<double> variances(width);
  workers.For((width - 1) / columns + 1, [&](size_t block) {
    const size_t first = block * columns;
    FindVariances(args, first, std::min(columns, width - first), variances.data() + first);
  });
  std::vector<std::pair<double, size_t>> order;
  for (size_t channel = 0; channel < width; ++channel)
    order.emplace_back(variances[channel], channel);
  std::ranges::nth_element(order, order.begin() + static_cast<std::ptrdiff_t>(count - 1));
  std::vector<uint16_t> chosen((width + 15) / 16, 0);
  for (size_t i = 0; i < count; ++i) {
    const size_t channel = order[i].second;
    chosen[channel / 16] |= static_cast<uint16_t>(1u << channel % 16);
  }
  return chosen;
}

// Scratch memory of a thread.
struct Lane {
  ScratchMemory<float> values;  // the chosen channels of some tokens, rows of Scorer::stride()
  ScratchMemory<float> row;
};

// How like tokens are to centres, by the chosen channels of each, scaled to length 1.
class Scorer {
 public:
  Scorer(const GaussianScoresArgs& args, const Workers& workers)
      : shape_(args.shape),
        kernels_(ActiveKernels()),
        tokens_(args.tokens, args.shape.width, kernels_),
        channels_(std::max<size_t>(args.shape.width / 2, 1)),
        chosen_(QuietChannels(args, channels_, workers)),
        scales_(args.shape.batch * args.shape.rows) {}

  size_t channels() const { return channels_; }

  // The mean of a frame's scaled tokens; notes the scales.
  void ReadFrame(size_t frame, Lane& lane, const Workers& workers, std::vector<double>& mean) {
    const size_t at_once = kTokensAtOnce * 4 * workers.threads();
    lane.values.Resize(at_once * stride());
    mean.assign(channels_, 0.0);
    for (size_t first = 0; first < shape_.rows; first += at_once) {
      const size_t token = frame * shape_.rows + first;
      const size_t count = std::min(at_once, shape_.rows - first);
      workers.For((count - 1) / kTokensAtOnce + 1, [&](size_t block) {
        const size_t begin = block * kTokensAtOnce;
        SetScales(token + begin, std::min(kTokensAtOnce, count - begin),
                  lane.values.data() + begin * stride());
      });
      const size_t columns = (channels_ - 1) / workers.threads() + 1;
      workers.For((channels_ - 1) / columns + 1, [&](size_t block) {
        const size_t begin = block * columns;
        kernels_.add_scaled_rows(lane.values.data() + begin, stride(), scales_.data() + token,
                                 count, std::min(columns, channels_ - begin), mean.data() + begin);
      });
    }
    for (double& value : mean) value /= static_cast<double>(shape_.rows);
  }

  // The scores of at most kTokensAtOnce tokens of one frame, of which the scales are known.
  void Score(size_t first, size_t count, const std::vector<double>& video,
             const std::vector<double>& frame, Lane& lane, float* of_video, float* of_frame) const {
    double squares[2 * kTokensAtOnce];
    lane.values.Resize(kTokensAtOnce * stride());
    Read(first, count, lane.values.data());
    kernels_.squared_distances(lane.values.data(), stride(), scales_.data() + first, count,
                               {video.data(), frame.data()}, channels_, squares);
    for (size_t i = 0; i < count; ++i) {
      of_video[i] = ScoreOf(squares[i]);
      of_frame[i] = ScoreOf(squares[count + i]);
    }
  }

 private:
  // Between rows of chosen channels: behind each is what its selection leaves there.
  size_t stride() const { return channels_ + 7; }

  void Read(size_t first, size_t count, float* values) const {
    std::vector<float> scratch(tokens_.is_float32() ? 0 : shape_.width);
    for (size_t i = 0; i < count; ++i) {
      kernels_.select_channels(tokens_.Row(first + i, scratch.data()), chosen_.data(), shape_.width,
                               values + i * stride());
    }
  }

  void SetScales(size_t first, size_t count, float* values) {
    Read(first, count, values);
    const float* rows[kTokensAtOnce];
    for (size_t i = 0; i < count; ++i) rows[i] = values + i * stride();
    double* scales = scales_.data() + first;
    kernels_.row_squares(rows, count, channels_, scales);
    std::transform(scales, scales + count, scales, InverseLength);
  }

  static float ScoreOf(double square) {
    double parts[std::size(kAlphas)];
    for (size_t i = 0; i < std::size(kAlphas); ++i) parts[i] = -square / (2 * kAlphas[i]);
    Exponentials(parts);
    return static_cast<float>(std::accumulate(std::begin(parts), std::end(parts), 0.0));
  }

  const Shape shape_;
  const Kernels& kernels_;
  const RowReader tokens_;
  const size_t channels_;
  const std::vector<uint16_t> chosen_;
  std::vector<double> scales_;  // of each token
};

}  // namespace

void GaussianScores(const GaussianScoresArgs& args, const Workers& workers) {
  const Shape& shape = args.shape;
  LocateNotFinite(args.tokens, shape, GaussianScoresArgs::kNames, [&] {
    Scorer scorer(args, workers);
    std::vector<Lane> lanes;
    std::vector<std::vector<double>> centres(shape.batch);
    // From the last frame to the first, and then back: what was read last is still in a cache.
    ForItems(shape.batch, workers, lanes, [&](size_t i, Lane& lane, const Workers& own) {
      const size_t frame = shape.batch - 1 - i;
      scorer.ReadFrame(frame, lane, own, centres[frame]);
    });
    std::vector<double> video(scorer.channels(), 0.0);
    for (const std::vector<double>& centre : centres) {
      for (size_t i = 0; i < video.size(); ++i) video[i] += centre[i];
    }
    for (double& value : video) value /= static_cast<double>(shape.batch);
    const size_t blocks = (shape.rows - 1) / kTokensAtOnce + 1;
    ForBlocks(shape.batch * blocks, workers, lanes, [&](size_t i, Lane& lane) {
      const size_t frame = i / blocks;
      const size_t patch = i % blocks * kTokensAtOnce;
      const size_t token = frame * shape.rows + patch;
      scorer.Score(token, std::min(kTokensAtOnce, shape.rows - patch), video, centres[frame], lane,
                   args.out_video + token, args.out_frame + token);
    });
  });
}

}  // namespace longvlm
