// The most similar rows, as 16-bit integers and then float32 products choose them, against float32
// products of all pairs.
#include "core/best_cosines.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "check.h"
#include "core/cosine_rows.h"
#include "core/row_products.h"
#include "core/select_diverse.h"
#include "core/word_matrix.h"
#include "kernels/dispatch.h"
#include "rows.h"
#include "tests.h"

namespace longvlm {
namespace {

constexpr Workers kAlone{nullptr, nullptr};

// The integers of some rows, read back from a panel of them.
void TestWords(const Kernels& kernels, InputKind kind, size_t dims) {
  const std::vector<float> rows = MakeInput(kind, kernels.width_a, dims, 21);
  const size_t pairs = (dims + 1) / 2;
  for (const size_t count : {size_t{1}, size_t{4}, size_t{7}, kernels.width_a}) {
    std::vector<const float*> from;
    std::vector<float> scales;
    for (size_t i = 0; i < count; ++i) {
      from.push_back(&rows[i * dims]);
      scales.push_back(i % 3 == 1 ? 0.0f : 20'000.0f / static_cast<float>(i + 1));
    }
    std::vector<int32_t> panel(pairs * kernels.width_a, 9);
    kernels.pack_words(from.data(), scales.data(), count, dims, panel.data(), kernels.width_a);
    for (size_t i = 0; i < kernels.width_a; ++i) {
      for (size_t k = 0; k < 2 * pairs; ++k) {
        const int32_t pair = panel[k / 2 * kernels.width_a + i];
        const int32_t word = k % 2 == 0 ? static_cast<int16_t>(pair & 0xffff) : pair >> 16;
        const float scaled = k < dims && i < count ? from[i][k] * scales[i] : 0;
        const int32_t expected = static_cast<int32_t>(std::nearbyint(scaled));
        CHECK(i < count ? word == expected : pair == 9, "word %zu of row %zu of %zu", k, i, dims);
      }
    }
  }
}

void TestWordProducts(const Kernels& kernels, size_t dims, size_t panels) {
  const size_t pairs = (dims + 1) / 2;
  const auto pack = [&](size_t count, size_t width, uint32_t seed) {
    const std::vector<float> rows = UnitRows(InputKind::kRandom, count, dims, seed);
    std::vector<int32_t> out(count * pairs);
    for (size_t i = 0; i < count; ++i) {
      kernels.row_words(&rows[i * dims], dims, &out[i / width * width * pairs + i % width], width);
    }
    return out;
  };
  const std::vector<int32_t> a = pack(kernels.width_a, kernels.width_a, 22);
  const std::vector<int32_t> b = pack(panels * kernels.width_b, kernels.width_b, 23);
  const auto word = [&](const std::vector<int32_t>& rows, size_t width, size_t row, size_t k) {
    const int32_t pair = rows[(row / width * pairs + k / 2) * width + row % width];
    return k % 2 == 0 ? static_cast<int16_t>(pair & 0xffff) : pair >> 16;
  };
  for (const size_t columns : {size_t{1}, kernels.width_a / 2, kernels.width_a}) {
    std::vector<int32_t> products(panels * kernels.width_b * kernels.width_a);
    kernels.word_products(a.data(), b.data(), panels, dims, columns, products.data());
    for (size_t j = 0; j < panels * kernels.width_b; ++j) {
      for (size_t i = 0; i < columns; ++i) {
        int32_t sum = 0;
        for (size_t k = 0; k < 2 * pairs; ++k) {
          sum += word(a, kernels.width_a, i, k) * word(b, kernels.width_b, j, k);
        }
        CHECK(products[j * kernels.width_a + i] == sum, "dims %zu, %zu with %zu", dims, i, j);
      }
    }
  }
}

// Rows of `tokens`, every other of them a row of A.
void TestChoice(const Kernels& kernels, const ConstValues& tokens, size_t count, size_t dims,
                Choice choice) {
  const RowReader reader{tokens, dims, kernels};
  std::vector<uint32_t> rows_of_a, rows_of_b;
  std::vector<float> units(count * dims);
  for (uint32_t i = 0; i < count; ++i) {
    (i % 2 == 0 ? rows_of_a : rows_of_b).push_back(i);
    reader.Read(i, 1, &units[i * dims]);
    NormalizeRow_portable(&units[i * dims], dims, &units[i * dims]);
  }
  CosineRows a, b;
  // Twice: memory is used again.
  for (int time = 0; time < 2; ++time) {
    a.Set(reader, dims, rows_of_a, kernels.width_a, kernels, kAlone);
    b.Set(reader, dims, rows_of_b, kernels.width_b, kernels, kAlone);
  }
  BestCosinesScratch scratch;
  for (size_t panel = 0; panel < a.panels(); ++panel) {
    const size_t first = panel * kernels.width_a;
    const size_t columns = std::min(kernels.width_a, rows_of_a.size() - first);
    std::vector<float> best(columns);
    std::vector<int32_t> index(columns), alone(columns);
    FindBestCosines(a, panel, b, choice, kernels, scratch, best.data(), index.data());
    scratch.unscreened = 0;
    FindBestCosines(a, panel, b, choice, kernels, scratch, nullptr, alone.data());
    CHECK(index == alone, "with and without cosines");
    for (size_t i = 0; i < columns; ++i) {
      const float* own = &units[rows_of_a[first + i] * dims];
      float highest = -std::numeric_limits<float>::infinity();
      int32_t expected = 0;
      bool equal = false;
      for (size_t j = 0; j < rows_of_b.size() && !equal; ++j) {
        const float* other = &units[rows_of_b[j] * dims];
        equal = choice == Choice::kEqualFirst && std::equal(own, own + dims, other) &&
                std::any_of(own, own + dims, [](float value) { return value != 0; });
        const float chain = Chain(own, other, dims);
        if (!equal && !(chain > highest)) continue;
        highest = chain;
        expected = static_cast<int32_t>(j);
      }
      CHECK(index[i] == expected, "row %zu of %zu tokens of %zu: %d, not %d", first + i, count,
            dims, index[i], expected);
      if (choice == Choice::kEqualFirst) continue;
      CHECK(best[i] == highest, "row %zu: %g, not %g", first + i, static_cast<double>(best[i]),
            static_cast<double>(highest));
    }
  }
}

// Max-min selection by words against that by all products.
void TestDiverse(const Kernels& kernels, const std::vector<float>& tokens, size_t count,
                 size_t dims) {
  const RowReader reader{tokens.data(), dims, kernels};
  std::vector<uint32_t> all(count), expected, found;
  std::iota(all.begin(), all.end(), 0u);
  CosineRows rows;
  rows.Set(reader, dims, all, kernels.width_a, kernels, kAlone);
  WordMatrix matrix;
  matrix.Multiply(rows, kernels, kAlone);
  RowProducts products;
  products.Start(count, dims, kernels);
  reader.ReadUnits(0, count, products.row(0), kAlone);
  products.Multiply(kAlone);
  for (size_t i = 0; i < count; ++i) {
    CHECK(matrix.word(i, count - 1) == matrix.word(count - 1, i), "row %zu of %zu", i, count);
  }
  for (const size_t picked : {size_t{1}, count / 3, count}) {
    SelectDiverse(products, nullptr, picked, kAlone, expected);
    const bool decided = SelectDiverseByWords(matrix, picked, found);
    CHECK(!decided || found == expected, "%zu of %zu rows of %zu", picked, count, dims);
  }
}

// Lengths from the smallest to the largest that float32 has.
std::vector<float> OfAllMagnitudes(std::vector<float> rows, size_t dims) {
  for (size_t i = 0; i < rows.size() / dims; ++i) {
    const float by = std::ldexp(1.0f, static_cast<int>(i * 37 % 240) - 140);
    for (size_t k = 0; k < dims; ++k) rows[i * dims + k] *= by;
  }
  return rows;
}

}  // namespace

void TestBestCosines() {
  const Kernels& kernels = ActiveKernels();
  for (const size_t dims : {1, 2, 15, 16, 33, 64, 70}) {
    for (const InputKind kind : kInputKinds) TestWords(kernels, kind, dims);
    if (kernels.word_products == nullptr) continue;
    for (const size_t panels : {1, 3}) TestWordProducts(kernels, dims, panels);
  }
  for (const InputKind kind : kInputKinds) {
    if (kernels.word_products == nullptr) break;
    for (const auto& [count, dims] : {std::pair<size_t, size_t>{2, 5}, {33, 64}, {100, 300}}) {
      const std::vector<float> tokens = MakeInput(kind, count, dims, 25);
      TestDiverse(kernels, tokens, count, dims);
      TestDiverse(kernels, OfAllMagnitudes(tokens, dims), count, dims);
    }
  }
  for (const Choice choice : {Choice::kHighest, Choice::kEqualFirst}) {
    for (const InputKind kind : kInputKinds) {
      for (const auto& [count, dims] : {std::pair<size_t, size_t>{2, 1}, {131, 40}, {300, 100}}) {
        const std::vector<float> tokens = MakeInput(kind, count, dims, 24);
        TestChoice(kernels, tokens.data(), count, dims, choice);
        TestChoice(kernels, ToHalf(tokens).data(), count, dims, choice);
        TestChoice(kernels, OfAllMagnitudes(tokens, dims).data(), count, dims, choice);
      }
    }
  }
}

}  // namespace longvlm
