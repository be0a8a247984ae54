// What cuda_test says and counts.
#pragma once

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "device.h"

namespace checks {

// One line of the output: how many cases passed, and the greatest error seen.
class Group {
 public:
  explicit Group(std::string name) : name_(std::move(name)) {}
  ~Group() {
    std::printf("%s %-44s %4d cases  max error %.1e\n", failed_ == 0 ? "ok  " : "FAIL",
                name_.c_str(), cases_, max_error_);
    std::fflush(stdout);
    total_cases += cases_;
    total_failed += failed_;
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  void Begin(std::string of) {
    ++cases_;
    case_ = std::move(of);
    case_failed_ = false;
  }

  bool Expect(bool condition, const char* format, ...) __attribute__((format(printf, 3, 4))) {
    if (condition || case_failed_) return condition;
    case_failed_ = true;
    ++failed_;
    constexpr int kMostShown = 5;
    if (failed_ > kMostShown) return false;
    std::printf("  %s, %s: ", name_.c_str(), case_.c_str());
    va_list arguments;
    va_start(arguments, format);
    std::vprintf(format, arguments);
    va_end(arguments);
    std::printf("\n");
    return false;
  }

  template <typename T>
  bool Same(const char* what, std::span<const T> got, std::span<const T> expected) {
    if (!Expect(got.size() == expected.size(), "%s: %zu values, not %zu", what, got.size(),
                expected.size())) {
      return false;
    }
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i] != expected[i]) {
        return Expect(false, "%s[%zu] is %g, not %g", what, i, static_cast<double>(got[i]),
                      static_cast<double>(expected[i]));
      }
    }
    return true;
  }

  // `expected` in float64. float32 within `relative` of the largest; the 16-bit types at most one
  // representable value away from the expected one.
  bool Close(const char* what, lv_type type, std::span<const float> got,
             std::span<const double> expected, double relative = 1e-6) {
    if (!Expect(got.size() == expected.size(), "%s: %zu values, not %zu", what, got.size(),
                expected.size())) {
      return false;
    }
    double largest = 1e-30;
    for (const double value : expected) largest = std::max(largest, std::fabs(value));
    for (size_t i = 0; i < got.size(); ++i) {
      const double value = static_cast<double>(got[i]);
      const double error = std::fabs(value - expected[i]) / largest;
      double allowed = relative;
      if (type != LV_FLOAT32) {
        const double unit = type == LV_FLOAT16 ? 0x1p-11 : 0x1p-8;
        allowed = std::max(std::fabs(expected[i]) * unit * 1.001, 0x1p-24) / largest;
      }
      if (!(error <= allowed)) {
        return Expect(false, "%s[%zu] is %.9g, not %.9g", what, i, value, expected[i]);
      }
      max_error_ = std::max(max_error_, error);
    }
    return true;
  }

  static inline int total_cases = 0;
  static inline int total_failed = 0;

 private:
  std::string name_;
  std::string case_;
  int cases_ = 0;
  int failed_ = 0;
  bool case_failed_ = false;
  double max_error_ = 0;
};

}  // namespace checks
