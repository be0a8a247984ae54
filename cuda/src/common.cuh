// Helpers of the kernels: launching, number formats, vector loads, exact arithmetic, keys.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "check.h"

// The tests' CPU emulator defines both in its own cuda_runtime.h.
#ifndef LV_EMULATED
#define LV_SHARED(Type, name) __shared__ Type name
#define LV_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace longvlm::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

// Arguments are converted to the kernel's parameter types, as by <<<>>>.
template <typename... Parameters, typename... Arguments>
lv_status Launch(void (*kernel)(Parameters...), size_t blocks, int threads, size_t shared_bytes,
                 cudaStream_t stream, Arguments&&... arguments) {
  constexpr size_t kMaxBlocks = 0x7fffffff;
  LV_EXPECT(blocks <= kMaxBlocks, "The tensors are too large: %zu blocks of work in one launch",
            blocks);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  LV_CUDA(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
  return LV_OK;
}

// Bits of IEEE 754 half precision and of bfloat16.
struct Half {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

__device__ inline float ToFloat(float value) { return value; }
__device__ inline float ToFloat(Half value) { return __half2float(__ushort_as_half(value.bits)); }
__device__ inline float ToFloat(Bfloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

template <typename T>
__device__ inline T FromFloat(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else if constexpr (std::is_same_v<T, Half>) {
    return Half{__half_as_ushort(__float2half_rn(value))};
  } else {
    return Bfloat16{__bfloat16_as_ushort(__float2bfloat16_rn(value))};
  }
}

// Calls work(T{}) with the element type of a tensor.
template <typename Work>
lv_status ForType(lv_type type, Work work) {
  if (type == LV_FLOAT32) return work(float{});
  if (type == LV_FLOAT16) return work(Half{});
  return work(Bfloat16{});
}

template <typename T>
inline constexpr int kVector = 16 / sizeof(T);

// Calls work(integral_constant V), where V is the number of values of one load: 16 bytes if all
// rows begin at a multiple of 16 bytes and have a size of such a multiple, else 1 value.
template <typename T, typename Work>
lv_status ForVector(const void* first, const void* second, size_t width, Work work) {
  const auto address = reinterpret_cast<uintptr_t>(first) | reinterpret_cast<uintptr_t>(second);
  if (address % 16 == 0 && width % kVector<T> == 0) {
    return work(std::integral_constant<int, kVector<T>>{});
  }
  return work(std::integral_constant<int, 1>{});
}

// V values of a row.
template <typename T, int V>
struct alignas(sizeof(T) * V) Values {
  T value[V];
};

template <typename T, int V>
__device__ inline Values<T, V> Load(const T* from) {
  if constexpr (V == 1) {
    return {{*from}};
  } else {
    static_assert(sizeof(Values<T, V>) == sizeof(uint4));
    const uint4 bits = *reinterpret_cast<const uint4*>(from);
    Values<T, V> values;
    memcpy(&values, &bits, sizeof(bits));
    return values;
  }
}

template <typename T, int V>
__device__ inline void Store(T* to, const Values<T, V>& values) {
  if constexpr (V == 1) {
    *to = values.value[0];
  } else {
    uint4 bits;
    memcpy(&bits, &values, sizeof(bits));
    *reinterpret_cast<uint4*>(to) = bits;
  }
}

__device__ inline bool IsFinite(float value) {
  return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

__device__ inline void ReportLowest(uint64_t* word, size_t index) {
  atomicMin(reinterpret_cast<unsigned long long*>(word), static_cast<unsigned long long>(index));
}

// Maps floats to unsigned integers in the same order; -0 equals 0.
__device__ inline uint32_t RisingKey(float value) {
  const uint32_t bits = __float_as_uint(__fadd_rn(value, 0.0f));
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ inline float FromRisingKey(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

// The similarity of a row of A to a row of B as an integer key. The highest key over all rows of B
// gives a row's partner; on ties the lowest row of B has the highest key. Equal rows rank above all
// others.
using MatchKey = unsigned long long;
inline constexpr uint32_t kEqualRows = 0xffffffffu;

__device__ inline MatchKey ToMatchKey(uint32_t similarity, uint32_t row_of_b) {
  return static_cast<MatchKey>(similarity) << 32 | static_cast<uint32_t>(~row_of_b);
}
__device__ inline uint32_t SimilarityOf(MatchKey key) { return static_cast<uint32_t>(key >> 32); }
__device__ inline uint32_t PartnerOf(MatchKey key) { return ~static_cast<uint32_t>(key); }

// The sort key of a row of A: lower keys come first. Only equal rows have similarity 1.
__device__ inline uint64_t OrderKey(MatchKey key, uint32_t row_of_a) {
  const uint32_t similarity = SimilarityOf(key);
  const float almost_one = 1.0f - 0x1p-24f;
  const float chain =
      similarity == kEqualRows ? 1.0f : fminf(FromRisingKey(similarity), almost_one);
  return static_cast<uint64_t>(~RisingKey(chain)) << 32 | row_of_a;
}

template <typename T>
__device__ inline T Smaller(T a, T b) {
  return a < b ? a : b;
}

}  // namespace longvlm::cuda
