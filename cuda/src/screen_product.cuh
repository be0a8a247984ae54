// The parts of screening (screen_matches.cu): a slab of rows of A in shared memory, tiles of rows
// of B, and their product on tensor cores.
#pragma once

#include "match_tokens.cuh"
#include "tensor_core.cuh"

namespace longvlm::cuda {
namespace screening {

inline constexpr uint32_t kWarps = kMatchThreads / kWarp;
inline constexpr uint32_t kPanel = 8;  // rows whose values a warp loads at once
inline constexpr uint32_t kPair = 32;  // values of a row that make two steps of the product
inline constexpr uint32_t kScreenDepth = 2 * kPair;       // values of a row of B in shared memory
inline constexpr uint32_t kScreenTile = kPanel * kWarps;  // rows of B in shared memory
inline constexpr uint32_t kRowsPerWarp = 32;              // of A: two products of 16 rows
inline constexpr uint32_t kSlabBytes = 16 * 1024;         // of rows of A

// Rows are scaled before they are rounded, so that float16's subnormals, which tensor cores may
// flush, are below 2^-24 of a row's length.
inline constexpr float kScale = 1024;
inline constexpr float kUnscale = 1 / (kScale * kScale);

// The rows of A that have no more candidates: their highest similarity is this, a NaN.
inline constexpr uint32_t kDone = 0xffffffffu;

inline constexpr float kLowest = std::numeric_limits<float>::lowest();

inline constexpr uint32_t kRowBits = 7;
static_assert((kMaxTokens / 2) << kRowBits <= uint64_t{1} << 32);

struct ScreenWork {
  MatchWork match;
  // Half the margin, of similarities: the row with the highest chain has an approximate similarity
  // of at least the highest approximate one, less twice the error. So has a row equal to the row
  // of A, which is chosen even where another's chain is higher: its exact product is higher than
  // any other, less 2^-21.
  float error;
  uint32_t slabs;           // of a segment
  uint32_t parts;           // of B, for each slab
  uint32_t tiles_per_part;  // of kScreenTile rows
  uint32_t chunks;          // of kScreenDepth values, in a row
};

struct ListedPair {
  float approximate;  // scaled
  uint32_t rows;      // row of B, then kRowBits of the row within the slab
};

// Of a tile that is computed exactly.
inline constexpr int kTileSums = kScreenTile / kGroups;

template <uint32_t kSlab>
struct ScreenShared {
  using Tile = TileShared<kTileSums, kTileSums, 1>;
  uint4 a[kSlabBytes / sizeof(uint4)];  // [panels, pairs, lanes], see PackEight
  union {
    uint4 b[2][kScreenTile * kScreenDepth / 8];  // [panels, pairs, lanes]
    Tile tile;
  };
  uint32_t highest[kSlab];  // rising keys of scaled approximate similarities
  ListedPair list[kScreenListed];
  uint32_t listed;
};

// 4 values of a row, 0 beyond its end.
__device__ inline float4 LoadFour(const float* row, uint32_t row_stride, uint32_t k) {
  return k < row_stride ? *reinterpret_cast<const float4*>(row + k) : make_float4(0, 0, 0, 0);
}

// What a lane holds of a row for two steps of the product: values 4 t to 4 t + 3 of 16 for each.
// MmaF16 has its columns in another order, the same for A and B.
__device__ inline uint4 PackEight(const float4& first, const float4& second) {
  uint4 eight;
  eight.x = PackHalves(first.x * kScale, first.y * kScale);
  eight.y = PackHalves(first.z * kScale, first.w * kScale);
  eight.z = PackHalves(second.x * kScale, second.y * kScale);
  eight.w = PackHalves(second.z * kScale, second.w * kScale);
  return eight;
}

__device__ inline bool AllZero(const float4& four) {
  return four.x == 0 && four.y == 0 && four.z == 0 && four.w == 0;
}

// What the threads of a block know of its place.
struct Place {
  const float* rows;  // of the segment
  MatchKey* keys;
  uint32_t first_a;
  uint32_t first_tile;
  uint32_t last_tile;  // exclusive
};

__device__ inline const float* RowOf(const ScreenWork& work, const Place& place, uint32_t token) {
  return place.rows + static_cast<size_t>(token) * work.match.row_stride;
}

// The slab, and the first keys of its rows. A row of zeros is as similar to each row of B, and
// equal to none. Any key is higher than the first one, which is there for rows that hold NaN.
template <uint32_t kSlab>
__device__ void LoadSlab(const ScreenWork& work, const Place& place, ScreenShared<kSlab>& shared) {
  const Level& level = work.match.level;
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t pairs = 2 * work.chunks;
  for (uint32_t panel = threadIdx.x / kWarp; panel < kSlab / kPanel; panel += kWarps) {
    const uint32_t in_slab = panel * kPanel + lane / 4;
    const uint32_t row_of_a = place.first_a + in_slab;
    const uint32_t token = level.first_a() + 2 * Smaller(row_of_a, level.num_a() - 1);
    const float* const row = RowOf(work, place, token);
    bool zero = true;
    for (uint32_t pair = 0; pair < pairs; ++pair) {
      const uint32_t k = pair * kPair + lane % 4 * 4;
      const float4 first = LoadFour(row, work.match.row_stride, k);
      const float4 second = LoadFour(row, work.match.row_stride, k + kPair / 2);
      zero = zero && AllZero(first) && AllZero(second);
      shared.a[(panel * pairs + pair) * kWarp + lane] = PackEight(first, second);
    }
    const unsigned zeros = __ballot_sync(kAllLanes, zero);
    if (lane % 4 != 0) continue;
    const bool zero_row = (zeros >> lane & 15) == 15;
    shared.highest[in_slab] = row_of_a >= level.num_a() || zero_row ? kDone : 0;
    if (row_of_a >= level.num_a()) continue;
    atomicMax(&place.keys[row_of_a],
              ToMatchKey(zero_row ? RisingKey(0) : 0, place.first_tile * kScreenTile));
  }
}

// The rows of B of one tile: each warp has a panel.
class ScreenLoader {
 public:
  __device__ void Fetch(const ScreenWork& work, const Place& place, uint32_t tile, uint32_t chunk) {
    const Level& level = work.match.level;
    const uint32_t lane = threadIdx.x % kWarp;
    const uint32_t row = tile * kScreenTile + threadIdx.x / kWarp * kPanel + lane / 4;
    const uint32_t token = level.first_b() + 2 * Smaller(row, level.num_b() - 1);
    const float* const from = RowOf(work, place, token);
#pragma unroll
    for (uint32_t i = 0; i < kFours; ++i) {
      const uint32_t k = chunk * kScreenDepth + i * (kPair / 2) + lane % 4 * 4;
      values_[i] = LoadFour(from, work.match.row_stride, k);
    }
  }

  __device__ void Put(uint4* b) const {
    uint4* const to = b + threadIdx.x / kWarp * (kFours / 2) * kWarp + threadIdx.x % kWarp;
#pragma unroll
    for (uint32_t i = 0; i < kFours; i += 2) {
      to[i / 2 * kWarp] = PackEight(values_[i], values_[i + 1]);
    }
  }

 private:
  static constexpr uint32_t kFours = 2 * kScreenDepth / kPair;
  float4 values_[kFours];
};

// The product of a warp's rows of the slab and its columns of the tile.
template <uint32_t kSlab>
class WarpProduct {
 public:
  static constexpr uint32_t kWarpsOfA = kSlab / kRowsPerWarp;
  static constexpr uint32_t kColumns = kScreenTile * kWarpsOfA / kWarps;  // of B, for each warp
  static constexpr int kPanels = kColumns / kPanel;

  __device__ void Clear() {
#pragma unroll
    for (auto& of_rows : sum_) {
#pragma unroll
      for (auto& of_panel : of_rows) {
#pragma unroll
        for (float& value : of_panel) value = 0;
      }
    }
  }

  // One chunk of the rows of A, to registers.
  __device__ void TakeRows(const ScreenWork& work, const ScreenShared<kSlab>& shared,
                           uint32_t chunk) {
    const uint32_t panel = FirstRow() / kPanel;
#pragma unroll
    for (uint32_t i = 0; i < kRowsPerWarp / kPanel; ++i) {
#pragma unroll
      for (uint32_t pair = 0; pair < 2; ++pair) {
        const uint32_t from = (panel + i) * 2 * work.chunks + chunk * 2 + pair;
        a_[pair][i] = shared.a[from * kWarp + threadIdx.x % kWarp];
      }
    }
  }

  __device__ void Add(const uint4* b, uint32_t pairs) {
    const uint32_t panel = FirstColumn() / kPanel;
#pragma unroll
    for (uint32_t pair = 0; pair < 2; ++pair) {
      if (pair >= pairs) break;
#pragma unroll
      for (uint32_t j = 0; j < kPanels; ++j) {
        const uint4 of_b = b[((panel + j) * 2 + pair) * kWarp + threadIdx.x % kWarp];
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i) {
          const uint4& top = a_[pair][2 * i];
          const uint4& bottom = a_[pair][2 * i + 1];
          MmaF16(sum_[i][j], {top.x, bottom.x, top.y, bottom.y}, {of_b.x, of_b.y});
          MmaF16(sum_[i][j], {top.z, bottom.z, top.w, bottom.w}, {of_b.z, of_b.w});
        }
      }
    }
  }

  // Raises the highest similarities of the slab's rows by those of this thread.
  __device__ void RaiseHighest(ScreenShared<kSlab>& shared) {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      float best = kLowest;
#pragma unroll
      for (int j = 0; j < 2 * kPanels; ++j) best = fmaxf(best, At(i, j));
      best_[i] = best;
      const uint32_t key = RisingKey(best);
      uint32_t* const highest = &shared.highest[Row(i)];
      if (key > *static_cast<volatile uint32_t*>(highest)) atomicMax(highest, key);
    }
  }

  // Lists the pairs within `margin` (scaled) of the highest. More than the list holds are counted.
  __device__ void List(uint32_t first_b, uint32_t num_b, float margin,
                       ScreenShared<kSlab>& shared) const {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const float least = FromRisingKey(shared.highest[Row(i)]) - margin;
      if (!(best_[i] >= least)) continue;
#pragma unroll
      for (int j = 0; j < 2 * kPanels; ++j) {
        const uint32_t row_of_b = first_b + Column(j);
        if (!(At(i, j) >= least) || row_of_b >= num_b) continue;
        const uint32_t place = atomicAdd(&shared.listed, 1);
        if (place < kScreenListed) shared.list[place] = {At(i, j), row_of_b << kRowBits | Row(i)};
      }
    }
  }

 private:
  static __device__ uint32_t FirstRow() { return threadIdx.x / kWarp % kWarpsOfA * kRowsPerWarp; }
  static __device__ uint32_t FirstColumn() { return threadIdx.x / kWarp / kWarpsOfA * kColumns; }
  // The four rows of a thread, within the slab, and its columns, within the tile.
  static __device__ uint32_t Row(uint32_t i) {
    return FirstRow() + i * kPanel + threadIdx.x % kWarp / 4;
  }
  static __device__ uint32_t Column(int j) {
    return FirstColumn() + static_cast<uint32_t>(j / 2) * kPanel + threadIdx.x % 4 * 2 +
           static_cast<uint32_t>(j % 2);
  }
  __device__ float At(uint32_t i, int j) const { return sum_[i / 2][j / 2][i % 2 * 2 + j % 2]; }

  uint4 a_[2][kRowsPerWarp / kPanel];
  float sum_[2][kPanels][4];
  float best_[4];
};

}  // namespace screening
}  // namespace longvlm::cuda
