// The exponential function in plain arithmetic: the C library's differs from machine to machine.
#pragma once

#include <cmath>
#include <cstddef>

namespace longvlm {

// values[i] = exp(values[i]) within 2 ULP; 0 below -745, infinity above 709. Of several at once the
// divisions, each of which waits for the one before, overlap.
template <size_t kCount>
void Exponentials(double (&values)[kCount]) {
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  // ln 2 in two parts, so that power * kLn2High is exact.
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  double power[kCount], rest[kCount], sum[kCount];
  for (size_t i = 0; i < kCount; ++i) {
    const double x = values[i] > -745 && values[i] <= 709 ? values[i] : 0;
    power[i] = std::floor(x * kLog2E + 0.5);
    rest[i] = (x - power[i] * kLn2High) - power[i] * kLn2Low;  // within ln 2 / 2
    sum[i] = 1;
  }
  // The Taylor series up to rest^14 / 14!, which is below 2^-57.
  for (int n = 14; n > 0; --n) {
    for (size_t i = 0; i < kCount; ++i) sum[i] = 1 + sum[i] * rest[i] / n;
  }
  for (size_t i = 0; i < kCount; ++i) {
    if (!(values[i] > -745)) {
      values[i] = 0;
    } else if (values[i] > 709) {
      values[i] = HUGE_VAL;
    } else {
      values[i] = std::ldexp(sum[i], static_cast<int>(power[i]));
    }
  }
}

inline double Exponential(double x) {
  double value[] = {x};
  Exponentials(value);
  return value[0];
}

}  // namespace longvlm
