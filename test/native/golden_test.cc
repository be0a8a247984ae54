// What the reference computed: the same assignment and sizes exactly, tokens within 1e-5 relative,
// since the reference rounds to float32 at every level.
#include "golden.h"

#include <algorithm>
#include <cmath>

#include "check.h"
#include "core/merge_tokens.h"
#include "tests.h"

namespace longvlm {

void TestGolden(const std::string& folder) {
  ThreadPool pool(2);
  for (const Golden& golden : ReadGolden(folder)) {
    std::vector<float> tokens(golden.merged.size()), sizes(golden.sizes.size());
    std::vector<int32_t> assignment(golden.assignment.size());
    CHECK(KeptTokens(golden.tokens, 0, golden.schedule) == golden.kept, "%s", golden.name.c_str());
    MergeTokens({.tokens = golden.input.data(),
                 .shape = {golden.segments, golden.tokens, golden.channels},
                 .heads = golden.heads,
                 .schedule = golden.schedule,
                 .out = tokens.data(),
                 .out_sizes = sizes.data(),
                 .out_assignment = assignment.data()},
                {&pool, nullptr});
    CHECK(assignment == golden.assignment, "%s", golden.name.c_str());
    CHECK(sizes == golden.sizes, "%s", golden.name.c_str());
    float largest = 0, difference = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      largest = std::max(largest, std::abs(golden.merged[i]));
      difference = std::max(difference, std::abs(tokens[i] - golden.merged[i]));
    }
    CHECK(difference <= 1e-5f * largest, "%s: %g of %g", golden.name.c_str(),
          static_cast<double>(difference), static_cast<double>(largest));
  }
}

}  // namespace longvlm
