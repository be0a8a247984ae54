// Products of small matrices of float16 on tensor cores.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

// Whether a kernel's code is for GPUs whose tensor cores MmaF16 uses: those from compute capability
// 8.0 on. This asks for what the kernel was compiled for, which may be less than the GPU has.
template <typename... Parameters>
lv_status HasMma(void (*kernel)(Parameters...), bool* has) {
  constexpr int kMinVersion = 80;
  cudaFuncAttributes attributes = {};
  LV_CUDA(cudaFuncGetAttributes(&attributes, kernel));
  *has = attributes.ptxVersion >= kMinVersion;
  return LV_OK;
}

// Two float32, rounded to nearest, ties to even, as the low and the high 16 bits.
__device__ inline uint32_t PackHalves(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t both;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
#else
  return static_cast<uint32_t>(__half_as_ushort(__float2half_rn(low))) |
         static_cast<uint32_t>(__half_as_ushort(__float2half_rn(high))) << 16;
#endif
}

// sum += a b, where a is [16, 16] and b is [16, 8], by all lanes of a warp. With g = lane / 4 and
// t = lane % 4, a lane has
//   a    rows g, g + 8, g, g + 8 at columns 2t, 2t + 1 (the first two) and 2t + 8, 2t + 9
//   b    column g at rows 2t, 2t + 1 and 2t + 8, 2t + 9
//   sum  row g at columns 2t, 2t + 1; row g + 8 at the same
// Error: products are exact; how sums are rounded is the GPU's own matter, with at least the
// precision of float32. Does nothing below compute capability 8.0 (see HasMma).
__device__ inline void MmaF16(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(LV_EMULATED)
  emulator::MmaF16(sum, a, b, __LINE__);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace longvlm::cuda
