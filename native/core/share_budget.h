// Tokens for each frame out of a budget for the whole video.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace longvlm {

// Who gets what is left when each frame has got the whole part of its share.
enum class Leftover {
  kRemainder,  // one for each frame, those with the largest fractions first
  kReference,  // all for the frame with the largest fraction until it is full, then for the next;
               // shares in float32, as V-CAST's authors compute them
};

// Each frame gets `least` tokens, its share of the others by weight, and of what is left; `most` at
// most. Of equal fractions the first frame's is larger. The counts add up to `total`, which is at
// least frames * least and at most frames * most. weights [frames], at least 0.
std::vector<uint32_t> ShareBudget(std::span<const double> weights, size_t total, size_t least,
                                  size_t most, Leftover leftover);

}  // namespace longvlm
