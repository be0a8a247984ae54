// The metric of tokens: the mean of each over its heads.
//   tokens [count, heads * dims] float32 or float16 bits; no alignment
//   metric [count, dims] float32, out; does not overlap tokens; no alignment
// Range: heads >= 1, dims >= 1; count may be 0. A metric value is not finite if and only if the
// token contains NaN or infinity.   Ties: none.   Work: one read of the tokens; no
// workspace. Error: none between instruction sets: heads are added in ascending order in float64,
// divided, and rounded to float32 once. Source: LongVLM (arXiv 2404.03384) section 3.2: tokens are
// compared by their mean over the heads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

void TokenMetricF32_portable(const float* tokens, size_t count, size_t heads, size_t dims,
                             float* metric);
void TokenMetricF16_portable(const uint16_t* tokens, size_t count, size_t heads, size_t dims,
                             float* metric);

void TokenMetricF32_avx2(const float* tokens, size_t count, size_t heads, size_t dims,
                         float* metric);
void TokenMetricF16_avx2(const uint16_t* tokens, size_t count, size_t heads, size_t dims,
                         float* metric);

void TokenMetricF32_avx512(const float* tokens, size_t count, size_t heads, size_t dims,
                           float* metric);
void TokenMetricF16_avx512(const uint16_t* tokens, size_t count, size_t heads, size_t dims,
                           float* metric);

void TokenMetricF32_neon(const float* tokens, size_t count, size_t heads, size_t dims,
                         float* metric);
void TokenMetricF16_neon(const uint16_t* tokens, size_t count, size_t heads, size_t dims,
                         float* metric);

}  // namespace longvlm
