// Each kernel of each instruction set against loops that say what it is to compute. Buffers have
// exactly the size that the kernels' headers name, so that a sanitizer sees every step beyond.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "check.h"
#include "kernels/dispatch.h"
#include "kernels/fused.h"
#include "rows.h"
#include "tests.h"

namespace longvlm {
namespace {

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> Panels(const std::vector<float>& rows, size_t dims, size_t width) {
  const size_t count = rows.size() / dims;
  const size_t panels = (count + width - 1) / width;
  std::vector<float> out(panels * dims * width);
  for (size_t i = 0; i < panels * width; ++i) {
    for (size_t k = 0; k < dims; ++k) {
      out[(i / width * dims + k) * width + i % width] = rows[std::min(i, count - 1) * dims + k];
    }
  }
  return out;
}

void TestMetric(const Kernels& kernels) {
  for (const auto [count, heads, dims] : {std::array<size_t, 3>{1, 1, 1},
                                          {3, 16, 64},
                                          {2, 3, 5},
                                          {5, 2, 33},
                                          {1, 4, 100},
                                          {4, 7, 8}}) {
    const std::vector<float> tokens = MakeInput(InputKind::kRandom, count, heads * dims, 1);
    const std::vector<uint16_t> half = ToHalf(tokens);
    std::vector<float> metric(count * dims), expected(metric);
    TokenMetricF32_portable(tokens.data(), count, heads, dims, expected.data());
    kernels.token_metric_f32(tokens.data(), count, heads, dims, metric.data());
    CHECK(SameBits(metric, expected), "%zu x %zu x %zu", count, heads, dims);
    double sum = 0;
    for (size_t head = 0; head < heads; ++head) sum += static_cast<double>(tokens[head * dims]);
    CHECK(metric[0] == static_cast<float>(sum / static_cast<double>(heads)), "%zu heads", heads);
    TokenMetricF16_portable(half.data(), count, heads, dims, expected.data());
    kernels.token_metric_f16(half.data(), count, heads, dims, metric.data());
    CHECK(SameBits(metric, expected), "float16, %zu x %zu x %zu", count, heads, dims);
  }
}

void TestNormalize(const Kernels& kernels) {
  for (const size_t dims : {1, 2, 3, 4, 5, 8, 31, 64, 100}) {
    for (const InputKind kind : kInputKinds) {
      std::vector<float> row = MakeInput(kind, 2, dims, 7);
      row.erase(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(dims));
      std::vector<float> expected(dims);
      const bool any = NormalizeRow_portable(row.data(), dims, expected.data());
      CHECK(kernels.normalize_row(row.data(), dims, row.data()) == any, "dims %zu", dims);
      CHECK(SameBits(row, expected), "dims %zu", dims);
      CHECK(any == std::ranges::any_of(row, [](float v) { return v != 0; }), "dims %zu", dims);
      for (const float v : row) CHECK(v != 0 || !std::signbit(v), "a zero has a sign");
    }
  }
}

void TestProducts(const Kernels& kernels) {
  for (const size_t dims : {1, 2, 7, 65}) {
    for (const size_t num_b : {1, 6, 13, 65}) {
      for (const InputKind kind : kInputKinds) {
        const std::vector<float> a = UnitRows(kind, kernels.width_a, dims, 3);
        const std::vector<float> b =
            UnitRows(kind, num_b, dims, kind == InputKind::kNearTies ? 3 : 4);
        const std::vector<float> panel_a = Panels(a, dims, kernels.width_a);
        const std::vector<float> panels_b = Panels(b, dims, kernels.width_b);
        std::vector<float> best(kernels.width_a);
        std::vector<int32_t> index(kernels.width_a);
        kernels.best_match(panel_a.data(), panels_b.data(), num_b, dims, best.data(), index.data());
        std::vector<float> product(num_b * kernels.width_a);
        kernels.products(panel_a.data(), panels_b.data(), num_b, dims, product.data());
        for (size_t i = 0; i < product.size(); ++i) {
          const float expected = Chain(a.data() + i % kernels.width_a * dims,
                                       b.data() + i / kernels.width_a * dims, dims);
          CHECK(product[i] == expected, "dims %zu, num_b %zu, %zu", dims, num_b, i);
        }
        const double dot = DotProduct_portable(a.data(), b.data(), dims);
        CHECK(kernels.dot_product(a.data(), b.data(), dims) == dot, "dims %zu", dims);
        std::vector<RowPair> pairs;
        std::vector<float> chains;
        for (uint32_t i = 0; i < kernels.width_a; ++i) {
          float highest = -std::numeric_limits<float>::infinity();
          size_t row = 0;
          for (uint32_t j = 0; j < num_b; ++j) {
            const float chain = Chain(&a[i * dims], &b[j * dims], dims);
            pairs.push_back({i, j});
            chains.push_back(chain);
            if (chain > highest) {
              highest = chain;
              row = j;
            }
          }
          CHECK(best[i] == highest && static_cast<size_t>(index[i]) == row,
                "dims %zu, num_b %zu, column %u: %g at %d, not %g at %zu", dims, num_b, i,
                static_cast<double>(best[i]), index[i], static_cast<double>(highest), row);
        }
        std::vector<float> similarity(pairs.size());
        kernels.similarities(a.data(), b.data(), pairs.data(), pairs.size(), dims,
                             similarity.data());
        CHECK(SameBits(similarity, chains), "dims %zu, num_b %zu", dims, num_b);
      }
    }
  }
}

template <typename T, typename Sum, typename Portable>
void TestSumRows(const std::vector<T>& rows, size_t width, Sum sum, Portable portable) {
  const size_t count = rows.size() / width;
  std::vector<size_t> offsets(count);
  std::vector<float> weights(count);
  for (size_t i = 0; i < count; ++i) {
    offsets[i] = (i * 7 + 3) % count * width;
    weights[i] = static_cast<float>(i + 1) / 3;
  }
  for (const float* weight : std::array<const float*, 2>{nullptr, weights.data()}) {
    std::vector<double> out(width, -1.0), expected(width);
    sum(rows.data(), offsets.data(), weight, count, width, out.data());
    portable(rows.data(), offsets.data(), weight, count, width, expected.data());
    CHECK(std::memcmp(out.data(), expected.data(), width * sizeof(double)) == 0, "%zu rows of %zu",
          count, width);
  }
}

void TestRowSums(const Kernels& kernels) {
  for (const size_t width : {1, 3, 4, 17, 64}) {
    for (const size_t count : {1, 3, 4, 5, 9, 22}) {
      const std::vector<float> rows = MakeInput(InputKind::kRandom, count, width, 9);
      TestSumRows(rows, width, kernels.sum_rows_f32, SumRowsF32_portable);
      TestSumRows(ToHalf(rows), width, kernels.sum_rows_f16, SumRowsF16_portable);
      TestSumRows(std::vector<double>(rows.begin(), rows.end()), width, kernels.sum_rows_f64,
                  SumRowsF64_portable);
    }
    const std::vector<float> values = MakeInput(InputKind::kRandom, 1, width, 10);
    const std::vector<double> sum(values.begin(), values.end());
    std::vector<float> single(width), expected(width);
    kernels.store_means_f32(sum.data(), 3, width, single.data());
    StoreMeansF32_portable(sum.data(), 3, width, expected.data());
    CHECK(SameBits(single, expected), "width %zu", width);
    std::vector<uint16_t> half(width), expected_half(width);
    kernels.store_means_f16(sum.data(), 3, width, half.data());
    StoreMeansF16_portable(sum.data(), 3, width, expected_half.data());
    CHECK(half == expected_half, "width %zu", width);
  }
}

// What portable kernels take for fused multiply-adds, against those of the C library.
void TestFusedMultiplyAdd() {
  std::mt19937 random(11);
  const auto any = [&random] {
    const uint32_t exponent = 100 + static_cast<uint32_t>(random()) % 40;
    return std::bit_cast<float>((static_cast<uint32_t>(random()) & 0x807fffffu) | exponent << 23);
  };
  for (int i = 0; i < 200'000; ++i) {
    const float a = any(), b = any();
    const float c = i % 3 == 0 ? any() : -a * b * (1 + static_cast<float>(random() % 7) * 0x1p-23f);
    CHECK(FusedMultiplyAdd(a, b, c) == std::fma(a, b, c), "%a * %a + %a", static_cast<double>(a),
          static_cast<double>(b), static_cast<double>(c));
  }
  // Halfway but for what float64 loses, and products below the smallest normal number.
  const float up = 0x1p-12f * (1 + 0x1p-23f), down = 0x1p-12f * (1 - 0x1p-23f);
  CHECK(FusedMultiplyAdd(up, down, 1 + 0x1p-23f) == 1 + 0x1p-23f, "rounded twice");
  CHECK(FusedMultiplyAdd(0x1.8p-75f, 0x1p-75f, 0x1p-149f) ==
            std::fma(0x1.8p-75f, 0x1p-75f, 0x1p-149f),
        "subnormal");
}

}  // namespace

void TestKernels() {
  TestFusedMultiplyAdd();
  const Kernels& kernels = ActiveKernels();
  TestMetric(kernels);
  TestNormalize(kernels);
  TestProducts(kernels);
  TestRowSums(kernels);
}

}  // namespace longvlm
