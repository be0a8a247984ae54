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

// The rows of one batch entry, ordered by slot.
struct Groups {
  std::vector<size_t> first;    // [slots + 1], into `offsets`
  std::vector<size_t> offsets;  // of the rows, in values from the entry's first
  std::vector<float> weights;   // in the order of `offsets`; empty for 1
  std::vector<double> total;    // [slots], the sums of weights

  Groups(const MergeByAssignmentArgs& args, size_t entry)
      : first(args.slots + 1), offsets(args.shape.rows), total(args.slots) {
    const size_t rows = args.shape.rows;
    const int32_t* assignment = args.assignment + entry * rows;
    CheckAssignment(assignment, rows, args.slots);
    const auto slot_of = [assignment](size_t row) { return static_cast<size_t>(assignment[row]); };
    for (size_t row = 0; row < rows; ++row) ++first[slot_of(row) + 1];
    for (size_t slot = 0; slot < args.slots; ++slot) first[slot + 1] += first[slot];
    if (args.weights != nullptr) weights.resize(rows);
    std::vector<size_t> next(first);
    for (size_t row = 0; row < rows; ++row) {
      const size_t place = next[slot_of(row)]++;
      offsets[place] = row * args.shape.width;
      const float weight = args.weights == nullptr ? 1.0f : args.weights[entry * rows + row];
      if (args.weights != nullptr) weights[place] = weight;
      total[slot_of(row)] += static_cast<double>(weight);
    }
    if (args.out_sums != nullptr) {
      std::transform(total.begin(), total.end(), args.out_sums + entry * args.slots,
                     [](double sum) { return static_cast<float>(sum); });
    }
  }
};

// Columns that one block of work takes: all when there are batch entries enough for the threads,
// else fewer, down to a stretch that memory still delivers at full speed.
size_t ColumnsPerBlock(const Shape& shape, size_t threads) {
  constexpr size_t kLeast = 128;
  size_t columns = shape.width;
  while (columns >= 2 * kLeast && shape.batch * (shape.width / columns) < 4 * threads) columns /= 2;
  return columns;
}

template <typename T>
void MergeColumns(const MergeByAssignmentArgs& args, const Kernels& kernels, const Groups& groups,
                  const T* rows, size_t first_column, size_t columns, T* out) {
  std::vector<double> sum(columns);
  for (size_t slot = 0; slot < args.slots; ++slot) {
    const size_t first = groups.first[slot];
    const size_t count = groups.first[slot + 1] - first;
    SumRows(kernels, rows + first_column, groups.offsets.data() + first,
            groups.weights.empty() ? nullptr : groups.weights.data() + first, count, columns,
            sum.data());
    CheckFinite(sum.data(), columns);
    const bool divide = args.mode == MergeMode::kMean && count > 0;
    StoreMeans(kernels, sum.data(), divide ? groups.total[slot] : 1.0, columns,
               out + slot * args.shape.width + first_column);
  }
}

}  // namespace

void MergeByAssignment(const MergeByAssignmentArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  std::vector<Groups> groups;
  groups.reserve(shape.batch);
  for (size_t entry = 0; entry < shape.batch; ++entry) groups.emplace_back(args, entry);
  const size_t columns = ColumnsPerBlock(shape, workers.threads());
  const size_t blocks = (shape.width + columns - 1) / columns;
  workers.For(shape.batch * blocks, [&](size_t i) {
    const size_t entry = i / blocks;
    const size_t first = i % blocks * columns;
    std::visit(
        [&](const auto* rows) {
          using T = std::remove_const_t<std::remove_pointer_t<decltype(rows)>>;
          MergeColumns<T>(args, kernels, groups[entry], rows + entry * shape.rows * shape.width,
                          first, std::min(columns, shape.width - first),
                          std::get<T*>(args.out) + entry * args.slots * shape.width);
        },
        args.rows);
  });
}

void SpreadByAssignment(const SpreadByAssignmentArgs& args, const Workers& workers) {
  const Shape& shape = args.shape;
  CheckAssignment(args.assignment, shape.batch * args.rows, shape.rows);
  constexpr size_t kRowsPerBlock = 256;
  const size_t all_rows = shape.batch * args.rows;
  workers.For((all_rows + kRowsPerBlock - 1) / kRowsPerBlock, [&](size_t block) {
    const size_t last = std::min((block + 1) * kRowsPerBlock, all_rows);
    std::visit(
        [&](const auto* slots) {
          using T = std::remove_const_t<std::remove_pointer_t<decltype(slots)>>;
          T* out = std::get<T*>(args.out);
          for (size_t row = block * kRowsPerBlock; row < last; ++row) {
            const size_t slot =
                row / args.rows * shape.rows + static_cast<size_t>(args.assignment[row]);
            std::copy_n(slots + slot * shape.width, shape.width, out + row * shape.width);
          }
        },
        args.slots);
  });
}

}  // namespace longvlm
