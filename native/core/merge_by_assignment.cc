#include "core/merge_by_assignment.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "core/row_means.h"

namespace longvlm {
namespace {

void CheckAssignment(const int32_t* assignment, size_t rows, size_t slots) {
  for (size_t row = 0; row < rows; ++row) {
    if (assignment[row] < 0 || static_cast<size_t>(assignment[row]) >= slots) {
      throw std::invalid_argument("assignment[" + std::to_string(row) +
                                  "] is invalid: " + std::to_string(assignment[row]));
    }
  }
}

void GroupBySlot(const MergeByAssignmentArgs& args, size_t entry, SlotRows& out) {
  const size_t rows = args.shape.rows;
  const int32_t* assignment = args.assignment + entry * rows;
  CheckAssignment(assignment, rows, args.slots);
  const auto slot_of = [assignment](size_t row) { return static_cast<size_t>(assignment[row]); };
  // While rows are placed, first[slot + 1] is the position of the next row of `slot`.
  out.first.assign(args.slots + 2, 0);
  out.offsets.resize(rows);
  out.total.assign(args.slots, 0.0);
  out.weights.resize(args.weights == nullptr ? 0 : rows);
  for (size_t row = 0; row < rows; ++row) ++out.first[slot_of(row) + 2];
  for (size_t slot = 2; slot < out.first.size(); ++slot) out.first[slot] += out.first[slot - 1];
  for (size_t row = 0; row < rows; ++row) {
    const size_t place = out.first[slot_of(row) + 1]++;
    out.offsets[place] = row * args.shape.width;
    const float weight = args.weights == nullptr ? 1.0f : args.weights[entry * rows + row];
    if (args.weights != nullptr) out.weights[place] = weight;
    out.total[slot_of(row)] += static_cast<double>(weight);
  }
  if (args.out_sums != nullptr) {
    std::ranges::transform(out.total, args.out_sums + entry * args.slots,
                           [](double sum) { return static_cast<float>(sum); });
  }
}

// Columns of one block of work: all if there are enough batch entries for the threads, else fewer,
// but enough to read memory at full speed.
size_t ColumnsPerBlock(const Shape& shape, size_t threads) {
  constexpr size_t kLeast = 128;
  size_t columns = shape.width;
  while (columns >= 2 * kLeast && shape.batch * (shape.width / columns) < 4 * threads) columns /= 2;
  return columns;
}

// The sums of this many columns stay in the first-level cache.
constexpr size_t kColumnsAtOnce = 1024;

template <typename T>
void MergeColumns(const MergeByAssignmentArgs& args, const Kernels& kernels, const SlotRows& groups,
                  const T* rows, size_t first_column, size_t columns, T* out) {
  double sum[kColumnsAtOnce];
  for (size_t slot = 0; slot < args.slots; ++slot) {
    const size_t first = groups.first[slot];
    const size_t count = groups.first[slot + 1] - first;
    SumRows(kernels, rows + first_column, groups.offsets.data() + first,
            groups.weights.empty() ? nullptr : groups.weights.data() + first, count, columns, sum);
    CheckFinite(sum, columns);
    const bool divide = args.mode == MergeMode::kMean && count > 0;
    StoreMeans(kernels, sum, divide ? groups.total[slot] : 1.0, columns,
               out + slot * args.shape.width + first_column);
  }
}

}  // namespace

void MergeByAssignment(const MergeByAssignmentArgs& args, const Workers& workers,
                       std::vector<SlotRows>& scratch) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  scratch.resize(std::max(scratch.size(), shape.batch));
  workers.For(shape.batch, [&](size_t entry) { GroupBySlot(args, entry, scratch[entry]); });
  const size_t columns = std::min(ColumnsPerBlock(shape, workers.threads()), kColumnsAtOnce);
  const size_t blocks = (shape.width + columns - 1) / columns;
  workers.For(shape.batch * blocks, [&](size_t i) {
    const size_t entry = i / blocks;
    const size_t first = i % blocks * columns;
    Visit(args.rows, [&](const auto* rows) {
      using T = std::remove_const_t<std::remove_pointer_t<decltype(rows)>>;
      MergeColumns<T>(args, kernels, scratch[entry], rows + entry * shape.rows * shape.width, first,
                      std::min(columns, shape.width - first),
                      args.out.As<T>() + entry * args.slots * shape.width);
    });
  });
}

void SpreadByAssignment(const SpreadByAssignmentArgs& args, const Workers& workers) {
  const Shape& shape = args.shape;
  CheckAssignment(args.assignment, shape.batch * args.rows, shape.rows);
  constexpr size_t kRowsPerBlock = 256;
  const size_t all_rows = shape.batch * args.rows;
  workers.For((all_rows + kRowsPerBlock - 1) / kRowsPerBlock, [&](size_t block) {
    const size_t last = std::min((block + 1) * kRowsPerBlock, all_rows);
    Visit(args.slots, [&](const auto* slots) {
      using T = std::remove_const_t<std::remove_pointer_t<decltype(slots)>>;
      T* out = args.out.As<T>();
      for (size_t row = block * kRowsPerBlock; row < last; ++row) {
        const size_t slot =
            row / args.rows * shape.rows + static_cast<size_t>(args.assignment[row]);
        std::copy_n(slots + slot * shape.width, shape.width, out + row * shape.width);
      }
    });
  });
}

}  // namespace longvlm
