// The operations: the same with every instruction set and any number of threads, also when many run
// at once on one pool, and stopped when they are told to.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <thread>

#include "check.h"
#include "core/bipartite_soft_matching.h"
#include "core/error.h"
#include "core/instruction_set.h"
#include "core/merge_tokens.h"
#include "core/metric.h"
#include "core/pool_cls_tokens.h"
#include "inputs.h"
#include "tests.h"

namespace longvlm {
namespace {

struct Case {
  size_t segments, tokens, channels, heads, keep, protect;
};

constexpr Case kCases[] = {{1, 1, 8, 2, 1, 0},     {1, 2, 8, 2, 1, 0},     {2, 3, 5, 5, 2, 0},
                           {3, 17, 12, 3, 2, 0},   {1, 64, 64, 1, 3, 1},   {2, 97, 33, 3, 9, 2},
                           {1, 130, 6, 6, 11, 0},  {4, 257, 40, 5, 30, 3}, {1, 1601, 32, 2, 7, 0},
                           {3, 640, 128, 2, 10, 0}};

struct Result {
  std::vector<float> tokens;
  std::vector<uint16_t> half;
  std::vector<float> sizes;
  std::vector<int32_t> assignment;

  bool operator==(const Result&) const = default;
};

std::vector<uint32_t> Schedule(const Case& c) {
  std::vector<uint32_t> schedule;
  for (size_t left = c.tokens; left > c.keep;) {
    const size_t r = std::min((left - c.protect) / 2, left - c.keep);
    schedule.push_back(static_cast<uint32_t>(r));
    left -= r;
  }
  return schedule;
}

Result Merge(const Case& c, const std::vector<float>& tokens, bool half, const float* sizes,
             const Workers& workers, TokenMerger& merger) {
  const std::vector<uint32_t> schedule = Schedule(c);
  const size_t kept = KeptTokens(c.tokens, c.protect, schedule);
  CHECK(kept == c.keep, "%zu kept", kept);
  const std::vector<uint16_t> halves = ToHalf(tokens);
  Result result;
  result.tokens.resize(half ? 0 : c.segments * kept * c.channels);
  result.half.resize(half ? c.segments * kept * c.channels : 0);
  result.sizes.resize(c.segments * kept);
  result.assignment.resize(c.segments * c.tokens);
  merger.Merge({.tokens = half ? ConstValues(halves.data()) : ConstValues(tokens.data()),
                .shape = {c.segments, c.tokens, c.channels},
                .heads = c.heads,
                .schedule = schedule,
                .out = half ? Values(result.half.data()) : Values(result.tokens.data()),
                .out_sizes = result.sizes.data(),
                .out_assignment = result.assignment.data(),
                .protected_tokens = c.protect,
                .sizes = sizes},
               workers);
  return result;
}

void TestMerging(const std::string& instruction_set, ThreadPool& pool) {
  TokenMerger merger;
  for (const Case& c : kCases) {
    for (const InputKind kind : kInputKinds) {
      const auto tokens = MakeInput(kind, c.segments * c.tokens, c.channels, 21);
      std::vector<float> sizes(c.segments * c.tokens);
      for (size_t i = 0; i < sizes.size(); ++i) sizes[i] = static_cast<float>(1 + i % 5);
      for (const bool half : {false, true}) {
        for (const float* weights : std::array<const float*, 2>{nullptr, sizes.data()}) {
          LimitInstructionSet("portable");
          TokenMerger own;
          const Result expected = Merge(c, tokens, half, weights, {nullptr, nullptr}, own);
          LimitInstructionSet(instruction_set);
          CHECK(Merge(c, tokens, half, weights, {nullptr, nullptr}, merger) == expected,
                "%zu x %zu, kind %d", c.segments, c.tokens, static_cast<int>(kind));
          CHECK(Merge(c, tokens, half, weights, {&pool, nullptr}, merger) == expected,
                "%zu x %zu, kind %d, %zu threads", c.segments, c.tokens, static_cast<int>(kind),
                pool.threads());
        }
      }
    }
  }
}

void TestOverlapping(ThreadPool& pool) {
  const Case c{3, 120, 32, 2, 9, 0};
  const auto tokens = MakeInput(InputKind::kVideoLike, c.segments * c.tokens, c.channels, 5);
  TokenMerger merger;
  const Result expected = Merge(c, tokens, false, nullptr, {nullptr, nullptr}, merger);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      TokenMerger own;
      for (int round = 0; round < 10; ++round) {
        if (Merge(c, tokens, false, nullptr, {&pool, nullptr}, own) != expected) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0, "%d results differ", wrong.load());
}

void TestCancelling(ThreadPool& pool) {
  const Case c{2, 1000, 32, 1, 9, 0};
  const auto tokens = MakeInput(InputKind::kRandom, c.segments * c.tokens, c.channels, 6);
  TokenMerger merger;
  for (const int turns : {0, 1, 100, 10000}) {
    std::atomic<bool> cancelled{turns == 0};
    std::thread canceller([&] {
      for (int turn = 0; turn < turns; ++turn) std::this_thread::yield();
      cancelled = true;
    });
    try {
      Merge(c, tokens, false, nullptr, {&pool, &cancelled}, merger);
      CHECK(turns > 0, "went on");
    } catch (const Cancelled&) {
    }
    canceller.join();
  }
  // What was stopped halfway leaves nothing behind.
  TokenMerger fresh;
  CHECK(Merge(c, tokens, false, nullptr, {&pool, nullptr}, merger) ==
            Merge(c, tokens, false, nullptr, {nullptr, nullptr}, fresh),
        "after a cancelled call");
}

void TestNotFinite(ThreadPool& pool) {
  const Case c{2, 130, 24, 2, 9, 0};
  auto tokens = MakeInput(InputKind::kRandom, c.segments * c.tokens, c.channels, 8);
  tokens[(130 + 77) * 24 + 5] = std::numeric_limits<float>::quiet_NaN();
  TokenMerger merger;
  try {
    Merge(c, tokens, false, nullptr, {&pool, nullptr}, merger);
    CHECK(false, "NaN passed");
  } catch (const Error& error) {
    CHECK(std::strstr(error.what(), "NaN at segment 1, token 77, channel 5") != nullptr, "%s",
          error.what());
  }
}

// Single operations on buffers of exactly their size: here for the sanitizers.
void TestSingleOperations(ThreadPool& pool) {
  const Workers workers{&pool, nullptr};
  for (const auto [batch, tokens, width] :
       {std::array<size_t, 3>{1, 1, 3}, {2, 7, 5}, {3, 130, 36}}) {
    const auto values = MakeInput(InputKind::kRandom, batch * tokens, width, 12);
    const Shape shape{batch, tokens, width};
    for (const size_t protect : {size_t{0}, std::min<size_t>(tokens, 3)}) {
      const size_t most = (tokens - protect) / 2;
      for (const size_t r : {size_t{0}, most}) {
        const size_t stay = CountA(tokens, protect) - r;
        std::vector<int32_t> unmerged(batch * stay), source(batch * r), destination(batch * r);
        std::vector<int32_t> assignment(batch * tokens);
        BipartiteSoftMatching({.metric = values.data(),
                               .shape = shape,
                               .protected_tokens = protect,
                               .r = r,
                               .out_unmerged = unmerged.data(),
                               .out_source = source.data(),
                               .out_destination = destination.data(),
                               .out_assignment = assignment.data()},
                              workers);
        for (size_t i = 0; i < batch * r; ++i) {
          CHECK(source[i] % 2 == 0 && destination[i] % 2 == 1, "pair %zu", i);
          CHECK(static_cast<size_t>(std::min(source[i], destination[i])) >= protect, "pair %zu", i);
        }
        std::vector<SlotRows> scratch;
        const size_t slots = tokens - r;
        std::vector<float> merged(batch * slots * width), back(values.size());
        MergeByAssignment({.rows = values.data(),
                           .shape = shape,
                           .slots = slots,
                           .assignment = assignment.data(),
                           .weights = nullptr,
                           .mode = MergeMode::kMean,
                           .out = merged.data(),
                           .out_sums = nullptr},
                          workers, scratch);
        SpreadByAssignment({.slots = merged.data(),
                            .shape = {batch, slots, width},
                            .rows = tokens,
                            .assignment = assignment.data(),
                            .out = back.data()},
                           workers);
        CHECK(r > 0 || back == values, "nothing was merged, yet something moved");
      }
    }
    std::vector<float> metric(values.size()), pooled(tokens * width);
    TokenMetric({.tokens = values.data(), .shape = shape, .heads = 1, .out = metric.data()},
                workers);
    CHECK(metric == values, "the metric of one head");
    PoolClsTokens({.cls = values.data(), .shape = shape, .out = pooled.data()}, workers);
    CHECK(batch > 1 || pooled == values, "the mean of one frame");
  }
}

}  // namespace

void TestOperations(const std::string& instruction_set) {
  ThreadPool pool(3);
  TestMerging(instruction_set, pool);
  TestSingleOperations(pool);
}

void TestThreads() {
  ThreadPool pool(3);
  TestOverlapping(pool);
  TestCancelling(pool);
  TestNotFinite(pool);
}

}  // namespace longvlm
