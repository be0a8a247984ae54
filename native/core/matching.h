// Token merging of one segment, decided on its metric alone: which tokens merge at each level, and
// the final position of each token.
//
// The metric of a merged token is the size-weighted mean of the metrics merged into it, so levels
// follow each other on the metric and the tokens themselves are not touched. Sums are kept instead
// of means: in float64 they are exact as long as the values' magnitudes are within 2^29.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/panel_bytes.h"
#include "core/panel_rows.h"
#include "core/thread_pool.h"
#include "kernels/dispatch.h"

namespace longvlm {

// For a token of A, its most similar token of B: the lowest row that is equal to it, else the
// lowest row with the highest cosine.
struct Match {
  float similarity;  // 1 when the two are equal, else less
  int32_t row_of_b;
};

// At each level the tokens at even positions are A, those at odd positions B. The first
// `protected_tokens` positions count, but are not merged. Row i of A is the i-th token of A; the
// same for B.
class Matching {
 public:
  // Multiply-adds of all similarities of a level.
  static size_t Products(size_t tokens, size_t dims) { return tokens / 2 * (tokens / 2) * dims; }

  // Begins a segment of `tokens` of `dims` metric values each, reusing the memory of earlier
  // segments. `sizes` [tokens] is how many tokens each token represents; null for 1.
  void Start(size_t tokens, size_t dims, size_t protected_tokens, const float* sizes,
             const Kernels& kernels);

  // The metric of one token, for the caller to fill. Then call Prepare for all tokens, in one or
  // more calls.
  float* metric(size_t token) { return metric_.data() + token * dims_; }
  void Prepare(size_t first, size_t last);

  // How many tokens remain, and how many of them are not protected.
  size_t tokens() const { return tokens_; }
  size_t num_a() const { return (tokens_ - protected_ + 1 - protected_ % 2) / 2; }
  size_t num_b() const { return (tokens_ - protected_ + protected_ % 2) / 2; }
  // The positions of the first tokens of A and of B.
  size_t first_a() const { return protected_ + protected_ % 2; }
  size_t first_b() const { return protected_ + 1 - protected_ % 2; }
  // The maximum number of tokens that a level can merge.
  size_t max_r() const { return (tokens_ - protected_) / 2; }

  // A level is MatchAll, then MergeAll. Several segments of the same shape advance together.
  // Requires max_r() >= 1. `ordered`: whether the similarities are wanted, by match(), SortedRows()
  // or a merge of fewer than num_a(); else only the rows of B are found.
  static void MatchAll(std::span<Matching> segments, bool ordered, const Workers& workers);
  // 1 <= r <= max_r(). `more`: whether another level follows.
  static void MergeAll(std::span<Matching> segments, size_t r, bool more, const Workers& workers);

  // After MatchAll.
  const Match& match(size_t row_of_a) const { return matches_[row_of_a]; }
  // All rows of A, most similar first; ties in original order.
  std::span<const uint32_t> SortedRows();

  // For each input token, its current position.
  std::span<const int32_t> assignment() const { return assignment_; }

  // Number of bytes that are kept between segments.
  size_t memory() const;

 private:
  static void SetBytes(std::span<Matching> segments, const Workers& workers);
  // The pairs of a panel of A and `count` panels of B that can be the most similar; their number,
  // or more than kPairsPerPanel * (count + width_a), or kTooManyHits.
  size_t Screen(size_t panel, size_t first, size_t count, uint32_t wanted, bool by_bytes,
                std::span<RowPair> pairs) const;
  // Returns whether to go on with 8 bits.
  bool ScreenPanel(size_t panel, bool ordered, bool by_bytes);
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

  // The metric of the remaining tokens; after the first merge, metric times size.
  bool merged_ = false;
  std::vector<float> metric_;
  std::vector<float> weights_;  // of the tokens given at first; empty for 1
  std::vector<double> sums_;
  std::vector<double> sizes_;
  PanelRows a_, b_;
  bool has_bytes_ = false;
  PanelBytes bytes_of_a_, bytes_of_b_;
  ByteScale byte_scale_{};  // of B

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
