// Density peak clustering with the density of the k nearest neighbours (DPC-kNN).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/cosine_rows.h"
#include "core/row_products.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "core/word_matrix.h"

namespace longvlm {

// Of each of a set's rows. Distances are |x - y| / sqrt(dims).
struct DensityPeaks {
  std::vector<float> density;   // exp(-mean of the squares of the k smallest distances)
  std::vector<float> distance;  // to the nearest denser row; for the densest the set's largest
  std::vector<float> score;     // density times distance
};

// How distances are rounded, and equal scores ordered.
enum class Rounding {
  kExact,      // equal rows have distance 0; of equal scores the lowest index is higher
  kReference,  // as in core/reference_rounding.h
};

// `rows` must have been multiplied. The row itself is among its k = min(neighbours, rows) nearest.
void FindDensityPeaks(const RowProducts& rows, size_t neighbours, Rounding rounding,
                      const Workers& workers, DensityPeaks& out);

// The same, rounded exactly, of rows of one tensor in ascending order, by 16-bit integers where
// these tell rows apart. False if they tell too few apart: `out` then has no meaning. `matrix` is
// scratch memory.
bool FindDensityPeaksByWords(const CosineRows& rows, size_t neighbours, const Kernels& kernels,
                             const Workers& workers, WordMatrix& matrix, DensityPeaks& out);

// Whether that takes less time: the float32 products that are left are of few rows at a time, and
// bounds take as long whatever the dims.
inline bool SuitsWords(size_t rows, size_t dims) { return rows >= 128 && dims >= 2048; }

// Scratch memory for the peaks of one set of rows after the other.
class PeaksScratch {
 public:
  RowProducts rows;
  CosineRows units;
  WordMatrix words;
  DensityPeaks peaks;

  // by_words(), which is false if words do not tell the set's rows apart; false without a call
  // where words do not suit. Sets that follow one whose rows they do not tell apart are taken to be
  // like it.
  template <typename ByWords>
  bool TryWords(size_t count, size_t dims, ByWords by_words) {
    if (!SuitsWords(count, dims)) return false;
    if (like_the_last_ > 0) {
      --like_the_last_;
      return false;
    }
    if (by_words()) return true;
    like_the_last_ = kLikeTheLast;
    return false;
  }

 private:
  static constexpr size_t kLikeTheLast = 7;
  size_t like_the_last_ = 0;
};

// The `count` rows with the highest scores, the highest first.
void FindCentres(const DensityPeaks& peaks, size_t count, Rounding rounding,
                 std::vector<uint32_t>& out);

// For each row the centre that is nearest to it, as its number among `centres`: of equal ones the
// first. A centre is its own.
void AssignToCentres(const RowProducts& rows, const std::vector<uint32_t>& centres,
                     Rounding rounding, const Workers& workers, std::vector<uint32_t>& out);
// The same after FindDensityPeaksByWords of the same rows and matrix. False as there.
bool AssignToCentresByWords(const CosineRows& rows, const std::vector<uint32_t>& centres,
                            WordMatrix& matrix, std::vector<uint32_t>& out);

struct DensityPeaksArgs {
  static constexpr TensorNames kNames{"tokens", {"batch entry", "token", "channel"}};

  ConstValues tokens;     // [batch, rows, width]
  Shape shape;            // of `tokens`, all axes at least 1
  size_t neighbours;      // at least 1
  size_t clusters;        // at most the rows
  float* out_densities;   // [batch, rows]
  float* out_distances;   // [batch, rows]
  int32_t* out_centres;   // [batch, clusters], the highest score first
  int32_t* out_clusters;  // [batch, rows], each in [0, clusters); not written for no clusters
};

// Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void ClusterByDensity(const DensityPeaksArgs& args, const Workers& workers);

}  // namespace longvlm
