// The products of all rows of an entry with each other, such as the tokens of a frame.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

// Rows of an entry whose products are stored: 1 GiB.
inline constexpr uint64_t kMostProductRows = 16384;

struct RowProductsWork {
  const float* rows;  // [entries, count, row_stride]
  uint32_t count;
  uint32_t row_stride;
  size_t entries;
  float* products;  // [entries, count, count]
  // [entries], on the device: how many of an entry's rows are there; null for all.
  const uint32_t* rows_of = nullptr;
};
lv_status LaunchRowProducts(const RowProductsWork& work, int32_t multiprocessors,
                            cudaStream_t stream);

// How many entries' products are in memory at once: 256 MiB of them, or one.
inline size_t EntriesAtOnce(uint64_t entries, uint64_t rows) {
  const size_t fit = (size_t{256} << 20) / (rows * rows * sizeof(float));
  return fit < 1 ? 1 : fit < entries ? fit : entries;
}

inline lv_status CheckProductRows(uint64_t rows) {
  LV_EXPECT(rows <= kMostProductRows, "Expected at most %llu tokens an entry but received %llu",
            static_cast<unsigned long long>(kMostProductRows),
            static_cast<unsigned long long>(rows));
  return LV_OK;
}

}  // namespace longvlm::cuda
