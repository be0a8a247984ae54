// Half precision of the emulated CUDA, by the compiler's own type.
#pragma once

#include "cuda_runtime.h"

struct __half {
  _Float16 value;
};
inline __half __ushort_as_half(unsigned short bits) { return emulator::FromBits<__half>(bits); }
inline unsigned short __half_as_ushort(__half half) {
  return static_cast<unsigned short>(emulator::ToBits(half));
}
inline float __half2float(__half half) { return static_cast<float>(half.value); }
inline __half __float2half_rn(float value) { return {static_cast<_Float16>(value)}; }
