// The shares of frames by weight, by one block.
#pragma once

#include "exponential.cuh"

namespace longvlm::cuda {

__device__ inline double AtLeast(double value, double least) {
  return value < least ? least : value;
}

struct SoftmaxShared {
  double highest;
  double sum;
};

// softmax(values / temperature), in place. All threads of the block must call this; it waits for
// all before it reads, and at the end each thread has written values that others may not see yet.
// Error: none against plain arithmetic with sums in ascending order.
__device__ inline void Softmax(double* values, uint32_t count, double temperature,
                               SoftmaxShared& shared) {
  __syncthreads();
  if (threadIdx.x == 0) {
    double highest = values[0];
    for (uint32_t i = 1; i < count; ++i) highest = AtLeast(values[i], highest);
    shared.highest = highest;
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    values[i] = Exponential(__ddiv_rn(__dadd_rn(values[i], -shared.highest), temperature));
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0;
    for (uint32_t i = 0; i < count; ++i) sum = __dadd_rn(sum, values[i]);
    shared.sum = sum;
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    values[i] = __ddiv_rn(values[i], shared.sum);
  }
}

}  // namespace longvlm::cuda
