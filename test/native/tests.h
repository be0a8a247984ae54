// The parts of the test; each ends the program when something is wrong.
#pragma once

#include <string>

namespace longvlm {

// The kernels of the instruction set in use.
void TestKernels();

// Screening by integers, and matching that rests on it.
void TestScreening();

// The most similar rows of one set for those of another.
void TestBestCosines();

// Those of a frame's tokens for those of the next frame.
void TestMatchOverTime();

// Density peaks, and the clusters at them.
void TestDensityPeaks();

// The operations with the instruction set in use, against the portable kernels.
void TestOperations(const std::string& instruction_set);

// The reducers of a video's tokens and their kernels with the instruction set in use.
void TestReducers(const std::string& instruction_set);

// Operations that overlap on one pool of threads, are cancelled, or fail.
void TestThreads();

// Rounding matrices to eight bits.
void TestRoundToEightBits();
// Tasks on the threads of a pool.
void TestPool();

// The queues and the memory of a GPU, over one that is made up.
void TestCudaDevice();

// Sessions of ONNX Runtime, over a library that is made up: what they call, and what they release.
void TestOrtSession();

// The same where they share a GPU's stream: the order of everything on it, and one wait for all.
void TestOrtDevice();

// Their threads: jobs in order, cancellation, release and shutdown.
void TestOrtRunner();

// The reference's results: the safetensors files in `folder`.
void TestGolden(const std::string& folder);

// Whether merging allocates memory once it has run.
void TestAllocations();

}  // namespace longvlm
