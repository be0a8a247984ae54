#include "core/share_budget.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace longvlm {
namespace {

// A share that is a whole number but for rounding is that number.
constexpr double kRounding = 1e-9;

// Shares of `tokens` by weight, in the reference's float32 or in float64.
std::vector<double> Shares(std::span<const double> weights, size_t tokens, Leftover leftover) {
  std::vector<double> shares(weights.size());
  if (leftover == Leftover::kReference) {
    float sum = 0;
    for (const double weight : weights) sum += static_cast<float>(weight);
    for (size_t i = 0; i < shares.size(); ++i) {
      const float part =
          sum > 0 ? static_cast<float>(weights[i]) / sum : 1.0f / static_cast<float>(shares.size());
      shares[i] = static_cast<double>(part * static_cast<float>(tokens));
    }
    return shares;
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (size_t i = 0; i < shares.size(); ++i) {
    const double part = sum > 0 ? weights[i] / sum : 1.0 / static_cast<double>(shares.size());
    shares[i] = part * static_cast<double>(tokens);
  }
  return shares;
}

}  // namespace

std::vector<uint32_t> ShareBudget(std::span<const double> weights, size_t total, size_t least,
                                  size_t most, Leftover leftover) {
  const size_t frames = weights.size();
  std::vector<uint32_t> counts(frames, static_cast<uint32_t>(least));
  std::vector<double> fractions(frames);
  size_t left = total - frames * least;
  const std::vector<double> shares = Shares(weights, left, leftover);
  const double rounding = leftover == Leftover::kReference ? 0 : kRounding;
  for (size_t i = 0; i < frames; ++i) {
    const double whole = std::floor(shares[i] + rounding);
    fractions[i] = shares[i] - whole;
    const size_t given = std::min({static_cast<size_t>(whole), most - least, left});
    counts[i] += static_cast<uint32_t>(given);
    left -= given;
  }
  std::vector<size_t> order(frames);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return fractions[a] > fractions[b]; });
  while (left > 0) {
    for (const size_t i : order) {
      const size_t room = most - counts[i];
      const size_t given =
          std::min(left, leftover == Leftover::kReference ? room : std::min<size_t>(room, 1));
      counts[i] += static_cast<uint32_t>(given);
      left -= given;
    }
  }
  return counts;
}

}  // namespace longvlm
