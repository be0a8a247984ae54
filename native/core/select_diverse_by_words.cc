#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "core/select_diverse.h"

namespace longvlm {
namespace {

constexpr int32_t kLowest = std::numeric_limits<int32_t>::min();

// The second-largest of the values that `add` is called with.
template <typename T>
struct TwoLargest {
  T largest = std::numeric_limits<T>::lowest();
  T second = std::numeric_limits<T>::lowest();

  void Add(T value) {
    second = std::max(second, std::min(value, largest));
    largest = std::max(largest, value);
  }
};

class Selection {
 public:
  Selection(WordMatrix& matrix, std::vector<uint32_t>& out)
      : matrix_(matrix),
        out_(out),
        most_(matrix.rows() * matrix.rows() / 8),
        picked_(matrix.rows(), 0),
        closest_(matrix.rows(), kLowest) {}

  // The row whose second-largest product is smallest.
  bool PickFirst() {
    std::vector<TwoLargest<int32_t>> of_row(matrix_.rows());
    for (size_t row = 0; row < matrix_.rows(); ++row) {
      TwoLargest<int32_t> largest;
      for (const int32_t word : matrix_.words(row)) largest.Add(word);
      of_row[row] = largest;
    }
    return Pick([&](size_t row) { return of_row[row].second; },
                [&](size_t row, auto visit) {
                  const int64_t least = int64_t{of_row[row].second} - matrix_.margin();
                  for (uint32_t other = 0; other < matrix_.rows(); ++other) {
                    if (matrix_.word(row, other) >= least) visit(other);
                  }
                });
  }

  // The row whose largest product with those picked is smallest.
  bool PickNext() {
    const std::span<const int32_t> last = matrix_.words(out_.back());
    for (size_t row = 0; row < closest_.size(); ++row) {
      closest_[row] = std::max(closest_[row], last[row]);
    }
    return Pick([&](size_t row) { return closest_[row]; },
                [&](size_t row, auto visit) {
                  const int64_t least = int64_t{closest_[row]} - matrix_.margin();
                  for (const uint32_t other : out_) {
                    if (matrix_.word(row, other) >= least) visit(other);
                  }
                });
  }

 private:
  // word_of(row) is a row's value in words, and for_deciding(row, visit) calls visit(other) for the
  // rows among whose products the value is, in float32. False if that takes too many of these.
  template <typename WordOf, typename ForDeciding>
  bool Pick(WordOf word_of, ForDeciding for_deciding) {
    int32_t smallest = std::numeric_limits<int32_t>::max();
    for (size_t row = 0; row < matrix_.rows(); ++row) {
      if (picked_[row] == 0) smallest = std::min(smallest, word_of(row));
    }
    candidates_.clear();
    for (uint32_t row = 0; row < matrix_.rows(); ++row) {
      if (picked_[row] == 0 && int64_t{word_of(row)} - smallest <= matrix_.margin()) {
        candidates_.push_back(row);
      }
    }
    uint32_t best = candidates_.front();
    if (candidates_.size() > 1) {
      pairs_.clear();
      for (const uint32_t row : candidates_) {
        for_deciding(row, [&](uint32_t other) { pairs_.push_back({row, other}); });
        if (pairs_.size() > most_) return false;
      }
      if (matrix_.MultiplyExactly(pairs_) > most_) return false;
      float farthest = -std::numeric_limits<float>::infinity();
      for (const uint32_t row : candidates_) {
        TwoLargest<float> products;
        for_deciding(row, [&](uint32_t other) { products.Add(matrix_.product(row, other)); });
        const float distance = 1.0f - (out_.empty() ? products.second : products.largest);
        if (!(distance > farthest)) continue;
        farthest = distance;
        best = row;
      }
    }
    picked_[best] = 1;
    out_.push_back(best);
    return true;
  }

  WordMatrix& matrix_;
  std::vector<uint32_t>& out_;
  const size_t most_;  // float32 products, above which those of all pairs are less work
  std::vector<uint8_t> picked_;
  std::vector<int32_t> closest_;
  std::vector<uint32_t> candidates_;
  std::vector<RowPair> pairs_;
};

}  // namespace

bool SelectDiverseByWords(WordMatrix& matrix, size_t count, std::vector<uint32_t>& out) {
  out.clear();
  if (count == 0) return true;
  Selection selection(matrix, out);
  if (matrix.rows() == 1 || !selection.PickFirst()) return false;
  while (out.size() < count) {
    if (!selection.PickNext()) return false;
  }
  return true;
}

}  // namespace longvlm
