// How PyTorch on a CPU rounds and orders what the authors of FlashVID compute with it. Of clusters
// of one or two neighbours all densities are equal in exact arithmetic; which token their code then
// takes for the centre follows from these details alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace longvlm {

// Sets of at most so many rows have distances from differences, larger ones from products.
inline constexpr size_t kReferenceDirectRows = 25;

// The sum of the squares of a row: squares rounded to float32, in 32 float32 sums, whose
// parts are added up every 16 steps.
float ReferenceSquare(const float* row, size_t dims);

// The square of the distance of two rows from their product and their own squares.
inline float ReferenceSquaredDistance(float product, float square_of_row, float square_of_other) {
  const float square = (-2 * product + square_of_row) + square_of_other;
  return square > 0 ? square : 0;
}

// The mean of the squares of ascending distances.
float ReferenceMeanOfSquares(std::span<const float> distances);

// The indices of the `count` highest values, the highest first; equal ones in the order in which
// the standard library's selection leaves them.
void ReferenceHighest(std::span<const float> values, size_t count, std::vector<uint32_t>& out);

}  // namespace longvlm
