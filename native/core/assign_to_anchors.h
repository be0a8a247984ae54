// Assignment of tokens to the anchors that they are most similar to, and the anchors' means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/best_cosines.h"
#include "core/cosine_rows.h"
#include "core/read_rows.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

// Up to width_a tokens that are assigned to anchors at a time.
class TokenPanel {
 public:
  void Set(const RowReader& tokens, size_t width, std::span<const uint32_t> rows,
           const Kernels& kernels) {
    rows_.Set(tokens, width, rows, kernels.width_a, kernels, Workers{nullptr, nullptr},
              scratch_.unscreened == 0);
  }

 private:
  friend class Anchors;
  CosineRows rows_;
  BestCosinesScratch scratch_;
};

// Anchors that tokens are assigned to, and what is assigned.
class Anchors {
 public:
  // The tokens at `rows` become anchors.
  void Set(const RowReader& tokens, size_t width, std::span<const uint32_t> rows,
           const Kernels& kernels, const Workers& workers);

  // For each token of a panel the anchor with the highest cosine, of equal ones the first, and the
  // cosine itself, unless `best` is null; zero tokens have cosine 0.
  void Match(TokenPanel& panel, float* best, int32_t* anchor) const;

  // Sorts tokens by their anchors: assigned[i] is the anchor of rows[i].
  void Group(std::span<const uint32_t> rows, std::span<const int32_t> assigned);

  size_t size() const { return rows_.size(); }
  uint32_t row(size_t anchor) const { return rows_[anchor]; }
  // After Group: how many tokens were assigned to an anchor.
  size_t count(size_t anchor) const { return first_[anchor + 1] - first_[anchor]; }

  // Writes to row `to` of `out`: weight * anchor + (1 - weight) * mean of its tokens, where weight
  // is max(1 / (count + 1), beta). An anchor without tokens stays as it is.
  void WriteBlend(size_t anchor, const ConstValues& tokens, double beta, Values out,
                  size_t to) const;
  // The same with the plain mean of its tokens.
  void WriteMean(size_t anchor, const ConstValues& tokens, Values out, size_t to) const;

 private:
  template <typename Combine>
  void Write(size_t anchor, const ConstValues& tokens, Values out, size_t to,
             Combine combine) const;

  const Kernels* kernels_ = nullptr;
  size_t width_ = 0;
  std::vector<uint32_t> rows_;
  CosineRows units_;
  std::vector<size_t> first_;    // [anchors + 1], into `offsets_`
  std::vector<size_t> offsets_;  // of the tokens of each anchor, ascending, in values
};

struct AssignToAnchorsArgs {
  static constexpr TensorNames kNames{"tokens", {"batch entry", "token", "channel"}};

  ConstValues tokens;       // [1, rows, width]
  Shape shape;              // of `tokens`, all axes at least 1
  const int32_t* anchors;   // [count], token numbers, checked
  size_t count;             // at least 1
  double beta;              // of WriteBlend; below 0 for plain means
  int32_t* out_assignment;  // [rows], each in [0, count)
  float* out_cosines;       // [rows]
  float* out_sizes;         // [count]
  Values out;               // [count, width], of the type of `tokens`
};

// Throws Error ERR_LONGVLM_NOT_FINITE, std::invalid_argument for an anchor out of range, and
// Cancelled.
void AssignToAnchors(const AssignToAnchorsArgs& args, const Workers& workers);

}  // namespace longvlm
