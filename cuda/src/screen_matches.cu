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

#include "screen_product.cuh"

namespace longvlm::cuda {
namespace {

using namespace screening;

// The bound on |approximate similarity - chain|, of rows of length 1 (within 2^-24) or 0.
//
// Rounding a scaled value to float16 changes it by at most 2^-11 of itself or, where the result is
// subnormal, in all by less than 2^-24 of a row's length. So a row changes by at most e = 2^-11 +
// 2^-24 sqrt(dims) in length, and the product of two by at most 2.01 e + e^2. Tensor cores add with
// at least the precision of float32, in groups and an order of their own, and may truncate: aligned
// to the largest addend, which like all sums is below 1.01, each product and each sum of a group
// before it loses less than 2^-23, and each new sum as much: 4 dims 2^-23 for groups of any size.
// The chain's roundings are within dims 2^-23 of the exact product. The last term covers the
// lengths of rows and the float32 arithmetic of the comparisons.
double ScreenError(uint32_t dims) {
  const double count = dims;
  const double rounding = 0x1p-11 + 0x1p-24 * std::sqrt(count);
  return 2.01 * rounding + rounding * rounding + 5 * count * 0x1p-23 + 0x1p-20;
}

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
  if (least > -2.0f)
    atomicMax(&place.keys[row], ToMatchKey(RisingKey(least), place.first_tile * kScreenTile));
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
