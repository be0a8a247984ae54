#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "core/density_peaks.h"
#include "core/row_distances.h"

namespace longvlm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Of rows of other lengths, float32 products, or float64 sums of squares, may not be as near to the
// true ones as is assumed.
constexpr double kShortest = 0x1p-40;
constexpr double kLongest = 0x1p40;
constexpr double kMostTimes = 0x1p20;

bool HaveLikeLengths(const CosineRows& rows) {
  double shortest = kLongest;
  double longest = kShortest;
  for (size_t row = 0; row < rows.size(); ++row) {
    shortest = std::min(shortest, rows.length(row));
    longest = std::max(longest, rows.length(row));
  }
  return shortest > kShortest && longest < kLongest && longest < shortest * kMostTimes;
}

// The squares of rows' distances: bounds of all, from words, and some exactly.
class Squares {
 public:
  Squares(const CosineRows& rows, WordMatrix& matrix)
      : matrix_(matrix),
        most_(rows.size() * rows.size() / 8 + 2 * rows.size()),
        least_(rows.size()),
        largest_(rows.size()) {
    std::vector<RowPair> pairs;
    for (uint32_t row = 0; row < rows.size(); ++row) pairs.push_back({row, row});
    matrix_.MultiplyExactly(pairs);
    for (size_t row = 0; row < rows.size(); ++row) {
      own_.push_back(matrix_.product(row, row));
      lengths_.push_back(rows.length(row));
    }
  }

  // What those of a row with each are at least and at most, until the next call.
  void SetBounds(size_t row) {
    const std::span<const int32_t> words = matrix_.words(row);
    const double margin = matrix_.margin() / 2.0;
    constexpr double kScale = static_cast<double>(kScreenScale);
    const double by = 2 * lengths_[row] / (kScale * kScale);
    for (size_t other = 0; other < words.size(); ++other) {
      const double sum = static_cast<double>(own_[row]) + static_cast<double>(own_[other]);
      const double scale = by * lengths_[other];
      least_[other] = sum - scale * (words[other] + margin);
      largest_[other] = sum - scale * (words[other] - margin);
    }
    least_[row] = largest_[row] = 0;
  }
  const std::vector<double>& least() const { return least_; }
  const std::vector<double>& largest() const { return largest_; }

  // Whether so many float32 products are less work than those of all pairs.
  bool AreFew(size_t products) const { return products <= most_; }
  // Computes some exactly. False if these are too many.
  bool Compute(std::span<const RowPair> pairs) {
    return AreFew(pairs.size()) && AreFew(matrix_.MultiplyExactly(pairs));
  }
  double Exact(size_t row, size_t other) const {
    return SquareOf(own_[row], own_[other], matrix_.product(row, other));
  }

 private:
  WordMatrix& matrix_;
  const size_t most_;
  std::vector<float> own_;  // products of rows with themselves
  std::vector<double> lengths_;
  std::vector<double> least_, largest_;
};

class Peaks {
 public:
  Peaks(const CosineRows& rows, size_t neighbours, WordMatrix& matrix, DensityPeaks& out)
      : squares_(rows, matrix),
        out_(out),
        count_(rows.size()),
        dims_(static_cast<double>(rows.dims())),
        neighbours_(std::min(neighbours, count_)),
        most_of_row_(count_) {}

  bool Find() { return FindDensities() && FindDistances(); }

 private:
  bool FindDensities() {
    std::vector<size_t> last_of_row;
    for (uint32_t row = 0; row < count_; ++row) {
      squares_.SetBounds(row);
      std::vector<double> smallest(neighbours_, kInfinity);
      for (const double square : squares_.largest()) AddToSmallest(square, smallest);
      for (uint32_t other = 0; other < count_; ++other) {
        if (squares_.least()[other] <= smallest.back()) pairs_.push_back({row, other});
      }
      if (!squares_.AreFew(pairs_.size())) return false;
      last_of_row.push_back(pairs_.size());
      farthest_ = std::max(farthest_, *std::ranges::max_element(squares_.least()));
      most_of_row_[row] = *std::ranges::max_element(squares_.largest());
    }
    if (!squares_.Compute(pairs_)) return false;
    for (size_t row = 0, i = 0; row < count_; ++row) {
      std::vector<double> smallest(neighbours_, kInfinity);
      for (; i < last_of_row[row]; ++i) {
        AddToSmallest(squares_.Exact(row, pairs_[i].row_of_b), smallest);
      }
      std::vector<float> nearest(smallest.size());
      std::ranges::transform(smallest, nearest.begin(),
                             [&](double square) { return DistanceOf(square, dims_); });
      out_.density[row] = DensityOf(nearest);
    }
    return true;
  }

  // The largest square of a distance.
  bool FindLargest(double& largest) {
    pairs_.clear();
    for (uint32_t row = 0; row < count_; ++row) {
      if (most_of_row_[row] < farthest_) continue;
      squares_.SetBounds(row);
      for (uint32_t other = row; other < count_; ++other) {
        if (squares_.largest()[other] >= farthest_) pairs_.push_back({row, other});
      }
    }
    if (!squares_.Compute(pairs_)) return false;
    largest = 0;
    for (const auto& [row, other] : pairs_) largest = std::max(largest, squares_.Exact(row, other));
    return true;
  }

  bool FindDistances() {
    double largest;
    if (!FindLargest(largest)) return false;
    pairs_.clear();
    std::vector<double> nearest(count_, largest);
    for (uint32_t row = 0; row < count_; ++row) {
      squares_.SetBounds(row);
      double at_most = kInfinity;
      for (size_t other = 0; other < count_; ++other) {
        if (out_.density[other] > out_.density[row])
          at_most = std::min(at_most, squares_.largest()[other]);
      }
      for (uint32_t other = 0; other < count_; ++other) {
        if (out_.density[other] > out_.density[row] && squares_.least()[other] <= at_most) {
          pairs_.push_back({row, other});
        }
      }
      if (!squares_.AreFew(pairs_.size())) return false;
    }
    if (!squares_.Compute(pairs_)) return false;
    for (const auto& [row, other] : pairs_) {
      nearest[row] = std::min(nearest[row], squares_.Exact(row, other));
    }
    for (size_t row = 0; row < count_; ++row) {
      out_.distance[row] = DistanceOf(nearest[row], dims_);
      out_.score[row] = out_.distance[row] * out_.density[row];
    }
    return true;
  }

  Squares squares_;
  DensityPeaks& out_;
  const size_t count_;
  const double dims_;
  const size_t neighbours_;
  std::vector<double> most_of_row_;
  double farthest_ = 0;  // the largest square is at least so much
  std::vector<RowPair> pairs_;
};

}  // namespace

bool FindDensityPeaksByWords(const CosineRows& rows, size_t neighbours, const Kernels& kernels,
                             const Workers& workers, WordMatrix& matrix, DensityPeaks& out) {
  const size_t count = rows.size();
  if (!rows.has_words() || count == 0 || count > WordMatrix::kMostRows) return false;
  if (!HaveLikeLengths(rows)) return false;
  out.density.resize(count);
  out.distance.resize(count);
  out.score.resize(count);
  matrix.Multiply(rows, kernels, workers, WordMatrix::Exactly::kRows);
  return Peaks(rows, neighbours, matrix, out).Find();
}

bool AssignToCentresByWords(const CosineRows& rows, const std::vector<uint32_t>& centres,
                            WordMatrix& matrix, std::vector<uint32_t>& out) {
  // Squares of which the roots are the same in float32 are not further apart.
  constexpr double kSameRoot = 1 + 0x1p-21;
  const double dims = static_cast<double>(rows.dims());
  Squares squares(rows, matrix);
  std::vector<RowPair> pairs;  // a row, and the number of a centre
  std::vector<RowPair> products;
  for (uint32_t row = 0; row < rows.size(); ++row) {
    squares.SetBounds(row);
    double at_most = kInfinity;
    for (const uint32_t centre : centres) at_most = std::min(at_most, squares.largest()[centre]);
    for (uint32_t i = 0; i < centres.size(); ++i) {
      if (squares.least()[centres[i]] > std::max(at_most, 0.0) * kSameRoot) continue;
      pairs.push_back({row, i});
      products.push_back({row, centres[i]});
    }
    if (!squares.AreFew(pairs.size())) return false;
  }
  if (!squares.Compute(products)) return false;
  std::vector<float> nearest(rows.size(), std::numeric_limits<float>::infinity());
  out.assign(rows.size(), 0);
  for (const auto& [row, i] : pairs) {
    const float distance = DistanceOf(squares.Exact(row, centres[i]), dims);
    if (!(distance < nearest[row])) continue;
    nearest[row] = distance;
    out[row] = i;
  }
  for (size_t i = 0; i < centres.size(); ++i) out[centres[i]] = static_cast<uint32_t>(i);
  return true;
}

}  // namespace longvlm
