#include "product_tiles.cuh"
#include "row_products.cuh"

namespace longvlm::cuda {
namespace {

// Tiles at or right of the diagonal; each is written to its mirror's place, too, as the product of
// two rows is the same either way.
template <int kSums>
__global__ void __launch_bounds__(kTileThreads, 2) row_products_kernel(RowProductsWork work) {
  LV_SHARED(ProductShared<kSums>, shared);
  const uint32_t side = kTileSide<kSums>;
  const uint32_t tiles = (work.count + side - 1) / side;
  const uint32_t of_entry = tiles * (tiles + 1) / 2;
  const size_t entry = blockIdx.x / of_entry;
  uint32_t tile = blockIdx.x % of_entry;
  uint32_t down = 0;
  for (; tile >= tiles - down; ++down) tile -= tiles - down;
  const uint32_t first_a = down * side;
  const uint32_t first_b = (down + tile) * side;
  const uint32_t count = work.rows_of == nullptr ? work.count : work.rows_of[entry];
  if (first_b >= count) return;
  const float* const rows = work.rows + entry * work.count * work.row_stride;
  float sum[kSums][kSums];
  ProductTile<kSums>(rows, count, first_a, rows, count, first_b, work.row_stride, shared, sum);
  float* const products = work.products + entry * work.count * work.count;
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    const uint32_t a = first_a + TilePlace(threadIdx.x / kTileGroups, i);
#pragma unroll
    for (int j = 0; j < kSums; ++j) {
      const uint32_t b = first_b + TilePlace(threadIdx.x % kTileGroups, j);
      if (a >= count || b >= count) continue;
      products[static_cast<size_t>(a) * work.count + b] = sum[i][j];
      if (tile != 0) products[static_cast<size_t>(b) * work.count + a] = sum[i][j];
    }
  }
}

template <int kSums>
size_t Blocks(const RowProductsWork& work) {
  const size_t tiles = CeilDiv(work.count, kTileSide<kSums>);
  return work.entries * (tiles * (tiles + 1) / 2);
}

}  // namespace

lv_status LaunchRowProducts(const RowProductsWork& work, int32_t multiprocessors,
                            cudaStream_t stream) {
  LV_TRY(CheckTileRows(work.count, work.row_stride));
  const size_t large = Blocks<kProductSumsLarge>(work);
  if (large >= static_cast<size_t>(multiprocessors)) {
    return Launch(row_products_kernel<kProductSumsLarge>, large, kTileThreads, 0, stream, work);
  }
  return Launch(row_products_kernel<kProductSumsSmall>, Blocks<kProductSumsSmall>(work),
                kTileThreads, 0, stream, work);
}

}  // namespace longvlm::cuda
