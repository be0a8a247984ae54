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
#include "core/word_rows.h"
#include "kernels/dispatch.h"
#include "rows.h"
#include "tests.h"

namespace longvlm {
namespace {

constexpr Workers kAlone{nullptr, nullptr};

void TestWords(const Kernels& kernels, InputKind kind, size_t dims) {
  const std::vector<float> row = MakeInput(kind, 1, dims, 21);
  const size_t padded = (dims + kWordsAtOnce - 1) / kWordsAtOnce * kWordsAtOnce;
  for (const float scale : {0.0f, 3.0f, 20'000.0f}) {
    std::vector<int16_t> words(padded + 1, 9);
    const float lost = kernels.scale_words(row.data(), scale, dims, words.data());
    double expected_lost = 0;
    for (size_t k = 0; k < padded; ++k) {
      const float scaled = k < dims ? row[k] * scale : 0;
      const float expected = std::nearbyint(scaled);
      CHECK(static_cast<float>(words[k]) == expected, "word %zu of %zu: %d", k, dims, words[k]);
      expected_lost += std::pow(static_cast<double>(scaled - expected), 2);
    }
    CHECK(std::fabs(static_cast<double>(lost) - expected_lost) <= 1e-5 * expected_lost,
          "%g lost of %zu words, not %g", static_cast<double>(lost), dims, expected_lost);
    CHECK(words[padded] == 9, "behind %zu words", dims);
  }
}

void TestWordProducts(const Kernels& kernels, size_t dims, size_t count_a, size_t count_b) {
  const std::vector<float> units = UnitRows(InputKind::kRandom, count_a + count_b, dims, 22);
  WordRows rows;
  rows.Resize(count_a + count_b, dims);
  std::vector<const int16_t*> a, b;
  for (size_t i = 0; i < count_a + count_b; ++i) {
    kernels.scale_words(&units[i * dims], kScreenScale, dims, rows.row(i));
    (i < count_a ? a : b).push_back(rows.row(i));
  }
  const size_t stride = count_b + 2;
  std::vector<int32_t> products(count_a * stride, 9);
  kernels.word_products(a.data(), count_a, b.data(), count_b, dims, products.data(), stride);
  for (size_t i = 0; i < products.size(); ++i) {
    const size_t row = i / stride, other = i % stride;
    int32_t sum = other < count_b ? 0 : 9;
    for (size_t k = 0; other < count_b && k < dims; ++k) sum += a[row][k] * b[other][k];
    CHECK(products[i] == sum, "dims %zu, %zu with %zu", dims, row, other);
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
  std::vector<int32_t> all;
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
    all.insert(all.end(), index.begin(), index.end());
  }
  // The last rows first.
  std::vector<uint32_t> some;
  for (size_t i = rows_of_a.size(); i > 0; i -= std::min<size_t>(i, 3)) {
    some.push_back(static_cast<uint32_t>(i - 1));
  }
  CosineRows part;
  part.SetPart(a, some, kernels.width_a);
  for (size_t panel = 0; panel < part.panels(); ++panel) {
    const size_t first = panel * kernels.width_a;
    std::vector<int32_t> index(std::min(kernels.width_a, some.size() - first));
    FindBestCosines(part, panel, b, choice, kernels, scratch, nullptr, index.data());
    for (size_t i = 0; i < index.size(); ++i) {
      CHECK(index[i] == all[some[first + i]], "row %zu of a part", first + i);
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
  for (const size_t dims : {1, 2, 31, 32, 48, 64, 70, 1100}) {
    for (const InputKind kind : kInputKinds) TestWords(kernels, kind, dims);
    if (kernels.word_products == nullptr) continue;
    for (const size_t count : {1, 2, 4, 5, 13}) {
      TestWordProducts(kernels, dims, count, 7);
      TestWordProducts(kernels, dims, 7, count);
    }
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
