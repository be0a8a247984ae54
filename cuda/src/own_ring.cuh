// Loads that are under way while a thread computes.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

// Copies 16 bytes from global to shared memory, without waiting where the GPU can.
__device__ inline void CopyBehind(void* to, const void* from) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(__cvta_generic_to_global(from))
               : "memory");
#else
  *static_cast<uint4*>(to) = *static_cast<const uint4*>(from);
#endif
}
// Ends a group of copies.
__device__ inline void EndCopies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until of this thread's groups only so many are under way.
template <int kGroups>
__device__ inline void WaitForCopies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#endif
}

template <int kThreads>
struct RingMemory {
  alignas(16) uint4 slots[kRingLoads][kThreads];
};

// Calls use(i, values) for i from 0 to count with 16 bytes at from(i), in order, kRingLoads reads
// ahead. Left to itself the compiler reads just before the use, and each read takes its time.
// Each thread has its own part of the ring, so that no thread waits for another.
template <typename T, int V, int kThreads, typename From, typename Use>
__device__ inline void ReadAhead(RingMemory<kThreads>& memory, uint32_t count, const From& from,
                                 const Use& use) {
  static_assert(sizeof(Values<T, V>) == sizeof(uint4));
  for (uint32_t i = 0; i < kRingLoads; ++i) {
    if (i < count) CopyBehind(&memory.slots[i][threadIdx.x], from(i));
    EndCopies();
  }
  uint32_t slot = 0;
#pragma unroll 1
  for (uint32_t i = 0; i < count; ++i) {
    WaitForCopies<static_cast<int>(kRingLoads) - 1>();
    const Values<T, V> values =
        Load<T, V>(reinterpret_cast<const T*>(&memory.slots[slot][threadIdx.x]));
    use(i, values);
    if (i + kRingLoads < count) CopyBehind(&memory.slots[slot][threadIdx.x], from(i + kRingLoads));
    EndCopies();
    slot = slot + 1 == kRingLoads ? 0 : slot + 1;
  }
}

}  // namespace longvlm::cuda
