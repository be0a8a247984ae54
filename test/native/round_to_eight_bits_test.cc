// Rounding to eight bits against a loop that says what it is, in memory of exactly the sizes that
// are named, in parts and on several threads.
#include "core/round_to_eight_bits.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "inputs.h"
#include "tests.h"

namespace longvlm {
namespace {

struct Rounded {
  std::vector<int8_t> values;
  std::vector<float> scales;
  bool operator==(const Rounded&) const = default;
};

Rounded Expected(const std::vector<float>& rows, size_t outputs, size_t inputs) {
  Rounded due{std::vector<int8_t>(rows.size()), std::vector<float>(outputs, 1)};
  for (size_t output = 0; output < outputs; ++output) {
    const float* row = rows.data() + output * inputs;
    float most = 0;
    for (size_t i = 0; i < inputs; ++i) most = std::max(most, std::abs(row[i]));
    if (most > 0) due.scales[output] = static_cast<float>(static_cast<double>(most) / 63);
    for (size_t i = 0; i < inputs; ++i) {
      const double quotient = static_cast<double>(row[i]) / due.scales[output];
      due.values[i * outputs + output] = static_cast<int8_t>(std::floor(quotient + 0.5));
    }
  }
  return due;
}

Rounded Round(ConstValues rows, size_t outputs, size_t inputs, const Workers& workers) {
  Rounded found{std::vector<int8_t>(outputs * inputs, 99), std::vector<float>(outputs, -1)};
  for (size_t first = 0; first < outputs; first += 150) {
    const size_t count = std::min<size_t>(150, outputs - first);
    const ConstValues own = rows.From(first * inputs);
    RoundToEightBits({own, outputs, inputs, first, count, found.values.data(), found.scales.data()},
                     workers);
  }
  return found;
}

void TestShape(size_t outputs, size_t inputs, const Workers& workers) {
  for (const InputKind kind : kInputKinds) {
    std::vector<float> rows = MakeInput(kind, outputs, inputs, 7);
    // Halves, which are between two integers, and numbers from the largest to the smallest.
    for (size_t i = 0; i < rows.size(); i += 3) rows[i] = std::round(rows[i] * 42) * 0.5f;
    for (size_t i = 0; i < rows.size(); ++i)
      rows[i] *= std::ldexp(1.f, 40 * int(i / inputs % 7) - 141);
    CHECK(Round(rows.data(), outputs, inputs, workers) == Expected(rows, outputs, inputs),
          "another rounding of [%zu, %zu] float32", outputs, inputs);
    std::vector<uint16_t> narrow(rows.size());
    for (size_t i = 0; i < rows.size(); ++i)
      narrow[i] = uint16_t(std::bit_cast<uint32_t>(rows[i]) >> 16);
    for (size_t i = 0; i < rows.size(); ++i)
      rows[i] = std::bit_cast<float>(uint32_t{narrow[i]} << 16);
    CHECK(Round({ElementType::kBfloat16, narrow.data()}, outputs, inputs, workers) ==
              Expected(rows, outputs, inputs),
          "another rounding of [%zu, %zu] bfloat16", outputs, inputs);
    for (size_t i = 0; i < rows.size(); ++i) {
      do {
        narrow[i] = static_cast<uint16_t>(i * 40503 + narrow[i]);
      } while ((narrow[i] & 0x7c00) == 0x7c00 && ++narrow[i]);
      rows[i] = HalfToFloat(narrow[i]);
    }
    CHECK(Round(narrow.data(), outputs, inputs, workers) == Expected(rows, outputs, inputs),
          "another rounding of [%zu, %zu] float16", outputs, inputs);
  }
}

}  // namespace

void TestRoundToEightBits() {
  ThreadPool pool(3);
  const Workers workers{&pool, nullptr};
  TestShape(1, 1, workers);
  TestShape(130, 65, workers);
  TestShape(301, 64, workers);
  TestShape(7, 200, workers);
  std::vector<float> rows{1, 2, std::numeric_limits<float>::quiet_NaN(), 3, -INFINITY, 0};
  const Rounded found = Round(rows.data(), 3, 2, workers);
  CHECK(std::isinf(found.scales[1]) && std::isinf(found.scales[2]),
        "NaN and infinity are not told");
  const std::atomic<bool> cancelled = true;
  bool ended = false;
  try {
    Round(rows.data(), 3, 2, Workers{&pool, &cancelled});
  } catch (const Cancelled&) {
    ended = true;
  }
  CHECK(ended, "not cancelled");
}

}  // namespace longvlm
