#include "core/vid_com2.h"

#include <cmath>
#include <numeric>
#include <vector>

#include "core/exponential.h"
#include "core/gaussian_scores.h"
#include "core/select_top_k.h"
#include "core/share_whole.h"

namespace longvlm {
namespace {

constexpr double kTemperature = 0.01;

// How many tokens a frame gets in proportion to the average: 1 for a frame that is as unlike the
// video as all are.
std::vector<double> FrameScales(const std::vector<float>& likeness, const Shape& shape) {
  std::vector<double> unlike(shape.batch);
  for (size_t frame = 0; frame < shape.batch; ++frame) {
    double sum = 0;
    for (size_t i = 0; i < shape.rows; ++i) {
      sum += static_cast<double>(likeness[frame * shape.rows + i]);
    }
    unlike[frame] = -sum / static_cast<double>(shape.rows);
  }
  const double highest = *std::ranges::max_element(unlike);
  for (double& value : unlike) value = Exponential((value - highest) / kTemperature);
  const double sum = std::accumulate(unlike.begin(), unlike.end(), 0.0);
  for (double& value : unlike) value = 1 + value / sum - 1 / static_cast<double>(shape.batch);
  return unlike;
}

std::vector<int32_t> FrameBudgets(const VidCom2Args& args, const std::vector<double>& scales) {
  const Shape& shape = args.shape;
  std::vector<int32_t> budgets(shape.batch);
  if (args.total > 0) {
    const auto wanted = [&](size_t frame) {
      return static_cast<double>(args.total) * scales[frame] / static_cast<double>(shape.batch);
    };
    const std::vector<uint32_t> shares =
        ShareWhole(shape.batch, args.total, wanted, [&](size_t) { return shape.rows; });
    std::ranges::copy(shares, budgets.begin());
    return budgets;
  }
  for (size_t frame = 0; frame < shape.batch; ++frame) {
    const double part = std::min(1.0, args.ratio * scales[frame]);
    // Of halves the even number.
    const double tokens = std::nearbyint(part * static_cast<double>(shape.rows));
    budgets[frame] = static_cast<int32_t>(std::max(tokens, 1.0));
  }
  return budgets;
}

}  // namespace

void VidCom2(const VidCom2Args& args, const Workers& workers) {
  const Shape& shape = args.shape;
  const size_t tokens = shape.batch * shape.rows;
  std::vector<float> of_video(tokens), of_frame(tokens);
  GaussianScores({.tokens = args.tokens,
                  .shape = shape,
                  .out_video = of_video.data(),
                  .out_frame = of_frame.data()},
                 workers);
  const std::vector<int32_t> budgets = FrameBudgets(args, FrameScales(of_video, shape));
  const auto total = std::accumulate(budgets.begin(), budgets.end(), size_t{0});
  for (size_t i = 0; i < tokens; ++i) of_video[i] = -(of_video[i] + of_frame[i]);
  SelectTopK({.scores = of_video.data(),
              .shape = {1, shape.batch, shape.rows},
              .budgets = budgets.data(),
              .total = total,
              .out_indices = args.out_indices},
             workers);
  *args.out_count = static_cast<int32_t>(total);
}

}  // namespace longvlm
