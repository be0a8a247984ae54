// Screening by integers, of each instruction set: that it selects exactly the rows that it is to
// select, and that nothing is lost by it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "check.h"
#include "core/matching.h"
#include "core/screen_margin.h"
#include "kernels/dispatch.h"
#include "rows.h"
#include "tests.h"

namespace longvlm {
namespace {

constexpr uint32_t kColumns = 0xfffffff3u;

int32_t Quantized(float value) {
  return static_cast<int32_t>(std::nearbyint(value * kScreenScale));
}

// Rows as panels of pairs of 16-bit integers; what is beyond the rows repeats the last.
std::vector<int32_t> ScreenPanels(const std::vector<float>& rows, size_t dims, size_t width,
                                  size_t slack) {
  const size_t count = rows.size() / dims;
  const size_t panels = (count + width - 1) / width;
  const size_t pairs = (dims + 1) / 2;
  std::vector<int32_t> out(panels * pairs * width + slack);
  for (size_t i = 0; i < panels * width; ++i) {
    const float* row = rows.data() + std::min(i, count - 1) * dims;
    for (size_t k = 0; k < pairs; ++k) {
      const uint32_t low = static_cast<uint32_t>(Quantized(row[2 * k])) & 0xffff;
      const uint32_t high = 2 * k + 1 < dims ? static_cast<uint32_t>(Quantized(row[2 * k + 1])) : 0;
      out[(i / width * pairs + k) * width + i % width] = static_cast<int32_t>(low | high << 16);
    }
  }
  return out;
}

void TestScreen(const Kernels& kernels) {
  if (kernels.screen_matches == nullptr) return;
  for (const size_t dims : {1, 2, 7, 65}) {
    for (const size_t panels : {1, 2, 9}) {
      for (const int32_t margin : {0, 600'000, 100'000'000}) {
        for (const InputKind kind : kInputKinds) {
          const size_t num_b = panels * kernels.width_b;
          const std::vector<float> a = UnitRows(kind, kernels.width_a, dims, 5);
          const std::vector<float> b = UnitRows(kind, num_b, dims, 6);
          const std::vector<int32_t> panel_a = ScreenPanels(a, dims, kernels.width_a, 0);
          const std::vector<int32_t> panels_b = ScreenPanels(b, dims, kernels.width_b, 8);
          const uint32_t columns = 0xfffffff3u;
          std::vector<RowPair> expected;
          for (uint32_t i = 0; i < kernels.width_a; ++i) {
            if ((columns >> i & 1) == 0) continue;
            std::vector<int64_t> products(num_b);
            for (size_t j = 0; j < num_b; ++j) {
              for (size_t k = 0; k < dims; ++k) {
                products[j] += int64_t{Quantized(a[i * dims + k])} * Quantized(b[j * dims + k]);
              }
            }
            const int64_t least = std::ranges::max(products) - margin;
            for (uint32_t j = 0; j < num_b; ++j) {
              if (products[j] >= least) expected.push_back({i, j});
            }
          }
          std::vector<RowPair> found(expected.size());
          const size_t count = kernels.screen_matches(panel_a.data(), panels_b.data(), panels, dims,
                                                      margin, columns, found.data(), found.size());
          CHECK(count == expected.size(), "%zu pairs, not %zu", count, expected.size());
          for (size_t i = 1; i < count; ++i) {
            CHECK(found[i - 1].row_of_b / kernels.width_b <= found[i].row_of_b / kernels.width_b,
                  "panels are out of order");
          }
          const auto by_rows = [](const RowPair& x, const RowPair& y) {
            return x.row_of_a != y.row_of_a ? x.row_of_a < y.row_of_a : x.row_of_b < y.row_of_b;
          };
          std::ranges::sort(found, by_rows);
          for (size_t i = 0; i < count; ++i) {
            CHECK(found[i].row_of_a == expected[i].row_of_a &&
                      found[i].row_of_b == expected[i].row_of_b,
                  "pair %zu of dims %zu, panels %zu", i, dims, panels);
          }
          found.resize(count - 1);
          CHECK(kernels.screen_matches(panel_a.data(), panels_b.data(), panels, dims, margin,
                                       columns, found.data(), found.size()) == count,
                "one too many is not told");
        }
      }
    }
  }
}

int32_t ByteOf(int32_t quad, size_t k) { return static_cast<int8_t>(quad >> (8 * k) & 0xff); }

void TestRowIntegers(const Kernels& kernels) {
  for (const size_t dims : {1, 2, 3, 4, 5, 15, 16, 31, 32, 33, 64, 70, 100}) {
    for (const InputKind kind : kInputKinds) {
      const std::vector<float> row = UnitRows(kind, 1, dims, 8);
      constexpr size_t kStride = 3;
      std::vector<int32_t> words((dims + 1) / 2 * kStride - 2, 9);
      kernels.row_words(row.data(), dims, words.data(), kStride);
      for (size_t k = 0; k < (dims + 1) / 2 * 2; ++k) {
        const int32_t pair = words[k / 2 * kStride];
        const int32_t word = k % 2 == 0 ? static_cast<int16_t>(pair & 0xffff) : pair >> 16;
        CHECK(word == (k < dims ? Quantized(row[k]) : 0), "word %zu of %zu", k, dims);
      }
      if (kernels.row_bytes == nullptr) continue;
      float largest = 0;
      for (const float value : row) largest = std::max(largest, std::abs(value));
      CHECK(kernels.largest_magnitude(row.data(), dims) == largest, "of %zu", dims);
      if (largest == 0) continue;
      const float scale = 127 / largest;
      for (const uint8_t flip : {uint8_t{0}, kBytesOfA}) {
        std::vector<int32_t> bytes((dims + 3) / 4 * kStride - 2, 9);
        const ByteRounding rounding =
            kernels.row_bytes(row.data(), dims, scale, flip, bytes.data(), kStride);
        int32_t sum = 0;
        double squares = 0;
        for (size_t k = 0; k < (dims + 3) / 4 * 4; ++k) {
          const float scaled = k < dims ? row[k] * scale : 0;
          const int32_t integer = static_cast<int32_t>(std::nearbyint(scaled));
          const int32_t byte = ByteOf(bytes[k / 4 * kStride], k % 4);
          CHECK((byte ^ static_cast<int8_t>(flip)) == integer, "byte %zu of %zu", k, dims);
          sum += integer;
          squares += std::pow(static_cast<double>(scaled) - integer, 2);
        }
        CHECK(rounding.sum == sum, "sum of %zu", dims);
        CHECK(std::abs(static_cast<double>(rounding.squares) - squares) <= 1e-5 * squares,
              "squares of %zu: %g", dims, squares);
        for (size_t i = 0; i < bytes.size(); ++i) {
          CHECK(i % kStride == 0 || bytes[i] == 9, "written beside the row");
        }
      }
    }
  }
}

// The product of the 8-bit integers of two rows, each by its own scale.
int32_t ByteProduct(const float* a, float scale_a, const float* b, float scale_b, size_t dims) {
  int32_t product = 0;
  for (size_t k = 0; k < dims; ++k) {
    product += static_cast<int32_t>(std::nearbyint(a[k] * scale_a)) *
               static_cast<int32_t>(std::nearbyint(b[k] * scale_b));
  }
  return product;
}

struct BytePanels {
  std::vector<int32_t> bytes;
  std::vector<int32_t> starts;
};

BytePanels ToBytes(const Kernels& kernels, const std::vector<float>& rows, size_t dims,
                   size_t width, const std::vector<float>& scales, uint8_t flip) {
  const size_t count = rows.size() / dims;
  const size_t quads = (dims + 3) / 4;
  BytePanels out{std::vector<int32_t>(count * quads), std::vector<int32_t>(count)};
  for (size_t i = 0; i < count; ++i) {
    int32_t* at = out.bytes.data() + i / width * width * quads + i % width;
    out.starts[i] = -128 * kernels.row_bytes(&rows[i * dims], dims, scales[i], flip, at, width).sum;
  }
  return out;
}

std::vector<float> Scales(const Kernels& kernels, const std::vector<float>& rows, size_t dims) {
  std::vector<float> scales(rows.size() / dims);
  for (size_t i = 0; i < scales.size(); ++i) {
    const float largest = kernels.largest_magnitude(&rows[i * dims], dims);
    scales[i] = largest > 0 ? 127 / largest : 1;
  }
  return scales;
}

// ScreenPanels against plain loops, and ScreenRows within what it has selected.
void TestScreenPanels(const Kernels& kernels, InputKind kind, size_t dims, size_t panels,
                      int32_t margin) {
  const size_t num_b = panels * kernels.width_b;
  const std::vector<float> a = UnitRows(kind, kernels.width_a, dims, 5);
  const std::vector<float> b = UnitRows(kind, num_b, dims, 6);
  const std::vector<float> scales = Scales(kernels, a, dims);
  const float largest = kernels.largest_magnitude(b.data(), b.size());
  const std::vector<float> scale_b(num_b, largest > 0 ? 127 / largest : 1);
  const BytePanels of_a = ToBytes(kernels, a, dims, kernels.width_a, scales, kBytesOfA);
  const BytePanels of_b = ToBytes(kernels, b, dims, kernels.width_b, scale_b, 0);
  std::vector<int32_t> margins(kernels.width_a);
  for (size_t i = 0; i < margins.size(); ++i) margins[i] = margin + static_cast<int32_t>(i);
  std::vector<uint32_t> expected(panels), hits(panels, 0xffffffffu);
  std::vector<RowPair> rows;
  size_t count = 0;
  constexpr int32_t kWordMargin = 600'000;
  for (uint32_t i = 0; i < kernels.width_a; ++i) {
    if ((kColumns >> i & 1) == 0) continue;
    std::vector<int32_t> products(num_b);
    for (size_t j = 0; j < num_b; ++j) {
      products[j] = ByteProduct(&a[i * dims], scales[i], &b[j * dims], scale_b[j], dims);
    }
    const int32_t least = std::ranges::max(products) - margins[i];
    std::vector<RowPair> mine;
    std::vector<int64_t> words;
    for (size_t panel = 0; panel < panels; ++panel) {
      const auto first = products.begin() + static_cast<std::ptrdiff_t>(panel * kernels.width_b);
      const auto last = first + static_cast<std::ptrdiff_t>(kernels.width_b);
      if (*std::max_element(first, last) < least) continue;
      expected[panel] |= 1u << i;
      ++count;
      for (size_t j = panel * kernels.width_b; j < (panel + 1) * kernels.width_b; ++j) {
        int64_t word = 0;
        for (size_t k = 0; k < dims; ++k) {
          word += int64_t{Quantized(a[i * dims + k])} * Quantized(b[j * dims + k]);
        }
        mine.push_back({i, static_cast<uint32_t>(j)});
        words.push_back(word);
      }
    }
    const int64_t least_word = std::ranges::max(words) - kWordMargin;
    for (size_t at = 0; at < mine.size(); ++at) {
      if (words[at] >= least_word) rows.push_back(mine[at]);
    }
  }
  CHECK(kernels.screen_panels(of_a.bytes.data(), of_b.bytes.data(), of_b.starts.data(), panels,
                              dims, margins.data(), kColumns, hits.data()) == count,
        "dims %zu, panels %zu, margin %d", dims, panels, margin);
  CHECK(hits == expected, "dims %zu, panels %zu, margin %d", dims, panels, margin);

  const std::vector<int32_t> words_a = ScreenPanels(a, dims, kernels.width_a, 0);
  const std::vector<int32_t> words_b = ScreenPanels(b, dims, kernels.width_b, 8);
  std::vector<RowPair> found(rows.size());
  CHECK(kernels.screen_rows(words_a.data(), words_b.data(), hits.data(), panels, dims, kWordMargin,
                            found.data(), found.size()) == rows.size(),
        "dims %zu, panels %zu", dims, panels);
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(found[i].row_of_a == rows[i].row_of_a && found[i].row_of_b == rows[i].row_of_b,
          "pair %zu of dims %zu, panels %zu", i, dims, panels);
  }
  found.resize(rows.size() - 1);
  CHECK(kernels.screen_rows(words_a.data(), words_b.data(), hits.data(), panels, dims, kWordMargin,
                            found.data(), found.size()) == rows.size(),
        "one too many is not told");
}

// That no chain is further from its 8-bit product than half of the margin allows.
void TestByteMargin(const Kernels& kernels, InputKind kind, size_t dims) {
  constexpr size_t kRows = 24;
  const std::vector<float> a = UnitRows(kind, kRows, dims, 12);
  const std::vector<float> b = UnitRows(kind, kRows, dims, 13);
  const float largest = kernels.largest_magnitude(b.data(), b.size());
  if (largest == 0) return;
  const ByteScale scale_b{127 / largest, 0};
  const std::vector<float> scales = Scales(kernels, a, dims);
  std::vector<int32_t> quads((dims + 3) / 4);
  for (size_t i = 0; i < kRows; ++i) {
    const ByteScale mine{
        scales[i],
        kernels.row_bytes(&a[i * dims], dims, scales[i], kBytesOfA, quads.data(), 1).squares};
    for (size_t j = 0; j < kRows; ++j) {
      const ByteScale other{
          scale_b.scale,
          kernels.row_bytes(&b[j * dims], dims, scale_b.scale, 0, quads.data(), 1).squares};
      const double product = ByteProduct(&a[i * dims], mine.scale, &b[j * dims], other.scale, dims);
      const double chain = static_cast<double>(Chain(&a[i * dims], &b[j * dims], dims));
      const double apart = std::abs(
          chain * static_cast<double>(mine.scale) * static_cast<double>(other.scale) - product);
      CHECK(2 * apart <= ByteMargin(mine, other, dims), "%g apart, dims %zu", apart, dims);
    }
  }
}

// A level of matching against all chains.
void TestMatching(const Kernels& kernels, InputKind kind, size_t tokens, size_t dims,
                  size_t num_protected) {
  const std::vector<float> metric = MakeInput(kind, tokens, dims, 14);
  const Workers alone{nullptr, nullptr};
  std::vector<Matching> segment(1);
  segment[0].Start(tokens, dims, num_protected, nullptr, kernels);
  std::ranges::copy(metric, segment[0].metric(0));
  segment[0].Prepare(0, tokens);
  Matching::MatchAll(segment, true, alone);
  std::vector<float> rows(metric.size());
  std::vector<uint8_t> zero(tokens);
  for (size_t i = 0; i < tokens; ++i) {
    zero[i] = !NormalizeRow_portable(&metric[i * dims], dims, &rows[i * dims]);
  }
  std::vector<Match> expected(segment[0].num_a());
  for (size_t i = 0; i < expected.size(); ++i) {
    const size_t token = segment[0].first_a() + 2 * i;
    const float* a = &rows[token * dims];
    Match best{-2, 0};
    bool equal = false;
    for (size_t j = 0; j < segment[0].num_b(); ++j) {
      const float* b = &rows[(segment[0].first_b() + 2 * j) * dims];
      if (!zero[token] && std::equal(a, a + dims, b)) {
        best = {1, static_cast<int32_t>(j)};
        equal = true;
        break;
      }
      const float chain = Chain(a, b, dims);
      if (chain > best.similarity) best = {chain, static_cast<int32_t>(j)};
    }
    if (!equal) best.similarity = std::min(best.similarity, 1 - 0x1p-24f);
    expected[i] = best;
    const Match& match = segment[0].match(i);
    if (zero[token]) continue;
    CHECK(match.row_of_b == best.row_of_b && match.similarity == best.similarity,
          "row %zu of %zu tokens of %zu: %d, not %d", i, tokens, dims, match.row_of_b,
          best.row_of_b);
  }
  // Rows alone, where similarities are not wanted.
  Matching::MatchAll(segment, false, alone);
  for (size_t i = 0; i < expected.size(); ++i) {
    const bool is_zero = zero[segment[0].first_a() + 2 * i] != 0;
    CHECK(is_zero || segment[0].match(i).row_of_b == expected[i].row_of_b, "row %zu unordered", i);
  }
}

}  // namespace

void TestScreening() {
  const Kernels& kernels = ActiveKernels();
  if (kernels.screen_matches != nullptr) {
    TestScreen(kernels);
    TestRowIntegers(kernels);
  }
  if (kernels.screen_panels != nullptr) {
    for (const InputKind kind : kInputKinds) {
      for (const size_t dims : {1, 4, 7, 65}) {
        TestByteMargin(kernels, kind, dims);
        for (const size_t panels : {1, 2, 9}) {
          for (const int32_t margin : {0, 300, 20'000}) {
            TestScreenPanels(kernels, kind, dims, panels, margin);
          }
        }
      }
      TestByteMargin(kernels, kind, 1024);
    }
  }
  for (const InputKind kind : kInputKinds) {
    TestMatching(kernels, kind, 1111, 40, 0);
    TestMatching(kernels, kind, 902, 3, 5);
  }
}

}  // namespace longvlm
