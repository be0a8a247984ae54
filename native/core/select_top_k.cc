#include "core/select_top_k.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/highest.h"
#include "core/result_rows.h"

namespace longvlm {

void SelectTopK(const SelectTopKArgs& args, const Workers& workers) {
  const size_t frames = args.shape.rows;
  const size_t patches = args.shape.width;
  std::vector<size_t> firsts(frames + 1, 0);
  for (size_t frame = 0; frame < frames; ++frame) {
    const int32_t budget = args.budgets[frame];
    if (budget < 0 || static_cast<size_t>(budget) > patches) {
      throw std::invalid_argument("budgets[" + std::to_string(frame) +
                                  "] is invalid: " + std::to_string(budget));
    }
    firsts[frame + 1] = firsts[frame] + static_cast<size_t>(budget);
  }
  if (firsts[frames] != args.total) throw std::invalid_argument("budgets do not add up to total");
  LocateNotFinite(args.scores, args.shape, SelectTopKArgs::kNames, [&] {
    workers.For(frames, [&](size_t frame) {
      const float* scores = args.scores + frame * patches;
      CheckFinite(scores, patches);
      std::vector<uint64_t> keys;
      std::vector<uint32_t> best;
      FindHighest({scores, patches}, static_cast<size_t>(args.budgets[frame]), keys, best);
      std::ranges::sort(best);
      std::ranges::transform(best, args.out_indices + firsts[frame], [&](uint32_t patch) {
        return static_cast<int32_t>(frame * patches + patch);
      });
    });
  });
}

void GatherTokens(const GatherTokensArgs& args, const Workers& workers) {
  const size_t tokens = args.shape.batch * args.shape.rows;
  for (size_t i = 0; i < args.count; ++i) {
    if (args.indices[i] < 0 || static_cast<size_t>(args.indices[i]) >= tokens) {
      throw std::invalid_argument("indices[" + std::to_string(i) +
                                  "] is invalid: " + std::to_string(args.indices[i]));
    }
  }
  const Kernels& kernels = ActiveKernels();
  const ResultRows out{args.out, args.count, args.shape.width, kernels};
  const RowReader reader{args.tokens, args.shape.width, kernels};
  constexpr size_t kRowsPerBlock = 32;
  LocateNotFinite(args.tokens, args.shape, GatherTokensArgs::kNames, [&] {
    workers.For((args.count + kRowsPerBlock - 1) / kRowsPerBlock, [&](size_t block) {
      std::vector<float> row(args.shape.width);
      const size_t last = std::min((block + 1) * kRowsPerBlock, args.count);
      for (size_t i = block * kRowsPerBlock; i < last; ++i) {
        const auto token = static_cast<size_t>(args.indices[i]);
        CheckFinite(reader.Row(token, row.data()), args.shape.width);
        out.Copy(args.tokens, token, i);
      }
    });
  });
}

}  // namespace longvlm
