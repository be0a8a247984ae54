// Token merging of one segment, decided on its metric alone: who is most similar to whom, level by
// level, and where each token ends up.
//
// The metric of a merged token is the size-weighted mean of the metrics merged into it, so levels
// follow each other on the metric and the tokens themselves are not touched. Sums are kept instead
// of means: in float64 they are exact as long as the values' magnitudes are within 2^29.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/panel_rows.h"
#include "core/thread_pool.h"
#include "kernels/dispatch.h"

namespace longvlm {

// The most similar token of B of a token of A: the lowest row that is equal to it, else the lowest
// of those with the highest cosine.
struct Match {
  float similarity;  // 1 when the two are equal, else less
  int32_t row_of_b;
};

// At each level the tokens at even places are A, those at odd places B; the first
// `protected_tokens` places are counted, but take no part. Row i of A is the i-th token of A, and
// so for B.
class Matching {
 public:
  // Begins a segment of `tokens` of `dims` metric values each, in the memory of earlier ones.
  // `sizes` [tokens] is how many tokens each stands for; null for 1.
  void Start(size_t tokens, size_t dims, size_t protected_tokens, const float* sizes,
             const Kernels& kernels);

  // The metric of one token, to be filled; then Prepare for all tokens, in any number of calls.
  float* metric(size_t token) { return metric_.data() + token * dims_; }
  void Prepare(size_t first, size_t last);

  // How many tokens are left, and how many of them take part.
  size_t tokens() const { return tokens_; }
  size_t num_a() const { return (tokens_ - protected_ + 1 - protected_ % 2) / 2; }
  size_t num_b() const { return (tokens_ - protected_ + protected_ % 2) / 2; }
  // The places of the first tokens of A and of B.
  size_t first_a() const { return protected_ + protected_ % 2; }
  size_t first_b() const { return protected_ + 1 - protected_ % 2; }
  // The most that a level merges.
  size_t max_r() const { return (tokens_ - protected_) / 2; }

  // A level is MatchAll, then MergeAll; levels of several segments of the same shape advance
  // together. max_r() >= 1.
  static void MatchAll(std::span<Matching> segments, const Workers& workers);
  // 1 <= r <= max_r(). `more`: whether another level follows.
  static void MergeAll(std::span<Matching> segments, size_t r, bool more, const Workers& workers);

  // After MatchAll.
  const Match& match(size_t row_of_a) const { return matches_[row_of_a]; }
  // All rows of A, most similar first, equal ones in their own order.
  std::span<const uint32_t> SortedRows();

  // For each token given at first, where it is now.
  std::span<const int32_t> assignment() const { return assignment_; }

  // How many bytes it keeps from segment to segment.
  size_t memory() const;

 private:
  void ScreenPanel(size_t panel);
  void MatchPanel(size_t panel);
  int32_t FindEqual(size_t row_of_a) const;
  bool SameRow(size_t row_of_a, size_t row_of_b) const;
  void SetMatch(size_t row_of_a, float highest, int32_t row_of_b, int32_t equal);

  void SetKeys();
  void Select(size_t r, bool more);
  void GroupBySlot();
  void Combine(size_t first_slot, size_t last_slot);
  void Advance(bool more);

  const Kernels* kernels_ = nullptr;
  size_t dims_ = 0;
  size_t protected_ = 0;
  size_t tokens_ = 0;
  bool screens_ = false;
  int32_t margin_ = 0;
  float might_be_equal_ = 0;

  // What the tokens that are left hold: their metric while none is merged, then metric times size.
  bool merged_ = false;
  std::vector<float> metric_;
  std::vector<float> weights_;  // of the tokens given at first; empty for 1
  std::vector<double> sums_;
  std::vector<double> sizes_;
  PanelRows a_, b_;

  std::vector<Match> matches_;
  std::vector<uint8_t> unscreened_;  // for each panel of A: whether BestMatch has to decide
  std::vector<uint64_t> keys_;
  std::vector<uint32_t> order_;

  // The next level.
  size_t kept_ = 0;
  std::vector<int32_t> slot_of_;      // of each token that is left
  std::vector<uint32_t> first_from_;  // [kept + 1], into `from_`
  std::vector<size_t> from_;          // the tokens of each slot, ascending, times dims
  std::vector<float> from_weights_;   // in the order of `from_`, while none is merged
  std::vector<double> next_sums_;
  std::vector<double> next_sizes_;
  std::vector<int32_t> assignment_;
};

}  // namespace longvlm
