// Means or sums of the rows that share a slot, and the way back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

enum class MergeMode { kMean, kSum };

struct MergeByAssignmentArgs {
  ConstValues rows;           // [batch, rows, width]
  Shape shape;                // of `rows`
  size_t slots;               // rows of the output
  const int32_t* assignment;  // [batch, rows], each in [0, slots)
  const float* weights;       // [batch, rows], each above 0; null for 1
  MergeMode mode;
  Values out;       // [batch, slots, width], of the type of `rows`
  float* out_sums;  // [batch, slots], the sums of weights; null when they are not wanted
};

// Every slot gets the weighted mean, or the weighted sum, of its rows; a slot without rows gets
// zeros. Reads `rows` once. Throws NotFinite, std::invalid_argument when an assignment lies outside
// the slots, and Cancelled.
void MergeByAssignment(const MergeByAssignmentArgs& args, const Workers& workers);

struct SpreadByAssignmentArgs {
  ConstValues slots;          // [batch, slots, width]
  Shape shape;                // of `slots`
  size_t rows;                // rows of the output
  const int32_t* assignment;  // [batch, rows], each in [0, slots)
  Values out;                 // [batch, rows, width], of the type of `slots`
};

// Every row gets a copy of its slot. Throws std::invalid_argument when an assignment lies outside
// the slots, and Cancelled.
void SpreadByAssignment(const SpreadByAssignmentArgs& args, const Workers& workers);

}  // namespace longvlm
