// Density peaks as 16-bit integers and then float32 products find them, against float32 products of
// all pairs.
#include "core/density_peaks.h"

#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "check.h"
#include "inputs.h"
#include "kernels/dispatch.h"
#include "tests.h"

namespace longvlm {
namespace {

constexpr Workers kAlone{nullptr, nullptr};

// Row number i is scaled by 2^(i % spread).
void Test(const Kernels& kernels, InputKind kind, size_t count, size_t dims, int spread) {
  std::vector<float> tokens = MakeInput(kind, count, dims, 41);
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = std::ldexp(tokens[i], static_cast<int>(i / dims) % spread);
  }
  const RowReader reader{tokens.data(), dims, kernels};
  RowProducts products;
  products.Start(count, dims, kernels);
  reader.Read(0, count, products.row(0));
  products.Multiply(kAlone);
  std::vector<uint32_t> all(count);
  std::iota(all.begin(), all.end(), 0u);
  CosineRows rows;
  rows.Set(reader, dims, all, kernels.width_a, kernels, kAlone);
  WordMatrix matrix;
  for (const size_t neighbours : {1, 4, 7}) {
    DensityPeaks expected, found;
    FindDensityPeaks(products, neighbours, Rounding::kExact, kAlone, expected);
    const bool decided = FindDensityPeaksByWords(rows, neighbours, kernels, kAlone, matrix, found);
    CHECK(decided || kind != InputKind::kRandom || spread > 20 || count < 20 || !rows.has_words(),
          "%zu rows of %zu are not told apart", count, dims);
    if (!decided) continue;
    CHECK(found.density == expected.density && found.distance == expected.distance &&
              found.score == expected.score,
          "%zu rows of %zu, %zu neighbours", count, dims, neighbours);
    for (const size_t clusters : {size_t{1}, (count + 2) / 3, count}) {
      std::vector<uint32_t> centres, nearest, by_words;
      FindCentres(expected, clusters, Rounding::kExact, centres);
      AssignToCentres(products, centres, Rounding::kExact, kAlone, nearest);
      CHECK(!AssignToCentresByWords(rows, centres, matrix, by_words) || by_words == nearest,
            "%zu clusters of %zu rows of %zu", clusters, count, dims);
    }
  }
}

}  // namespace

void TestDensityPeaks() {
  const Kernels& kernels = ActiveKernels();
  for (const InputKind kind : kInputKinds) {
    for (const int spread : {1, 4, 70}) {
      for (const size_t count : {1, 2, 7, 60}) {
        for (const size_t dims : {1, 33, 150}) Test(kernels, kind, count, dims, spread);
      }
    }
  }
}

}  // namespace longvlm
