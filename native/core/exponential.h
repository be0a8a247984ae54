// The exponential function in plain arithmetic: the C library's differs from machine to machine.
#pragma once

#include <cmath>

namespace longvlm {

// exp(x) within 2 ULP; 0 below -745, infinity above 709.
inline double Exponential(double x) {
  if (!(x > -745)) return 0;
  if (x > 709) return HUGE_VAL;
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  // ln 2 in two parts, so that power * kLn2High is exact.
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const double power = std::floor(x * kLog2E + 0.5);
  const double rest = (x - power * kLn2High) - power * kLn2Low;  // within ln 2 / 2
  // The Taylor series up to rest^14 / 14!, which is below 2^-57.
  double sum = 1;
  for (int n = 14; n > 0; --n) sum = 1 + sum * rest / n;
  return std::ldexp(sum, static_cast<int>(power));
}

}  // namespace longvlm
