// Means or sums of the rows that share a slot, and the inverse operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

enum class MergeMode { kMean, kSum };

struct MergeByAssignmentArgs {
  static constexpr TensorNames kNames{"tensor", {"batch entry", "token", "channel"}};

  ConstValues rows;           // [batch, rows, width]
  Shape shape;                // of `rows`
  size_t slots;               // rows of the output
  const int32_t* assignment;  // [batch, rows], each in [0, slots)
  const float* weights;       // [batch, rows], each above 0; null for 1
  MergeMode mode;
  Values out;       // [batch, slots, width], of the type of `rows`
  float* out_sums;  // [batch, slots], the sums of weights; null when they are not wanted
};

// Scratch memory of MergeByAssignment: the rows of one batch entry, ordered by slot.
struct SlotRows {
  std::vector<size_t> first;    // [slots + 1], into `offsets`
  std::vector<size_t> offsets;  // of the rows, in values from the entry's first
  std::vector<float> weights;   // in the order of `offsets`; empty for 1
  std::vector<double> total;    // [slots], the sums of weights
};

// Writes to every slot the weighted mean, or the weighted sum, of its rows; zeros to a slot without
// rows. Reads `rows` once. Throws NotFinite, std::invalid_argument when an assignment is out of
// range, and Cancelled. `scratch` keeps its memory for the next call.
void MergeByAssignment(const MergeByAssignmentArgs& args, const Workers& workers,
                       std::vector<SlotRows>& scratch);

struct SpreadByAssignmentArgs {
  static constexpr TensorNames kNames{"tensor", {"batch entry", "token", "channel"}};

  ConstValues slots;          // [batch, slots, width]
  Shape shape;                // of `slots`
  size_t rows;                // rows of the output
  const int32_t* assignment;  // [batch, rows], each in [0, slots)
  Values out;                 // [batch, rows, width], of the type of `slots`
};

// Copies to every row its slot. Throws std::invalid_argument when an assignment is out of range,
// and Cancelled.
void SpreadByAssignment(const SpreadByAssignmentArgs& args, const Workers& workers);

}  // namespace longvlm
