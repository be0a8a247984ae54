// The exponential function in plain arithmetic, as the CPU has it.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

// exp(x) within 2 ULP; 0 below -745. Range: x <= 0.   Error: none against the CPU's Exponential.
__device__ inline double Exponential(double x) {
  if (!(x > -745)) return 0;
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const double power = floor(__dadd_rn(__dmul_rn(x, kLog2E), 0.5));
  const double rest =
      __dadd_rn(__dadd_rn(x, -__dmul_rn(power, kLn2High)), -__dmul_rn(power, kLn2Low));
  double sum = 1;
  for (int n = 14; n > 0; --n) {
    sum = __dadd_rn(1.0, __ddiv_rn(__dmul_rn(sum, rest), static_cast<double>(n)));
  }
  return ldexp(sum, static_cast<int>(power));
}

}  // namespace longvlm::cuda
