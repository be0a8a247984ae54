// One level of token merging over the metric of one segment: who is most similar to whom, and what
// is left afterwards.
//
// The metric of a merged token is the size-weighted mean of the metrics merged into it, so levels
// follow each other on the metric alone and the tokens themselves are not touched. Sums are kept
// instead of means: they are exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/dispatch.h"

namespace longvlm {

class Matching {
 public:
  // For `tokens` of `dims` metric values each.
  Matching(size_t tokens, size_t dims, const Kernels& kernels);

  // Back to the first level, for another segment in the same memory.
  void Reset();

  // The metric of one token, to be filled for all tokens before the first level. float32 values:
  // then sums of up to 2^29 are exact.
  double* metric(size_t token) { return sums_.data() + token * dims_; }

  // How many tokens are left.
  size_t tokens() const { return tokens_; }
  size_t num_a() const { return (tokens_ + 1) / 2; }
  size_t num_b() const { return tokens_ / 2; }

  // A level is MatchAll, then Merge. In MatchAll the levels of several segments advance together;
  // num_b() >= 1 in all.
  static void MatchAll(std::vector<Matching>& segments, const Workers& workers);

  // After MatchAll: rows of A, most similar first, equal ones in their own order; and the row of B
  // most similar to a row of A. Row i of A is token 2i, row i of B is token 2i + 1.
  const std::vector<uint32_t>& order() const { return order_; }
  int32_t partner(size_t row_of_a) const { return partner_[row_of_a]; }

  // Merges the first r of order() into their partners. 1 <= r <= num_b().
  void Merge(size_t r);

  // For each token given at first, where it is now.
  const std::vector<int32_t>& assignment() const { return assignment_; }

 private:
  size_t PackBlocks() const;
  void Pack(size_t block);
  size_t PanelBlocks() const;
  void MatchPanels(size_t block);
  bool SameRow(size_t row_of_a, size_t row_of_b) const;
  void Sort();

  const Kernels* kernels_;
  size_t all_tokens_;
  size_t dims_;
  size_t tokens_;
  std::vector<double> sums_;       // [tokens, dims]: metric times size
  std::vector<double> next_sums_;  // scratch of Merge
  std::vector<uint32_t> sizes_;
  std::vector<float> a_;  // panels for the BestMatch kernel
  std::vector<float> b_;
  std::vector<float> similarity_;
  std::vector<int32_t> partner_;
  std::vector<uint32_t> order_;
  std::vector<int32_t> assignment_;
};

}  // namespace longvlm
