// What the library computes, as it is defined, in plain loops: the first thing it is compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace reference {

struct Match {
  float similarity;
  uint32_t row_of_b;
};

inline std::vector<float> Metric(const float* token, size_t heads, size_t dims) {
  std::vector<float> metric(dims);
  for (size_t k = 0; k < dims; ++k) {
    double sum = 0;
    for (size_t head = 0; head < heads; ++head) sum += static_cast<double>(token[head * dims + k]);
    metric[k] = static_cast<float>(sum / static_cast<double>(heads));
  }
  return metric;
}

inline std::vector<float> Normalize(const std::vector<float>& mean) {
  double square[4] = {};
  const size_t even = mean.size() / 4 * 4;
  for (size_t k = 0; k < mean.size(); ++k) {
    const double value = static_cast<double>(mean[k]);
    const double product = value * value;
    square[k < even ? k % 4 : 0] += product;
  }
  const double all = (square[0] + square[1]) + (square[2] + square[3]);
  const double scale = all > 0 ? 1 / std::sqrt(all) : 0;
  std::vector<float> row(mean.size());
  for (size_t k = 0; k < mean.size(); ++k) {
    row[k] = static_cast<float>(static_cast<double>(mean[k]) * scale);
  }
  return row;
}

inline bool Equal(const std::vector<float>& a, const std::vector<float>& b) {
  const auto is_zero = [](float value) { return value == 0; };
  return a == b && !std::all_of(a.begin(), a.end(), is_zero);
}

inline Match BestMatch(const std::vector<float>& a, const std::vector<std::vector<float>>& rows,
                       size_t first_b) {
  Match best = {-INFINITY, 0};
  int64_t equal = -1;
  for (size_t token = first_b, row = 0; token < rows.size(); token += 2, ++row) {
    const std::vector<float>& b = rows[token];
    float chain = 0;
    for (size_t k = 0; k < a.size(); ++k) chain = std::fma(a[k], b[k], chain);
    if (chain > best.similarity) best = {chain, static_cast<uint32_t>(row)};
    if (equal < 0 && Equal(a, b)) equal = static_cast<int64_t>(row);
  }
  if (equal >= 0) return {1, static_cast<uint32_t>(equal)};
  best.similarity = std::min(best.similarity, 1 - 0x1p-24f);
  return best;
}

// One segment, level by level.
class Matching {
 public:
  Matching(std::vector<std::vector<float>> metric, const float* sizes, size_t protect)
      : protect_(protect), all_(metric.size()), assignment_(metric.size()) {
    for (size_t i = 0; i < metric.size(); ++i) {
      sizes_.push_back(sizes == nullptr ? 1 : static_cast<double>(sizes[i]));
      std::vector<double> sum;
      for (const float value : metric[i]) sum.push_back(static_cast<double>(value) * sizes_[i]);
      sums_.push_back(std::move(sum));
    }
    std::iota(assignment_.begin(), assignment_.end(), 0);
  }

  size_t tokens() const { return sums_.size(); }
  size_t max_r() const { return (tokens() - protect_) / 2; }
  size_t first_a() const { return protect_ + protect_ % 2; }
  size_t first_b() const { return protect_ + 1 - protect_ % 2; }
  const std::vector<uint32_t>& order() const { return order_; }  // rows of A
  const std::vector<Match>& matches() const { return matches_; }
  const std::vector<int32_t>& assignment() const { return assignment_; }

  void FindMatches() {
    std::vector<std::vector<float>> rows;
    for (size_t i = 0; i < tokens(); ++i) {
      std::vector<float> mean;
      for (const double sum : sums_[i]) mean.push_back(static_cast<float>(sum / sizes_[i]));
      rows.push_back(Normalize(mean));
    }
    matches_.clear();
    for (size_t token = first_a(); token < tokens(); token += 2) {
      matches_.push_back(BestMatch(rows[token], rows, first_b()));
    }
    order_.resize(matches_.size());
    std::iota(order_.begin(), order_.end(), 0u);
    std::stable_sort(order_.begin(), order_.end(), [this](uint32_t a, uint32_t b) {
      return matches_[a].similarity > matches_[b].similarity;
    });
  }

  void Merge(size_t r) {
    const size_t stay = matches_.size() - r;
    const size_t kept = tokens() - r;
    std::vector<size_t> slot_of(tokens());
    for (size_t token = 0; token < protect_; ++token) slot_of[token] = token;
    for (size_t token = first_b(), row = 0; token < tokens(); token += 2, ++row) {
      slot_of[token] = protect_ + stay + row;
    }
    for (size_t i = 0; i < order_.size(); ++i) {
      slot_of[first_a() + 2 * order_[i]] =
          i < r ? protect_ + stay + matches_[order_[i]].row_of_b : protect_ + i - r;
    }
    std::vector<std::vector<double>> sums(kept, std::vector<double>(sums_.front().size()));
    std::vector<double> sizes(kept);
    for (size_t token = 0; token < tokens(); ++token) {
      sizes[slot_of[token]] += sizes_[token];
      for (size_t k = 0; k < sums_[token].size(); ++k) sums[slot_of[token]][k] += sums_[token][k];
    }
    sums_ = std::move(sums);
    sizes_ = std::move(sizes);
    for (int32_t& place : assignment_) {
      place = static_cast<int32_t>(slot_of[static_cast<size_t>(place)]);
    }
  }

 private:
  size_t protect_;
  size_t all_;
  std::vector<std::vector<double>> sums_;
  std::vector<double> sizes_;
  std::vector<Match> matches_;
  std::vector<uint32_t> order_;
  std::vector<int32_t> assignment_;
};

// [slots, width] means or sums of [rows, width], and the sums of weights. A slot without rows is 0.
struct Merged {
  std::vector<double> values;
  std::vector<double> weights;
};
inline Merged MergeByAssignment(const float* rows, const float* weights, const int32_t* assignment,
                                size_t num_rows, size_t width, size_t slots, bool divide) {
  Merged merged = {std::vector<double>(slots * width), std::vector<double>(slots)};
  for (size_t row = 0; row < num_rows; ++row) {
    const auto slot = static_cast<size_t>(assignment[row]);
    const double weight = weights == nullptr ? 1 : static_cast<double>(weights[row]);
    merged.weights[slot] += weight;
    for (size_t c = 0; c < width; ++c) {
      merged.values[slot * width + c] += weight * static_cast<double>(rows[row * width + c]);
    }
  }
  for (size_t i = 0; i < merged.values.size(); ++i) {
    if (divide && merged.weights[i / width] > 0) merged.values[i] /= merged.weights[i / width];
  }
  return merged;
}

}  // namespace reference
