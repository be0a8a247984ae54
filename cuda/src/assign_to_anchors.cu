// Assignment of tokens to the anchors that they are most similar to, and the anchors' means.
#include "block_sums.cuh"
#include "reducers.cuh"
#include "row_chain.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kTokensOfScan = kAnchorThreads * kAnchorScan;

struct AnchorWork {
  const void* tokens;
  uint32_t count;  // of tokens
  uint32_t width;
  const int32_t* anchors;
  const int32_t* assignment;
  double beta;
  void* out;
  float* out_sizes;
};

struct AnchorShared {
  CountShared<kAnchorThreads> before;
  uint32_t members[kTokensOfScan];
};

// An anchor and the sum of its tokens, as the CPU's WriteBlend and WriteMean combine them.
__device__ inline double Combine(double itself, double sum, uint32_t tokens, double beta) {
  if (tokens == 0) return itself;
  const double mean = __ddiv_rn(sum, static_cast<double>(tokens));
  if (beta < 0) return mean;
  const double share = __ddiv_rn(1.0, __dadd_rn(static_cast<double>(tokens), 1.0));
  const double weight = share < beta ? beta : share;
  return __dadd_rn(__dmul_rn(weight, itself), __dmul_rn(__dadd_rn(1.0, -weight), mean));
}

// A block has an anchor and V columns for each thread. It goes through the assignment of all
// tokens, and adds those of its anchor in ascending order.
template <typename T, int V>
__global__ void __launch_bounds__(kAnchorThreads) anchor_means_kernel(AnchorWork work) {
  LV_SHARED(AnchorShared, shared);
  const uint32_t columns = kAnchorThreads * V;
  const uint32_t tiles = (work.width + columns - 1) / columns;
  const uint32_t anchor = blockIdx.x / tiles;
  const uint32_t column = blockIdx.x % tiles * columns + threadIdx.x * V;
  const bool writes = column < work.width;
  const T* const tokens = static_cast<const T*>(work.tokens) + (writes ? column : 0);
  double sum[V] = {};
  uint32_t all = 0;
  for (uint32_t first = 0; first < work.count; first += kTokensOfScan) {
    uint32_t members = 0;
#pragma unroll
    for (uint32_t i = 0; i < kAnchorScan; ++i) {
      const uint32_t token = first + i * kAnchorThreads + threadIdx.x;
      const bool own = token < work.count && work.assignment[token] == static_cast<int32_t>(anchor);
      uint32_t count = 0;
      const uint32_t place = members + CountBefore(own, shared.before, &count);
      if (own) shared.members[place] = token;
      members += count;
    }
    __syncthreads();
    all += members;
    AddRows<T, V>(
        tokens, work.width, members, [&](uint32_t i) { return shared.members[i]; }, sum);
    __syncthreads();
  }
  if (blockIdx.x % tiles == 0 && threadIdx.x == 0) {
    work.out_sizes[anchor] = static_cast<float>(all);
  }
  if (!writes) return;
  const int32_t row = work.anchors[anchor];
  // A wrong one was reported when it was compared.
  const bool known = row >= 0 && static_cast<uint32_t>(row) < work.count;
  const Values<T, V> own = Load<T, V>(tokens + static_cast<size_t>(known ? row : 0) * work.width);
  Values<T, V> result;
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const double itself = __dadd_rn(0.0, static_cast<double>(ToFloat(own.value[v])));
    result.value[v] = FromFloat<T>(__double2float_rn(Combine(itself, sum[v], all, work.beta)));
  }
  Store<T, V>(static_cast<T*>(work.out) + static_cast<size_t>(anchor) * work.width + column,
              result);
}

struct Plan {
  float* rows;
  float* anchors;
  MatchKey* keys;
  size_t bytes;
};

Plan Divide(const lv_assign_to_anchors_args& args, void* workspace) {
  Arena arena(workspace);
  const size_t row_stride = RowStride(args.channels);
  Plan plan = {};
  plan.rows = arena.Take<float>(args.tokens_in * row_stride);
  plan.anchors = arena.Take<float>(args.count * row_stride);
  plan.keys = arena.Take<MatchKey>(args.tokens_in);
  plan.bytes = arena.bytes();
  return plan;
}

lv_status Assign(const lv_assign_to_anchors_args& args, const Plan& plan, cudaStream_t stream) {
  const UnitRowsWork all = {args.tokens,   nullptr, args.tokens_in, args.tokens_in,
                            args.channels, true,    plan.rows,      args.report};
  LV_TRY(LaunchUnitRows(args.type, all, stream));
  const UnitRowsWork anchors = {args.tokens,   args.anchors, args.count,   args.tokens_in,
                                args.channels, true,         plan.anchors, args.report};
  LV_TRY(LaunchUnitRows(args.type, anchors, stream));
  int32_t multiprocessors = 0;
  LV_TRY(Multiprocessors(args.device, &multiprocessors));
  const BestMatchWork match = {plan.rows,
                               plan.anchors,
                               0,
                               0,
                               static_cast<uint32_t>(args.tokens_in),
                               static_cast<uint32_t>(args.count),
                               1,
                               static_cast<uint32_t>(RowStride(args.channels)),
                               plan.keys,
                               args.out_cosines,
                               args.out_assignment};
  LV_TRY(LaunchBestMatch(match, multiprocessors, stream));
  const AnchorWork means = {args.tokens,
                            static_cast<uint32_t>(args.tokens_in),
                            static_cast<uint32_t>(args.channels),
                            args.anchors,
                            args.out_assignment,
                            args.beta,
                            args.out_tokens,
                            args.out_sizes};
  return ForType(args.type, [&](auto value) {
    using T = decltype(value);
    return ForVector<T>(args.tokens, args.out_tokens, args.channels, [&](auto vector) {
      constexpr int kV = decltype(vector)::value;
      return Launch(anchor_means_kernel<T, kV>,
                    args.count * CeilDiv(args.channels, kAnchorThreads * kV), kAnchorThreads, 0,
                    stream, means);
    });
  });
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_assign_to_anchors(const lv_assign_to_anchors_args* args, void* workspace,
                               size_t* workspace_bytes, lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(CheckType(args->type));
  LV_TRY(CheckTokens(1, args->tokens_in, args->channels));
  LV_EXPECT(args->count >= 1 && args->count <= kMaxIndex,
            "Expected between 1 and 2^31 - 1 anchors but received %llu",
            static_cast<unsigned long long>(args->count));
  LV_EXPECT(args->beta <= 1, "Expected at most 1 for beta but received %g", args->beta);
  const Plan sizes = Divide(*args, nullptr);
  if (workspace == nullptr) {
    *workspace_bytes = sizes.bytes;
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, sizes.bytes));
  LV_EXPECT(args->tokens != nullptr && args->anchors != nullptr &&
                args->out_assignment != nullptr && args->out_cosines != nullptr &&
                args->out_sizes != nullptr && args->out_tokens != nullptr &&
                args->report != nullptr,
            "Expected device memory for tokens, anchors, outputs and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  return Assign(*args, Divide(*args, workspace), ToCuda(stream));
}
