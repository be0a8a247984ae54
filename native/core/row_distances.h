// Distances of rows from their products, and densities from these: exactly as DensityPeaks
// (density_peaks.h) has them.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "core/exponential.h"

namespace longvlm {

// The square of a distance, before what DistanceOf does: a higher one never has a lower distance.
// Exactly 0 to an equal row, whose product is that of the row with itself.
inline double SquareOf(float square, float other_square, float product) {
  return (static_cast<double>(square) + static_cast<double>(other_square)) -
         2 * static_cast<double>(product);
}

inline float DistanceOf(double square, double dims) {
  return square > 0 ? static_cast<float>(std::sqrt(square / dims)) : 0;
}

// exp(-mean of squares) of the nearest distances, ascending.
inline float DensityOf(std::span<const float> nearest) {
  double sum = 0;
  for (const float distance : nearest) {
    sum += static_cast<double>(distance) * static_cast<double>(distance);
  }
  return static_cast<float>(Exponential(-sum / static_cast<double>(nearest.size())));
}

// Puts a value among the smallest ones, which are ascending.
inline void AddToSmallest(double value, std::vector<double>& smallest) {
  if (!(value < smallest.back())) return;
  size_t place = smallest.size() - 1;
  for (; place > 0 && smallest[place - 1] > value; --place) smallest[place] = smallest[place - 1];
  smallest[place] = value;
}

}  // namespace longvlm
