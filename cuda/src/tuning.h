// Tuning numbers. Except for kRowsPerWindow (see there) they do not affect results. Chosen by
// arithmetic, and by what an H200 showed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm::cuda {

// Reads of 16 bytes that a thread is ahead: of 384 threads they are the 40 KiB under way that an
// H100's SM needs.
inline constexpr uint32_t kRingLoads = 8;

// Token metric: 16 tokens of 64 dims are 128 loads of 16 bytes for each head, one a thread. Small
// blocks: the last ones then leave few multiprocessors idle.
inline constexpr int kMetricThreads = 128;
inline constexpr int kMetricTokens = 16;
// Up to this size a block's means are in shared memory, above it in global memory: 4 blocks per SM.
inline constexpr int kMetricSharedBytes = 32 * 1024;

// Similarity: 256 threads of 8 x 8 sums make a tile of 128 x 128 at 128 registers, 2 blocks an SM.
// If such tiles do not fill the GPU: 4 x 4 sums and tiles of 64 x 64.
inline constexpr int kMatchThreads = 256;
inline constexpr int kMatchDepth = 16;
inline constexpr int kMatchSumsLarge = 8;
inline constexpr int kMatchSumsSmall = 4;

// Screening: blocks of kMatchThreads threads for each multiprocessor, so that one computes while
// another waits; B is divided to have as many. A listed pair costs some 30 loads of 16 bytes that
// no other thread shares: above 1 in 32 of a tile's pairs the whole tile is cheaper.
inline constexpr int kScreenBlocks = 2;
inline constexpr uint32_t kScreenListed = 512;

// Ranks by counting: one thread per row; each block reads every key once.
inline constexpr int kRankThreads = 128;

// Linking the tokens of a level: a block for each segment. Its lists are in shared memory up to
// this size (11,000 tokens), which needs no opt-in, else in global memory.
inline constexpr uint32_t kLinkThreads = 1024;
inline constexpr size_t kLinkSharedBytes = 44 * 1024;

// Merging the metric: a warp for each slot, and so many dims at a time. Most slots have few tokens;
// where one has many, its warp is what the others wait for.
inline constexpr int kCombineThreads = 256;
inline constexpr int kCombineDims = 64;
inline constexpr uint32_t kCombineMany = 8;
inline constexpr uint32_t kCombineFew = 2;

// Levels of at most this many tokens run in one block: below it a launch costs more than the level.
// 44 KiB of rows and the kernel's own arrays stay below the 48 KiB that need no opt-in; at 64 dims
// that is 165 tokens.
inline constexpr int kSmallThreads = 512;
inline constexpr int kSmallTokens = 192;
inline constexpr int kSmallRowBytes = 44 * 1024;
// Rows of A of a warp, and of B of a lane: all of both at once.
inline constexpr uint32_t kSmallRowsOfA = 6;
inline constexpr uint32_t kSmallRowsOfB = 3;
// Loads of 16 bytes before the first store.
inline constexpr uint32_t kSmallLoads = 8;
inline constexpr int kSmallLevels = 16;

// Means: float64 sums of at most 64 rows, so that a slot with thousands of rows is not summed by a
// single block. This number affects rounding: the sums of the windows are added in order.
inline constexpr int kRowsPerWindow = 64;
inline constexpr int kMeanThreads = 256;

// Products of rows for the reducers: as for the similarity above.
inline constexpr int kProductDepth = 16;
inline constexpr int kProductSumsLarge = 8;
inline constexpr int kProductSumsSmall = 4;

// Rows scaled to length 1: 32 rows a block. Products of rows in float64: 16 pairs a block.
inline constexpr int kUnitRowsThreads = 128;
inline constexpr int kDotThreads = 128;

// Means of frames: small blocks reach more of the GPU.
inline constexpr int kFrameMeansThreads = 64;
inline constexpr int kFrameMeansLoads = 8;

// Products of tokens with the rows of their slots: channels of 32 tokens between two barriers.
inline constexpr int kSlotProductsTile = 64;

// Sums of each channel over tokens, in one chain: small blocks, and 2 KiB of loads ahead for each.
inline constexpr int kMomentThreads = 32;
inline constexpr int kMomentLoads = 16;

// Sums in one chain: threads that multiply.
inline constexpr int kTurnThreads = 256;

// The highest of a frame's scores: a frame is one block's.
inline constexpr int kSelectThreads = 512;
// Copies of rows: one row a block.
inline constexpr int kGatherThreads = 128;

// Rows of the products of an entry's rows: a warp each.
inline constexpr int kPeakThreads = 128;

// Means of what goes to an anchor: tokens that a thread looks at between two barriers, and rows
// loaded before the first is added.
inline constexpr int kAnchorThreads = 256;
inline constexpr int kAnchorScan = 4;
inline constexpr int kAnchorLoads = 4;

}  // namespace longvlm::cuda
