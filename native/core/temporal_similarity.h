// How similar tokens are to tokens of the frame before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/assign_to_anchors.h"
#include "core/read_rows.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

// Scratch memory of MatchRows, which keeps it for the next call.
struct MatchScratch {
  Anchors anchors;
  std::vector<TokenPanel> panels;
};

// For each of `rows` the most similar of `before` by cosine: best [rows], and match [rows], its
// position in `before`; of equal ones the first. Neither list is empty.
void MatchRows(const RowReader& tokens, size_t width, std::span<const uint32_t> rows,
               std::span<const uint32_t> before, const Workers& workers, MatchScratch& scratch,
               float* best, int32_t* match);

struct TemporalSimilarityArgs {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;  // [frames, patches, width]
  Shape shape;         // of `tokens`, all axes at least 1
  bool best;  // with the most similar patch of the frame before, else that of the same place
  float* out_cosines;    // [frames - 1, patches]
  int32_t* out_matches;  // [frames - 1, patches], patches of the frame before; null unless `best`
};

// A zero token has cosine 0. Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void TemporalSimilarity(const TemporalSimilarityArgs& args, const Workers& workers);

}  // namespace longvlm
