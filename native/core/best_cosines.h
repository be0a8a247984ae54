// The most similar row, by cosine, of one set for each row of another: 16-bit integers tell which
// can be it, and float32 products decide among these, so that the result is that of float32
// products of all pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/cosine_rows.h"

namespace longvlm {

// Scratch memory of FindBestCosines, and what it has learnt of the rows.
struct BestCosinesScratch {
  std::vector<int32_t> products;
  std::vector<RowPair> pairs;
  std::vector<float> similarities;
  size_t unscreened = 0;  // panels that words need not be tried for
};

enum class Choice {
  kHighest,     // the row with the highest product; of equal products the first
  kEqualFirst,  // the first row that is equal, if there is one, else the row with the highest
};

// For each row of panel `panel` of `a`, in panels of width_a, the most similar of `b`, in panels of
// width_b and not empty: index [rows of the panel], and best, likewise, its product in float32;
// null where that is not wanted. A zero row has product 0 with all.
void FindBestCosines(const CosineRows& a, size_t panel, const CosineRows& b, Choice choice,
                     const Kernels& kernels, BestCosinesScratch& scratch, float* best,
                     int32_t* index);

}  // namespace longvlm
