// Max-min selection: rows that are far from each other by cosine distance.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/row_products.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "core/word_matrix.h"

namespace longvlm {

// The distance of row j to row i is (1 - cosine) * weights[j]. The first row is that whose
// second-smallest distance to the rows, itself among them, is largest; each further one that whose
// smallest distance to those picked is largest; of equal ones the lowest index.
// `rows`, of length 1 or 0, must have been multiplied. weights [rows], or null for 1.
// 0 <= count <= rows. Rows in `out` are in the order in which they were picked.
void SelectDiverse(const RowProducts& rows, const float* weights, size_t count,
                   const Workers& workers, std::vector<uint32_t>& out);

// The same without weights, by 16-bit integers where these tell rows apart; of a matrix that has
// been multiplied. False if they tell too few apart: `out` then has no meaning.
bool SelectDiverseByWords(WordMatrix& matrix, size_t count, std::vector<uint32_t>& out);

struct SelectDiverseArgs {
  static constexpr TensorNames kNames{"tokens", {"batch entry", "token", "channel"}};

  ConstValues tokens;    // [batch, rows, width]
  Shape shape;           // of `tokens`, all axes at least 1
  size_t count;          // at least 1, at most the rows
  const float* weights;  // [batch, rows], or null for 1
  int32_t* out_picked;   // [batch, count], in the order in which they were picked
};

// Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void SelectDiverseTokens(const SelectDiverseArgs& args, const Workers& workers);

}  // namespace longvlm
