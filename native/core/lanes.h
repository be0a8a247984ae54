// Work on many items alike, each of which several threads can do together.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <vector>

#include "core/thread_pool.h"

namespace longvlm {

// Whether all threads are busy most of the time if each takes whole items. Then what an item reads
// twice comes from cache the second time.
inline bool ItemsFillThreads(size_t items, size_t threads) {
  const size_t rounds = (items + threads - 1) / threads;
  return items * 10 >= rounds * threads * 9;
}

// Of one item that a thread does as a whole: a thread that is at it takes up no other task.
inline constexpr size_t kMostProducts = size_t{1} << 30;

// Multiply-adds of each row with each other.
inline size_t ProductsOfAll(size_t rows, size_t width) { return rows * rows * width; }

// Calls work(item, lane, workers) for every item: on all threads at once, each with a lane of
// scratch memory of its own and itself as the only worker, or with all workers for one item after
// the other: so where items are few, or each takes many products.
template <typename Lane, typename Work>
void ForItems(size_t items, const Workers& workers, std::vector<Lane>& lanes, Work work,
              size_t products_of_item = 0) {
  const size_t threads = std::min(workers.threads(), items);
  if (lanes.size() < threads) lanes.resize(threads);
  if (!ItemsFillThreads(items, workers.threads()) || products_of_item > kMostProducts) {
    for (size_t item = 0; item < items; ++item) work(item, lanes.front(), workers);
    return;
  }
  const Workers alone{nullptr, workers.cancelled};
  std::atomic<size_t> next{0};
  workers.For(threads, [&](size_t thread) {
    for (size_t item; (item = next.fetch_add(1)) < items;) work(item, lanes[thread], alone);
  });
}

// Calls work(block, lane) for every block, on all threads, each with a lane of scratch memory.
template <typename Lane, typename Work>
void ForBlocks(size_t blocks, const Workers& workers, std::vector<Lane>& lanes, Work work) {
  const size_t threads = std::min(workers.threads(), blocks);
  if (lanes.size() < threads) lanes.resize(threads);
  const Workers alone{nullptr, workers.cancelled};
  std::atomic<size_t> next{0};
  workers.For(threads, [&](size_t thread) {
    for (size_t block; (block = next.fetch_add(1)) < blocks;) {
      alone.For(1, [&](size_t) { work(block, lanes[thread]); });
    }
  });
}

}  // namespace longvlm
