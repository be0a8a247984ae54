#include "core/density_peaks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "core/exponential.h"
#include "core/highest.h"
#include "core/lanes.h"
#include "core/read_rows.h"
#include "core/reference_rounding.h"
#include "core/row_distances.h"

namespace longvlm {
namespace {

// The distances of rows, from products.
class Distances {
 public:
  Distances(const RowProducts& rows, Rounding rounding)
      : rows_(rows),
        rounding_(rounding),
        root_(std::sqrt(static_cast<float>(rows.dims()))),
        dims_(static_cast<double>(rows.dims())) {
    if (rounding != Rounding::kReference || rows.rows() <= kReferenceDirectRows) return;
    for (size_t i = 0; i < rows.rows(); ++i) {
      reference_squares_.push_back(ReferenceSquare(rows.row(i), rows.dims()));
    }
  }

  // The square of a distance, before what Length does: a higher one never has a lower length.
  // Exactly 0 to an equal row, whose product is that of the row with itself, unless rounded as the
  // reference.
  double Square(size_t row, size_t other, float product) const {
    if (!reference_squares_.empty()) {
      return static_cast<double>(
          ReferenceSquaredDistance(product, reference_squares_[row], reference_squares_[other]));
    }
    return SquareOf(rows_.square(row), rows_.square(other), product);
  }

  float Length(double square) const {
    if (!reference_squares_.empty()) return std::sqrt(static_cast<float>(square)) / root_;
    return DistanceOf(square, dims_);
  }

  // exp(-mean of squares) of the nearest distances, ascending.
  float Density(std::span<const float> nearest) const {
    if (rounding_ == Rounding::kReference) {
      return static_cast<float>(Exponential(-static_cast<double>(ReferenceMeanOfSquares(nearest))));
    }
    return DensityOf(nearest);
  }

 private:
  const RowProducts& rows_;
  const Rounding rounding_;
  const float root_;
  const double dims_;
  std::vector<float> reference_squares_;
};

// Calls visit(row, products) for every row, where products(j) is its product with row j.
template <typename Visit>
void ForRows(const RowProducts& rows, const Workers& workers, Visit visit) {
  workers.For(rows.bands(), [&](size_t band) {
    std::vector<float> scratch;
    const float* products = rows.Band(band, scratch);
    const size_t first = band * rows.width();
    const size_t last = std::min(first + rows.width(), rows.rows());
    for (size_t row = first; row < last; ++row) {
      const float* column = products + (row - first);
      visit(row, [column, width = rows.width()](size_t j) { return column[j * width]; });
    }
  });
}

}  // namespace

void FindDensityPeaks(const RowProducts& rows, size_t neighbours, Rounding rounding,
                      const Workers& workers, DensityPeaks& out) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const size_t count = rows.rows();
  out.density.resize(count);
  out.distance.resize(count);
  out.score.resize(count);
  if (count == 0) return;
  const Distances distances(rows, rounding);
  std::vector<double> farthest(count);
  ForRows(rows, workers, [&](size_t row, auto product) {
    std::vector<double> squares(std::min(neighbours, count), kInfinity);
    double most = 0;
    for (size_t j = 0; j < count; ++j) {
      const double square = distances.Square(row, j, product(j));
      AddToSmallest(square, squares);
      most = std::max(most, square);
    }
    std::vector<float> nearest(squares.size());
    std::ranges::transform(squares, nearest.begin(),
                           [&](double square) { return distances.Length(square); });
    out.density[row] = distances.Density(nearest);
    farthest[row] = most;
  });
  const double largest = *std::ranges::max_element(farthest);
  ForRows(rows, workers, [&](size_t row, auto product) {
    double nearest = largest;
    for (size_t j = 0; j < count; ++j) {
      if (out.density[j] > out.density[row]) {
        nearest = std::min(nearest, distances.Square(row, j, product(j)));
      }
    }
    out.distance[row] = distances.Length(nearest);
    out.score[row] = out.distance[row] * out.density[row];
  });
}

void FindCentres(const DensityPeaks& peaks, size_t count, Rounding rounding,
                 std::vector<uint32_t>& out) {
  std::vector<uint64_t> keys;
  if (rounding == Rounding::kReference) {
    ReferenceHighest(peaks.score, count, out);
  } else {
    FindHighest(peaks.score, count, keys, out);
  }
}

void AssignToCentres(const RowProducts& rows, const std::vector<uint32_t>& centres,
                     Rounding rounding, const Workers& workers, std::vector<uint32_t>& out) {
  const size_t count = rows.rows();
  out.assign(count, 0);
  struct Nearest {
    double square = std::numeric_limits<double>::infinity();
    float distance = std::numeric_limits<float>::infinity();
  };
  std::vector<Nearest> nearest(count);
  std::vector<float> products(count);
  const Distances distances(rows, rounding);
  for (size_t i = 0; i < centres.size(); ++i) {
    rows.Row(centres[i], products.data(), workers);
    for (size_t row = 0; row < count; ++row) {
      const double square = distances.Square(row, centres[i], products[row]);
      if (!(square < nearest[row].square)) continue;
      const float distance = distances.Length(square);
      if (!(distance < nearest[row].distance)) continue;
      nearest[row] = {square, distance};
      out[row] = static_cast<uint32_t>(i);
    }
  }
  for (size_t i = 0; i < centres.size(); ++i) out[centres[i]] = static_cast<uint32_t>(i);
}

void ClusterByDensity(const DensityPeaksArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  struct Lane {
    RowProducts rows;
    DensityPeaks peaks;
    std::vector<uint32_t> centres, clusters;
  };
  std::vector<Lane> lanes;
  LocateNotFinite(args.tokens, shape, DensityPeaksArgs::kNames, [&] {
    ForItems(
        shape.batch, workers, lanes,
        [&](size_t entry, Lane& lane, const Workers& own) {
          const RowReader tokens{args.tokens, shape.width, kernels};
          lane.rows.Start(shape.rows, shape.width, kernels);
          tokens.Read(entry * shape.rows, shape.rows, lane.rows.row(0), own);
          lane.rows.Multiply(own);
          FindDensityPeaks(lane.rows, args.neighbours, Rounding::kExact, own, lane.peaks);
          std::ranges::copy(lane.peaks.density, args.out_densities + entry * shape.rows);
          std::ranges::copy(lane.peaks.distance, args.out_distances + entry * shape.rows);
          if (args.clusters == 0) return;
          FindCentres(lane.peaks, args.clusters, Rounding::kExact, lane.centres);
          std::ranges::copy(lane.centres, args.out_centres + entry * args.clusters);
          AssignToCentres(lane.rows, lane.centres, Rounding::kExact, own, lane.clusters);
          std::ranges::copy(lane.clusters, args.out_clusters + entry * shape.rows);
        },
        ProductsOfAll(shape.rows, shape.width));
  });
}

}  // namespace longvlm
