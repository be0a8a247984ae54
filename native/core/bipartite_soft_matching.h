// A single step of token merging over any metric (ToMe's bipartite soft matching).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct BipartiteSoftMatchingArgs {
  static constexpr TensorNames kNames{"metric", {"batch entry", "token", "dimension"}};

  ConstValues metric;       // [batch, tokens, dims]
  Shape shape;              // of `metric`, all axes at least 1
  size_t protected_tokens;  // at most the tokens: this many leading tokens are not merged
  size_t r;                 // tokens to merge away, at most half of the others
  // Token numbers. A are the even tokens, B the odd ones, without the protected.
  int32_t* out_unmerged;     // [batch, |A| - r], of A, most similar to B first
  int32_t* out_source;       // [batch, r], of A, most similar to B first
  int32_t* out_destination;  // [batch, r], of B, where each source goes
  int32_t* out_assignment;  // [batch, tokens], each token's row after the merge: the protected, the
                            // unmerged of A, then B
};

// The number of tokens in A.
size_t CountA(size_t tokens, size_t protected_tokens);

// With r = 0 no token moves: `unmerged` is A in original order, and each token is assigned its own
// number. Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void BipartiteSoftMatching(const BipartiteSoftMatchingArgs& args, const Workers& workers);

}  // namespace longvlm
