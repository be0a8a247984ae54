// Which tokens of the frame before the tokens of a frame are most like. Where little changes, that
// is the token at the same place, and its neighbours in its own frame tell so without any product
// with another token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/best_cosines.h"
#include "core/cosine_rows.h"
#include "core/read_rows.h"
#include "core/thread_pool.h"
#include "core/word_matrix.h"

namespace longvlm {

// Scratch memory of MatchOverTime and MakeExact, which keep it for the next call.
struct TimeMatchScratch {
  CosineRows a, b;
  std::vector<BestCosinesScratch> lanes;
  std::vector<int32_t> position;  // of each token of the frame before, or -1
  std::vector<uint32_t> searched, rows_a, rows_b;
  std::vector<float> best;
  std::vector<int32_t> match;
};

// A frame's tokens that are compared.
struct FrameTokens {
  const CosineRows& rows;             // of all tokens of the frame
  std::span<const uint32_t> numbers;  // those that are compared, as numbers among them, ascending
};

struct TimeMatches {
  std::vector<float> best;          // of each token the highest cosine
  std::vector<int32_t> match;       // and its position among those of the frame before
  std::vector<uint8_t> is_rounded;  // whether the cosine is near the true one only
};

// Of each of a frame's rows at least its cosine with any other one.
std::vector<float> NearestCosines(const WordMatrix& matrix);

// For each of `now` the most similar of `before`, of equal ones the first. Cosines are float32
// products, or near these and on the same side of `threshold`. `nearest`: NearestCosines of the
// rows of `before`; empty where it is not known. Neither list of tokens is empty.
//
// Let t be the angle between a token and that at its place in the frame before, p. If all others of
// that frame are at an angle of more than 2 t from p, they are at more than t from the token. With
// c = cos t, that is 2 c^2 - 1 > nearest(p). By so much as one is above the other, c is above the
// cosine with any other token by half of it at least: it is asked to be more than rounding can be.
void MatchOverTime(const FrameTokens& now, const FrameTokens& before,
                   std::span<const float> nearest, float threshold, const Kernels& kernels,
                   const Workers& workers, TimeMatchScratch& scratch, TimeMatches& out);

// Replaces the cosines that are rounded. `now` and `before` are rows of `tokens`, as those of
// MatchOverTime.
void MakeExact(const RowReader& tokens, size_t width, std::span<const uint32_t> now,
               std::span<const uint32_t> before, const Kernels& kernels, const Workers& workers,
               TimeMatchScratch& scratch, TimeMatches& matches);

}  // namespace longvlm
