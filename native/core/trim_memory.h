// Returns freed memory to the system.
#pragma once

#ifdef __linux__
#include <features.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace longvlm {

// The GNU C library otherwise keeps up to half of a tower's memory: what loading needed for a
// moment, and what was freed.
inline void TrimMemory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace longvlm
