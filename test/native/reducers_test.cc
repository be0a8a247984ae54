// The reducers' kernels against the portable ones, in buffers of exactly the size that their
// headers name; and the reducers: the same with every instruction set and any number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "check.h"
#include "core/fast_vid.h"
#include "core/flash_vid.h"
#include "core/gaussian_scores.h"
#include "core/instruction_set.h"
#include "core/temporal_similarity.h"
#include "core/v_cast.h"
#include "inputs.h"
#include "kernels/dispatch.h"
#include "tests.h"

namespace longvlm {
namespace {

template <typename T>
bool SameBytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

void TestRows(const Kernels& kernels, size_t dims) {
  for (const size_t count : {1, 4, 7}) {
    const std::vector<float> rows = MakeInput(InputKind::kZeros, count, dims, 3);
    std::vector<float> units(rows), expected(rows);
    kernels.normalize_rows(units.data(), count, dims);
    for (size_t i = 0; i < count; ++i) {
      float* row = expected.data() + i * dims;
      NormalizeRow_portable(row, dims, row);
    }
    CHECK(SameBytes(units, expected), "%zu rows of %zu", count, dims);
    const float* last = rows.data() + (count - 1) * dims;
    const SquareAndProduct found = kernels.square_and_product(last, rows.data(), dims);
    CHECK(found.square == DotProduct_portable(last, last, dims), "dims %zu", dims);
    CHECK(found.product == DotProduct_portable(last, rows.data(), dims), "dims %zu", dims);
    for (const size_t width : {kernels.width_a, kernels.width_b}) {
      std::vector<float> panel(width * dims);
      kernels.pack_panel(rows.data(), count, count / 2, dims, width, panel.data());
      for (size_t i = 0; i < width; ++i) {
        const float* row = rows.data() + std::min(count / 2 + i, count - 1) * dims;
        for (size_t k = 0; k < dims; ++k) CHECK(panel[k * width + i] == row[k], "row %zu", i);
      }
    }
  }
}

void TestGaussianSums(const Kernels& kernels, size_t width) {
  const size_t rows = 9;
  const std::vector<float> values = MakeInput(InputKind::kRandom, rows, width, 5);
  std::vector<double> sums(width, 1), squares(width, 2), expected_sums(sums), expected(squares);
  kernels.add_moments(values.data(), width, rows, width, sums.data(), squares.data());
  AddMoments_portable(values.data(), width, rows, width, expected_sums.data(), expected.data());
  CHECK(sums == expected_sums && squares == expected, "width %zu", width);

  const std::vector<double> scales{1, 0.7, 0, 1e-3, 3e20, -0.3, 0.1, 5};
  const size_t stride = width + 3;
  const std::vector<float> apart = MakeInput(InputKind::kRandom, 1, scales.size() * stride, 6);
  for (const size_t count : {size_t{0}, size_t{3}, size_t{4}, scales.size() - 1}) {
    const float* from = apart.data() + 3;
    kernels.add_scaled_rows(from, stride, scales.data(), count, width, sums.data());
    AddScaledRows_portable(from, stride, scales.data(), count, width, expected_sums.data());
    CHECK(sums == expected_sums, "%zu rows of %zu", count, width);
    const Centres centres{sums.data(), squares.data()};
    std::vector<double> found(2 * count), portable(2 * count);
    kernels.squared_distances(from, stride, scales.data(), count, centres, width, found.data());
    SquaredDistances_portable(from, stride, scales.data(), count, centres, width, portable.data());
    CHECK(found == portable, "%zu rows of %zu", count, width);
  }

  std::vector<uint16_t> chosen((width + 15) / 16, 0);
  std::vector<float> some;
  for (size_t c = 0; c < width; ++c) {
    if (c * 7 % 5 >= 2) continue;
    chosen[c / 16] |= static_cast<uint16_t>(1u << c % 16);
    some.push_back(values[c]);
  }
  std::vector<float> selected(some.size() + 7);
  kernels.select_channels(values.data(), chosen.data(), width, selected.data());
  selected.resize(some.size());
  CHECK(SameBytes(selected, some), "width %zu", width);
}

void TestCopies(const Kernels& kernels, size_t bytes) {
  std::vector<std::byte> from(bytes);
  for (size_t i = 0; i < bytes; ++i) from[i] = static_cast<std::byte>(i * 7 + 1);
  // At places of every kind in a line, and no byte beyond.
  for (const size_t offset : {0, 2, 16, 63}) {
    std::vector<std::byte> out(offset + bytes + 1);
    kernels.copy_past_caches(from.data(), bytes, out.data() + offset);
    std::vector<std::byte> expected(offset + bytes + 1);
    std::ranges::copy(from, expected.begin() + static_cast<std::ptrdiff_t>(offset));
    CHECK(out == expected, "%zu bytes at %zu", bytes, offset);
  }
}

struct Kept {
  std::vector<float> tokens, sizes, scores;
  std::vector<int32_t> indices, starts, counts, owners;

  bool operator==(const Kept& other) const {
    return SameBytes(tokens, other.tokens) && sizes == other.sizes &&
           SameBytes(scores, other.scores) && indices == other.indices && starts == other.starts &&
           counts == other.counts && owners == other.owners;
  }
};

Kept Room(const Shape& shape, size_t tokens) {
  return {.tokens = std::vector<float>(tokens * shape.width),
          .sizes = std::vector<float>(tokens),
          .scores = {},
          .indices = std::vector<int32_t>(tokens),
          .starts = std::vector<int32_t>(shape.batch),
          .counts = std::vector<int32_t>(3),
          .owners = std::vector<int32_t>(shape.batch * shape.rows)};
}

std::vector<Kept> Reduce(const Shape& shape, const std::vector<float>& tokens,
                         const Workers& workers) {
  const size_t rows = shape.batch * shape.rows;
  const size_t budget = (shape.rows + 2) / 3;
  std::vector<float> attention(rows);
  for (size_t i = 0; i < rows; ++i) attention[i] = std::fabs(tokens[i * shape.width]);
  std::vector<Kept> all;
  Kept& v_cast = all.emplace_back(Room(shape, shape.batch * budget));
  VCast({.tokens = tokens.data(),
         .shape = shape,
         .total = shape.batch * budget,
         .least = 1,
         .temperature = 0.7,
         .leftover = Leftover::kRemainder,
         .out = v_cast.tokens.data(),
         .out_indices = v_cast.indices.data()},
        workers);
  Kept& fast = all.emplace_back(Room(shape, shape.batch * budget));
  FastVid({.tokens = tokens.data(),
           .shape = shape,
           .attention = attention.data(),
           .frame_features = nullptr,
           .feature_width = shape.width,
           .salient = budget / 2,
           .context = budget - budget / 2,
           .segments = 2,
           .threshold = 0.2f,
           .anchor_step = 2,
           .beta = 0.6,
           .out = fast.tokens.data(),
           .out_indices = fast.indices.data(),
           .out_sizes = fast.sizes.data(),
           .out_starts = fast.starts.data(),
           .out_count = fast.counts.data(),
           .out_owners = fast.owners.data()},
          workers);
  for (const bool reference : {false, true}) {
    Kept& flash = all.emplace_back(Room(shape, shape.batch * (budget + 1)));
    FlashVid({.tokens = tokens.data(),
              .shape = shape,
              .attention = reference ? attention.data() : nullptr,
              .budget = budget,
              .picked = budget / 2,
              .temporal_threshold = 0.6f,
              .segment_threshold = 0.2f,
              .segments = 2,
              .reference_counts = reference,
              .cluster_picked = reference,
              .exact_budget = !reference,
              .out = flash.tokens.data(),
              .out_indices = flash.indices.data(),
              .out_sizes = flash.sizes.data(),
              .out_starts = flash.starts.data(),
              .out_counts = flash.counts.data(),
              .out_owners = flash.owners.data()},
             workers);
  }
  Kept& scores = all.emplace_back();
  scores.scores.resize(3 * rows - shape.rows);
  GaussianScores({.tokens = tokens.data(),
                  .shape = shape,
                  .out_video = scores.scores.data(),
                  .out_frame = scores.scores.data() + rows},
                 workers);
  TemporalSimilarity({.tokens = tokens.data(),
                      .shape = shape,
                      .best = false,
                      .out_cosines = scores.scores.data() + 2 * rows,
                      .out_matches = nullptr},
                     workers);
  return all;
}

}  // namespace

void TestReducers(const std::string& instruction_set) {
  const Kernels& kernels = ActiveKernels();
  for (const size_t width : {1, 3, 8, 16, 19, 64, 70}) {
    TestRows(kernels, width);
    TestGaussianSums(kernels, width);
    TestCopies(kernels, width * 5);
  }
  ThreadPool pool(3);
  for (const Shape shape : {Shape{1, 1, 3}, Shape{1, 40, 9}, Shape{4, 5, 17}, Shape{6, 37, 33}}) {
    for (const InputKind kind : {InputKind::kRandom, InputKind::kVideoLike, InputKind::kIntegers}) {
      const std::vector<float> tokens = MakeInput(kind, shape.batch * shape.rows, shape.width, 8);
      const std::vector<Kept> found = Reduce(shape, tokens, {&pool, nullptr});
      CHECK(found == Reduce(shape, tokens, {nullptr, nullptr}), "on one thread");
      LimitInstructionSet("portable");
      CHECK(found == Reduce(shape, tokens, {nullptr, nullptr}), "with portable kernels");
      LimitInstructionSet(instruction_set);
    }
  }
}

}  // namespace longvlm
