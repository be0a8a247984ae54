// Tests of the kernels, of the operations over them and of sessions, without Node: for sanitizers,
// and for processors that Node is not at hand for.
//
//   native_test FOLDER [--threads]      FOLDER: test/fixtures/merge; --threads: only what runs on
//                                       several threads, for sanitizers of threads
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "core/instruction_set.h"
#include "tests.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: native_test FOLDER [--threads]\n");
    return 2;
  }
  const bool only_threads = argc > 2 && std::strcmp(argv[2], "--threads") == 0;
  try {
    longvlm::TestRoundToEightBits();
    longvlm::TestPool();
    longvlm::TestCudaDevice();
    longvlm::TestOrtSession();
    longvlm::TestOrtDevice();
    longvlm::TestOrtRunner();
    for (const std::string& name : longvlm::KnownInstructionSets()) {
      longvlm::LimitInstructionSet(name);
      longvlm::TestThreads();
      if (!only_threads) {
        longvlm::TestKernels();
        longvlm::TestScreening();
        longvlm::TestBestCosines();
        longvlm::TestMatchOverTime();
        longvlm::TestDensityPeaks();
        longvlm::TestOperations(name);
        longvlm::TestReducers(name);
        longvlm::TestAllocations();
      }
      longvlm::TestGolden(argv[1]);
      std::printf("%s: passed\n", name.c_str());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
