// The part of CUDA that the kernels and the library use, on the CPU: for tests on machines without
// a GPU. The very same .cu files are compiled by a C++ compiler with this folder before CUDA's
// headers.
//
// Each thread of a block is a fiber. Blocks run to the end one by one on each of a few threads of
// the process; within a block, fibers run between two barriers in an order that changes each time,
// so that what only works in the order of thread numbers shows. A barrier that not all threads of a
// block (or lanes of a warp) reach at the same place ends the process with a text. Shared memory
// and device memory are heap blocks of their own, so that AddressSanitizer sees what lies beyond
// them; at first they hold 0xff bytes, NaN in any type. Streams are in order because everything
// runs at once.
#pragma once

#define LV_EMULATED 1

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr explicit dim3(unsigned of_x = 1, unsigned of_y = 1, unsigned of_z = 1)
      : x(of_x), y(of_y), z(of_z) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulator {

// `name` tells apart what one kernel shares.
void* SharedMemory(const void* name, size_t bytes);
void* DynamicSharedMemory();

void SyncThreads(int line);
// Waits for all lanes of the warp, and gives the value of each of the 32.
const uint64_t* Exchange(unsigned mask, uint64_t value, int line);

template <typename T>
uint64_t ToBits(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <typename T>
T FromBits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

unsigned Lane();

template <typename T>
T ShuffleXor(unsigned mask, T value, int distance, int line) {
  return FromBits<T>(Exchange(mask, ToBits(value), line)[Lane() ^ static_cast<unsigned>(distance)]);
}
template <typename T>
T Shuffle(unsigned mask, T value, int from, int line) {
  return FromBits<T>(Exchange(mask, ToBits(value), line)[from & 31]);
}
unsigned Ballot(unsigned mask, bool vote, int line);

// sum += a b, of 16 x 16 and 16 x 8 values of float16, laid out as mma.m16n8k16 has them. Less
// exact than any GPU: four products at a time and the sum are truncated, at 22 bits of the largest.
void MmaF16(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line);

void Run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);

}  // namespace emulator

#define LV_SHARED(Type, name)          \
  static const char lv_key_##name = 0; \
  Type& name = *new (::emulator::SharedMemory(&lv_key_##name, sizeof(Type))) Type
#define LV_DYNAMIC_SHARED(name) \
  unsigned char* const name = static_cast<unsigned char*>(::emulator::DynamicSharedMemory())

// Of the fiber that runs on this thread of the process.
inline constinit thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;
#define __syncthreads() ::emulator::SyncThreads(__LINE__)
#define __shfl_xor_sync(mask, value, distance) \
  ::emulator::ShuffleXor(mask, value, distance, __LINE__)
#define __shfl_sync(mask, value, from) ::emulator::Shuffle(mask, value, from, __LINE__)
#define __ballot_sync(mask, vote) ::emulator::Ballot(mask, vote, __LINE__)

inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
__attribute__((no_sanitize("float-divide-by-zero"))) inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
// IEEE division by 0 is defined; C++ leaves it open.
__attribute__((no_sanitize("float-divide-by-zero"))) inline double __ddiv_rn(double a, double b) {
  return a / b;
}
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline float __double2float_rn(double value) { return static_cast<float>(value); }
inline float __uint_as_float(unsigned bits) { return emulator::FromBits<float>(bits); }
inline unsigned __float_as_uint(float value) {
  return static_cast<unsigned>(emulator::ToBits(value));
}

unsigned long long atomicMin(unsigned long long* address, unsigned long long value);
unsigned long long atomicMax(unsigned long long* address, unsigned long long value);
unsigned atomicMax(unsigned* address, unsigned value);
template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}

// The runtime's interface.
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInitializationError = 3,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidConfiguration = 9
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMemoryClockRate,
  cudaDevAttrGlobalMemoryBusWidth
};
enum { cudaStreamNonBlocking = 1 };
struct cudaFuncAttributes {
  int ptxVersion;
};
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
};
struct cudaLaunchConfig_t {
  dim3 gridDim{1, 1, 1};
  dim3 blockDim{1, 1, 1};
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes);
cudaError_t cudaMalloc(void** pointer, size_t bytes);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMallocHost(void** pointer, size_t bytes);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int byte, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end);

template <typename Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
  attributes->ptxVersion = 90;
  return cudaSuccess;
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3 block = config->blockDim;
  const size_t threads = static_cast<size_t>(block.x) * block.y * block.z;
  if (threads == 0 || threads > 1024 || config->gridDim.x == 0)
    return cudaErrorInvalidConfiguration;
  const std::tuple<std::remove_cvref_t<Parameters>...> values(
      std::forward<Arguments>(arguments)...);
  emulator::Run(config->gridDim, block, config->dynamicSmemBytes,
                [&] { std::apply(kernel, values); });
  return cudaSuccess;
}
