#include "core/assign_to_anchors.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "core/lanes.h"
#include "core/row_means.h"

namespace longvlm {

void Anchors::Set(const RowReader& tokens, size_t width, std::span<const uint32_t> rows,
                  const Kernels& kernels, const Workers& workers) {
  kernels_ = &kernels;
  width_ = width;
  rows_.assign(rows.begin(), rows.end());
  units_.Set(tokens, width, rows, kernels.width_b, kernels, workers);
}

void Anchors::Match(TokenPanel& panel, float* best, int32_t* anchor) const {
  FindBestCosines(panel.rows_, 0, units_, Choice::kHighest, *kernels_, panel.scratch_, best,
                  anchor);
}

void Anchors::Group(std::span<const uint32_t> rows, std::span<const int32_t> assigned) {
  // While tokens are placed, first_[anchor + 1] is the position of the next of `anchor`.
  first_.assign(rows_.size() + 2, 0);
  offsets_.resize(rows.size());
  for (const int32_t anchor : assigned) ++first_[static_cast<size_t>(anchor) + 2];
  for (size_t i = 2; i < first_.size(); ++i) first_[i] += first_[i - 1];
  for (size_t i = 0; i < rows.size(); ++i) {
    offsets_[first_[static_cast<size_t>(assigned[i]) + 1]++] = rows[i] * width_;
  }
}

template <typename Combine>
void Anchors::Write(size_t anchor, const ConstValues& tokens, Values out, size_t to,
                    Combine combine) const {
  constexpr size_t kColumns = 512;
  const size_t own = rows_[anchor] * width_;
  Visit(tokens, [&](const auto* values) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(values)>>;
    double sum[kColumns], itself[kColumns];
    for (size_t first = 0; first < width_; first += kColumns) {
      const size_t columns = std::min(kColumns, width_ - first);
      SumRows(*kernels_, values + first, &own, nullptr, 1, columns, itself);
      SumRows(*kernels_, values + first, offsets_.data() + first_[anchor], nullptr, count(anchor),
              columns, sum);
      for (size_t c = 0; c < columns; ++c) sum[c] = combine(itself[c], sum[c]);
      StoreMeans(*kernels_, sum, 1.0, columns, out.As<T>() + to * width_ + first);
    }
  });
}

void Anchors::WriteBlend(size_t anchor, const ConstValues& tokens, double beta, Values out,
                         size_t to) const {
  const double tokens_of = static_cast<double>(count(anchor));
  const double weight = std::max(1 / (tokens_of + 1), beta);
  Write(anchor, tokens, out, to, [&](double itself, double sum) {
    return tokens_of > 0 ? weight * itself + (1 - weight) * (sum / tokens_of) : itself;
  });
}

void Anchors::WriteMean(size_t anchor, const ConstValues& tokens, Values out, size_t to) const {
  const double tokens_of = static_cast<double>(count(anchor));
  Write(anchor, tokens, out, to, [tokens_of](double itself, double sum) {
    return tokens_of > 0 ? sum / tokens_of : itself;
  });
}

void AssignToAnchors(const AssignToAnchorsArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  std::vector<uint32_t> anchor_rows(args.count), rows(shape.rows);
  for (size_t i = 0; i < args.count; ++i) {
    if (args.anchors[i] < 0 || static_cast<size_t>(args.anchors[i]) >= shape.rows) {
      throw std::invalid_argument("anchors[" + std::to_string(i) +
                                  "] is invalid: " + std::to_string(args.anchors[i]));
    }
    anchor_rows[i] = static_cast<uint32_t>(args.anchors[i]);
  }
  std::iota(rows.begin(), rows.end(), 0u);
  LocateNotFinite(args.tokens, shape, AssignToAnchorsArgs::kNames, [&] {
    const RowReader tokens{args.tokens, shape.width, kernels};
    Anchors anchors;
    anchors.Set(tokens, shape.width, anchor_rows, kernels, workers);
    const size_t panels = (shape.rows + kernels.width_a - 1) / kernels.width_a;
    std::vector<TokenPanel> lanes;
    ForBlocks(panels, workers, lanes, [&](size_t i, TokenPanel& panel) {
      const size_t first = i * kernels.width_a;
      const size_t count = std::min(kernels.width_a, shape.rows - first);
      panel.Set(tokens, shape.width, std::span(rows).subspan(first, count), kernels);
      anchors.Match(panel, args.out_cosines + first, args.out_assignment + first);
    });
    anchors.Group(rows, {args.out_assignment, shape.rows});
    workers.For(args.count, [&](size_t i) {
      args.out_sizes[i] = static_cast<float>(anchors.count(i));
      if (args.beta < 0) {
        anchors.WriteMean(i, args.tokens, args.out, i);
      } else {
        anchors.WriteBlend(i, args.tokens, args.beta, args.out, i);
      }
    });
  });
}

}  // namespace longvlm
