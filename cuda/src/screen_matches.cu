// The most similar tokens by screening: tensor cores compute every similarity in float16, within a
// proven bound of the float32 chain that defines it; the chain itself is computed only for the
// pairs that can be the most similar. The keys are those of match_tokens.cu, bit for bit.
//
// A block has a slab of rows of A in shared memory, and tiles of B pass by. Of each row of A the
// highest approximate similarity so far is known; pairs of a tile within the margin of it are
// listed, and when the list is long, or at the end, what is still within the margin is computed
// exactly. A tile with too many such pairs (a picture of one colour) is computed exactly as a
// whole. A row that has found an equal row is done: all later rows of B are higher ones.
#include <algorithm>
#include <cmath>

#include "match_tokens.cuh"
#include "tensor_core.cuh"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kWarps = kMatchThreads / kWarp;
constexpr uint32_t kPanel = 8;                // rows whose values a warp loads at once
constexpr uint32_t kPair = 32;                // values of a row that make two steps of the product
constexpr uint32_t kScreenDepth = 2 * kPair;  // values of a row of B in shared memory
constexpr uint32_t kScreenTile = kPanel * kWarps;  // rows of B in shared memory
constexpr uint32_t kRowsPerWarp = 32;              // of A: two products of 16 rows
constexpr uint32_t kSlabBytes = 16 * 1024;         // of rows of A

// Rows are scaled before they are rounded, so that float16's subnormals, which tensor cores may
// flush, are below 2^-24 of a row's length.
constexpr float kScale = 1024;
constexpr float kUnscale = 1 / (kScale * kScale);

// The rows of A that have no more candidates: their highest similarity is this, a NaN.
constexpr uint32_t kDone = 0xffffffffu;

constexpr float kLowest = std::numeric_limits<float>::lowest();

constexpr uint32_t kRowBits = 7;
static_assert((kMaxTokens / 2) << kRowBits <= uint64_t{1} << 32);

// The bound on |approximate similarity - chain|, of rows of length 1 (within 2^-24) or 0.
//
// Rounding a scaled value to float16 changes it by at most 2^-11 of itself, or by 2^-24 / kScale
// 2^14 of a row's length where it is subnormal, or becomes 0 for that. So a row changes by at most
// e = 2^-11 + 2^-24 sqrt(dims) in length, and a product of two by at most 2.01 e + e^2. Tensor
// cores add with at least the precision of float32, in an order of their own, and may truncate:
// each product and each partial sum, at most 1.01 in magnitude, loses less than 2^-23 when aligned
// to the largest addend, and each sum another 2^-23: 4 dims 2^-23 with groups of any size. The
// chain's roundings are within dims 2^-23 of the exact product. The last term covers the lengths of
// rows and the float32 arithmetic of the comparison.
double ScreenError(uint32_t dims) {
  const double count = dims;
  const double rounding = 0x1p-11 + 0x1p-24 * std::sqrt(count);
  return 2.01 * rounding + rounding * rounding + 5 * count * 0x1p-23 + 0x1p-20;
}

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
constexpr int kTileSums = kScreenTile / kGroups;

template <uint32_t kSlab>
struct ScreenShared {
  using Tile = TileShared<kTileSums, kTileSums, 1>;
  uint4 a[kSlabBytes / sizeof(uint4)];  // [panels, pairs, lanes], see LoadEight
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

// The exact key of a listed pair.
template <uint32_t kSlab>
__device__ void MatchPair(const ScreenWork& work, const Place& place, const ListedPair& pair,
                          const ScreenShared<kSlab>& shared) {
  const MatchWork& match = work.match;
  const uint32_t in_slab = pair.rows % (1u << kRowBits);
  const uint32_t row_of_b = pair.rows >> kRowBits;
  // False for a row that is done; a lower equal row may be in the list all the same.
  const float margin = 2 * work.error / kUnscale;
  if (pair.approximate < FromRisingKey(shared.highest[in_slab]) - margin) return;
  MatchKey* const key = &place.keys[place.first_a + in_slab];
  const MatchKey equal = ToMatchKey(kEqualRows, row_of_b);
  const MatchKey known = *static_cast<volatile MatchKey*>(key);
  if (known >= equal) return;
  const uint32_t most = RisingKey(pair.approximate * kUnscale + work.error);
  if (SimilarityOf(known) != kEqualRows && most < SimilarityOf(known)) return;
  const float* const a = RowOf(work, place, match.level.first_a() + 2 * (place.first_a + in_slab));
  const float* const b = RowOf(work, place, match.level.first_b() + 2 * row_of_b);
  float sum = 0;
#pragma unroll 8
  for (uint32_t k = 0; k < match.row_stride; k += 4) {
    const float4 of_a = *reinterpret_cast<const float4*>(a + k);
    const float4 of_b = *reinterpret_cast<const float4*>(b + k);
    sum = __fmaf_rn(of_a.x, of_b.x, sum);
    sum = __fmaf_rn(of_a.y, of_b.y, sum);
    sum = __fmaf_rn(of_a.z, of_b.z, sum);
    sum = __fmaf_rn(of_a.w, of_b.w, sum);
  }
  const bool same = sum > match.equal_above && EqualRows(a, b, match.dims);
  atomicMax(key, same ? equal : ToMatchKey(RisingKey(sum), row_of_b));
}

template <uint32_t kSlab>
__device__ void MatchListed(const ScreenWork& work, const Place& place, uint32_t listed,
                            const ScreenShared<kSlab>& shared) {
  for (uint32_t i = threadIdx.x; i < listed; i += kMatchThreads) {
    MatchPair(work, place, shared.list[i], shared);
  }
}

// Rows of the slab that have an equal row in a tile up to this one are done. Another block may have
// found an equal row in a later tile.
template <uint32_t kSlab>
__device__ void MarkDone(const ScreenWork& work, const Place& place, uint32_t tile,
                         ScreenShared<kSlab>& shared) {
  const uint32_t row = place.first_a + threadIdx.x;
  if (threadIdx.x >= kSlab || row >= work.match.level.num_a()) return;
  const MatchKey known = *static_cast<volatile MatchKey*>(&place.keys[row]);
  if (SimilarityOf(known) == kEqualRows && PartnerOf(known) < (tile + 1) * kScreenTile) {
    shared.highest[threadIdx.x] = kDone;
  }
}

// Tells other parts of B what they have to exceed. The key of the pair itself will be higher.
template <uint32_t kSlab>
__device__ void TellHighest(const ScreenWork& work, const Place& place,
                            const ScreenShared<kSlab>& shared) {
  const uint32_t row = place.first_a + threadIdx.x;
  if (threadIdx.x >= kSlab || row >= work.match.level.num_a()) return;
  const float least = FromRisingKey(shared.highest[threadIdx.x]) * kUnscale - work.error;
  // False for rows that are done, and for those with NaN only.
  if (least > -2.0f) atomicMax(&place.keys[row], ToMatchKey(RisingKey(least), 0xffffffffu));
}

template <uint32_t kSlab>
__global__ void __launch_bounds__(kMatchThreads, 2) screen_matches_kernel(ScreenWork work) {
  using Shared = ScreenShared<kSlab>;
  LV_SHARED(Shared, shared);
  const Level& level = work.match.level;
  const uint32_t num_b = level.num_b();
  const uint32_t block = blockIdx.x % (work.slabs * work.parts);
  const size_t segment = blockIdx.x / (work.slabs * work.parts);
  Place place;
  place.rows = work.match.rows + segment * work.match.all_tokens * work.match.row_stride;
  place.keys = work.match.keys + segment * work.match.key_stride;
  place.first_a = block / work.parts * kSlab;
  place.first_tile = block % work.parts * work.tiles_per_part;
  place.last_tile =
      Smaller(place.first_tile + work.tiles_per_part, (num_b + kScreenTile - 1) / kScreenTile);
  const float margin = 2 * work.error / kUnscale;

  ScreenLoader loader;
  loader.Fetch(work, place, place.first_tile, 0);
  if (threadIdx.x == 0) shared.listed = 0;
  LoadSlab(work, place, shared);
  loader.Put(shared.b[0]);
  __syncthreads();
  WarpProduct<kSlab> product;
  product.TakeRows(work, shared, 0);
  product.Clear();
  uint32_t listed = 0;
  uint32_t current = 0;
  uint32_t chunk = 0;
  for (uint32_t tile = place.first_tile; tile < place.last_tile;) {
    const uint32_t next_chunk = chunk + 1 == work.chunks ? 0 : chunk + 1;
    const uint32_t next_tile = next_chunk == 0 ? tile + 1 : tile;
    if (next_tile < place.last_tile) loader.Fetch(work, place, next_tile, next_chunk);
    if (work.chunks > 1) product.TakeRows(work, shared, chunk);
    product.Add(shared.b[current], (work.match.row_stride + kPair - 1) / kPair - 2 * chunk);
    if (next_chunk == 0) product.RaiseHighest(shared);
    if (next_tile < place.last_tile) loader.Put(shared.b[1 - current]);
    __syncthreads();
    if (next_chunk == 0) {
      product.List(tile * kScreenTile, num_b, margin, shared);
      __syncthreads();
      const uint32_t before = listed;
      listed = shared.listed;
      if (listed > kScreenListed) {
        // Too many: those of this tile are not listed, but computed as a whole.
        __syncthreads();
        if (threadIdx.x == 0) shared.listed = before;
        listed = before;
#pragma unroll 1
        for (uint32_t row = 0; row < kSlab; row += kTile<kTileSums>) {
          MatchTile(work.match, place.rows, place.keys, place.first_a + row, tile * kScreenTile,
                    shared.tile);
          __syncthreads();
        }
        MarkDone(work, place, tile, shared);
        if (next_tile < place.last_tile) {
          loader.Fetch(work, place, next_tile, 0);
          loader.Put(shared.b[1 - current]);
        }
        __syncthreads();
        product.TakeRows(work, shared, 0);
      } else if (listed > kScreenListed / 2) {
        MatchListed(work, place, listed, shared);
        __syncthreads();
        if (threadIdx.x == 0) shared.listed = 0;
        listed = 0;
        MarkDone(work, place, tile, shared);
        __syncthreads();
        product.TakeRows(work, shared, 0);
      }
      product.Clear();
    }
    current = 1 - current;
    chunk = next_chunk;
    tile = next_tile;
  }
  if (work.parts > 1) {
    TellHighest(work, place, shared);
    __syncthreads();
  }
  MatchListed(work, place, listed, shared);
}

template <uint32_t kSlab>
lv_status LaunchSlabs(const MatchWork& match, size_t segments, size_t wanted, cudaStream_t stream) {
  const size_t slabs = CeilDiv(match.level.num_a(), kSlab);
  const size_t tiles = CeilDiv(match.level.num_b(), kScreenTile);
  const size_t parts = std::clamp<size_t>(wanted / (segments * slabs), 1, tiles);
  ScreenWork work = {};
  work.match = match;
  work.error = static_cast<float>(ScreenError(match.dims));
  work.slabs = static_cast<uint32_t>(slabs);
  work.tiles_per_part = static_cast<uint32_t>(CeilDiv(tiles, parts));
  work.parts = static_cast<uint32_t>(CeilDiv(tiles, work.tiles_per_part));
  work.chunks = static_cast<uint32_t>(CeilDiv(match.dims, kScreenDepth));
  return Launch(screen_matches_kernel<kSlab>, segments * slabs * work.parts, kMatchThreads, 0,
                stream, work);
}

constexpr uint32_t kLargeSlab = 128;
constexpr uint32_t kSmallSlab = 64;

template <uint32_t kSlab>
bool Fits(uint32_t dims) {
  return CeilDiv(dims, kScreenDepth) * kScreenDepth * kSlab * 2 <= kSlabBytes;
}

}  // namespace

lv_status LaunchScreen(const MatchWork& work, size_t segments, int32_t multiprocessors,
                       cudaStream_t stream, bool* done) {
  *done = false;
  if (!Fits<kSmallSlab>(work.dims)) return LV_OK;
  LV_TRY(HasMma(screen_matches_kernel<kSmallSlab>, done));
  if (!*done) return LV_OK;
  const size_t wanted = static_cast<size_t>(multiprocessors) * kScreenBlocks;
  const size_t large =
      segments * CeilDiv(work.level.num_a(), kLargeSlab) * CeilDiv(work.level.num_b(), kScreenTile);
  if (Fits<kLargeSlab>(work.dims) && large >= wanted) {
    return LaunchSlabs<kLargeSlab>(work, segments, wanted, stream);
  }
  return LaunchSlabs<kSmallSlab>(work, segments, wanted, stream);
}

}  // namespace longvlm::cuda
