// A test in C++: CHECK says where and what failed, and the program ends with 1, at once: at a usual
// exit, threads are waited for, and one of them may be what failed.
#pragma once

#include <cstdio>
#include <cstdlib>

#define CHECK(condition, ...)                                                     \
  do {                                                                            \
    if (!(condition)) {                                                           \
      std::fprintf(stderr, "%s:%d: %s failed. ", __FILE__, __LINE__, #condition); \
      std::fprintf(stderr, __VA_ARGS__);                                          \
      std::fprintf(stderr, "\n");                                                 \
      std::_Exit(1);                                                              \
    }                                                                             \
  } while (false)
