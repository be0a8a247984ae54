// Rounds the matrix of a linear layer to eight bits, for ONNX Runtime's DynamicQuantizeMatMul.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

// Some rows of a matrix [outputs, inputs].
struct RoundToEightBitsArgs {
  ConstValues rows;  // [count, inputs], float32, float16 or bfloat16
  size_t outputs;    // of the whole matrix
  size_t inputs;
  size_t first;  // the number of the first of `rows`
  size_t count;
  int8_t* out_values;  // [inputs, outputs]: columns first … first + count - 1 are written
  float* out_scales;   // [outputs]: elements first … first + count - 1 are written
};

// Each row gets a scale of its own: its largest magnitude / 63, rounded to float32, or 1 for a row
// of zeros. Values are divided by it in float64 and rounded to the nearest integer, halves up; all
// are 0 where the scale underflows to 0. A row with NaN or infinity gets the scale infinity, and
// zeros. Throws Cancelled.
void RoundToEightBits(const RoundToEightBitsArgs& args, const Workers& workers);

}  // namespace longvlm
