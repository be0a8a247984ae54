// Memory that is borrowed, and operations that are put on a stream and waited for later.
#include "core/cuda_device.h"

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "fake_gpu.h"
#include "tests.h"

namespace longvlm {
namespace {

// A GPU, and a stream of the caller's on it.
struct Setup {
  FakeGpu gpu;
  std::shared_ptr<CudaDevice> device = std::make_shared<CudaDevice>(gpu.cuda(), 0);
  lv_stream stream = NewStream();

  ~Setup() { gpu.cuda().stream_destroy(0, stream); }

  lv_stream NewStream() {
    lv_stream created = nullptr;
    gpu.cuda().stream_create(0, &created);
    return created;
  }

  // An operation that calls work(workspace) when the stream gets there, and then reports
  // `not_finite`.
  CudaOperation Operation(std::function<void(void*)> work, size_t workspace_bytes = 1,
                          uint64_t not_finite = LV_NOTHING_FOUND,
                          std::vector<std::shared_ptr<DeviceMemory>> kept = {}) {
    const auto call = [=, this](const CudaFunctions&, const CudaCall& at) -> lv_status {
      if (at.workspace == nullptr) {
        *at.workspace_bytes = workspace_bytes;
        return LV_OK;
      }
      CHECK(*at.workspace_bytes >= workspace_bytes, "a workspace of %zu bytes",
            *at.workspace_bytes);
      gpu.Put(at.stream, [=, workspace = at.workspace, report = at.report] {
        work(workspace);
        *report = {not_finite, LV_NOTHING_FOUND};
      });
      return LV_OK;
    };
    return {.call = call,
            .shape = {2, 3, 4},
            .names = {"tokens", {"segment", "token", "channel"}},
            .kept = std::move(kept)};
  }
};

// The message of what `work` throws; empty when it throws nothing.
template <typename Work>
std::string ErrorOf(Work work) {
  try {
    work();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

bool Contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

void TestMemory() {
  Setup setup;
  const FakeGpu& gpu = setup.gpu;
  const void* owned = nullptr;
  {
    const DeviceMemory memory(setup.device, 64);
    owned = memory.data();
    CHECK(gpu.allocated(owned), "not there");
  }
  CHECK(!gpu.allocated(owned), "memory of its own was not freed");

  auto lender = std::make_shared<DeviceMemory>(setup.device, 64);
  void* const address = lender->data();
  {
    const DeviceMemory borrowed(setup.device, address, 32, nullptr);
    CHECK(borrowed.data() == address && borrowed.bytes() == 32, "it is somewhere else");
  }
  CHECK(gpu.allocated(address), "borrowed memory was freed");
  {
    const DeviceMemory borrowed(setup.device, address, 64, lender);
    lender.reset();
    CHECK(gpu.allocated(address), "the owner was let go of");
  }
  CHECK(!gpu.allocated(address), "the owner is still held");
}

void TestOrder() {
  Setup setup;
  FakeGpu& gpu = setup.gpu;
  std::vector<int> order;
  auto memory = std::make_shared<DeviceMemory>(setup.device, sizeof(int));
  int* const value = static_cast<int*>(memory->data());
  const auto write = [&order, value](void*) {
    *value = 7;
    order.push_back(1);
  };
  const auto read = [&order, value](void*) { order.push_back(*value); };
  setup.device->Enqueue(setup.Operation(write, 1, LV_NOTHING_FOUND, {memory}), setup.stream);
  setup.device->Enqueue(setup.Operation(read, 1, LV_NOTHING_FOUND, {memory}), setup.stream);
  memory.reset();
  CHECK(order.empty() && gpu.waiting() > 0, "Enqueue waited");
  CHECK(gpu.allocated(value), "memory was freed before the work on it was done");
  setup.device->Finish(setup.stream);
  CHECK((order == std::vector<int>{1, 7}), "%zu operations ran, in another order", order.size());
  CHECK(gpu.waiting() == 0, "Finish did not wait");
  CHECK(!gpu.allocated(value), "memory is kept after the work");
  setup.device->Finish(setup.stream);
  CHECK(order.size() == 2, "something ran again");
}

// Copies up are on their way while the caller goes on with its memory.
void TestUploads() {
  Setup setup;
  FakeGpu& gpu = setup.gpu;
  constexpr size_t kPiece = size_t{4} << 20;
  // Pieces that share memory, one of several, and more than is ever on its way at once.
  const std::vector<size_t> sizes{100, kPiece - 50, kPiece + 7, 3 * kPiece, 1};
  std::vector<std::shared_ptr<DeviceMemory>> memory;
  size_t waits = 0;
  gpu.Watch([&](const std::string& event) {
    waits += event.starts_with("wait") ? 1 : 0;
    return LV_OK;
  });
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      std::vector<unsigned char> host(sizes[i]);
      for (size_t at = 0; at < host.size(); ++at) {
        host[at] = static_cast<unsigned char>((at * 31 + i) % 251);
      }
      memory.push_back(std::make_shared<DeviceMemory>(setup.device, host.size()));
      setup.device->EnqueueUpload(memory.back()->data(), host.data(), host.size(), setup.stream);
      if (i < 2) CHECK(waits == 0 && gpu.waiting() > i, "a small copy waits");
      std::memset(host.data(), 0, host.size());
    }
    setup.device->Finish(setup.stream);
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto* found = static_cast<const unsigned char*>(memory[i]->data());
      for (size_t at = 0; at < sizes[i]; ++at) {
        CHECK(found[at] == (at * 31 + i) % 251, "copy %zu is wrong at %zu", i, at);
      }
    }
    memory.clear();
    CHECK(waits == 2, "%zu waits", waits);
    waits = 0;
  }
}

void TestWorkspaces() {
  Setup setup;
  FakeGpu& gpu = setup.gpu;
  std::vector<void*> seen;
  const auto fill = [&](size_t bytes) {
    return setup.Operation(
        [&gpu, &seen, bytes](void* workspace) {
          CHECK(gpu.allocated(workspace), "a workspace was freed before its operation ran");
          std::memset(workspace, 1, bytes);  // which AddressSanitizer watches
          seen.push_back(workspace);
        },
        bytes);
  };
  // The second needs more while the first has yet to run in the smaller one.
  for (const size_t bytes : {1000, 5000, 2000}) setup.device->Enqueue(fill(bytes), setup.stream);
  setup.device->Finish(setup.stream);
  CHECK(seen.size() == 3 && seen[1] == seen[2], "a workspace that is large enough is used again");
  CHECK(gpu.allocated(seen[1]), "the largest workspace is kept for later");

  const size_t before = gpu.allocated_ever();
  setup.device->Enqueue(fill(5000), setup.stream);
  setup.device->Finish(setup.stream);
  CHECK(gpu.allocated_ever() == before, "later calls allocate");

  // Streams run beside each other.
  const lv_stream other = setup.NewStream();
  seen.clear();
  setup.device->Enqueue(fill(100), setup.stream);
  setup.device->Enqueue(fill(100), other);
  setup.device->Finish(other);
  CHECK(gpu.waiting() > 0, "Finish waited for another stream");
  setup.device->Finish(setup.stream);
  CHECK(seen.size() == 2 && seen[0] != seen[1], "two streams share a workspace");
  gpu.cuda().stream_destroy(0, other);
}

void TestErrors() {
  Setup setup;
  const auto nothing = [](void*) {};
  // The report of each operation is its own, however many there are.
  constexpr int kOperations = 150, kWrong = 100;
  for (int i = 0; i < kOperations; ++i) {
    const uint64_t found = i == kWrong ? 12 + 4 + 2 : i > kWrong ? 0 : LV_NOTHING_FOUND;
    setup.device->Enqueue(setup.Operation(nothing, 1, found), setup.stream);
  }
  const auto finish = [&] { setup.device->Finish(setup.stream); };
  const std::string wrong = ErrorOf(finish);
  CHECK(Contains(wrong, "tokens holds NaN or infinity at segment 1, token 1, channel 2"), "'%s'",
        wrong.c_str());
  CHECK(ErrorOf(finish).empty(), "the error comes again");

  auto memory = std::make_shared<DeviceMemory>(setup.device, 64);
  const void* const address = memory->data();
  setup.device->Enqueue(setup.Operation(nothing, 1, LV_NOTHING_FOUND, {memory}), setup.stream);
  memory.reset();
  setup.gpu.FailAtSynchronize(LV_ERROR_CUDA);
  const std::string failed = ErrorOf(finish);
  CHECK(Contains(failed, "The GPU failed: the fake failed"), "'%s'", failed.c_str());
  CHECK(!setup.gpu.allocated(address), "what failed keeps its memory");
  setup.gpu.FailAtSynchronize(LV_OK);
  CHECK(ErrorOf(finish).empty(), "the error comes again");

  // What cannot be started is an error at once, and what was put before it still runs.
  bool ran = false;
  setup.device->Enqueue(setup.Operation([&ran](void*) { ran = true; }), setup.stream);
  CudaOperation impossible = setup.Operation(nothing);
  impossible.call = [](const CudaFunctions&, const CudaCall&) -> lv_status {
    return LV_ERROR_OUT_OF_MEMORY;
  };
  const std::string full = ErrorOf([&] { setup.device->Enqueue(impossible, setup.stream); });
  CHECK(Contains(full, "The GPU has not enough memory"), "'%s'", full.c_str());
  CHECK(!ran && ErrorOf(finish).empty() && ran, "after an operation that could not be started");

  CHECK(ErrorOf([&] { setup.device->Run(impossible); }) == full, "Run says something else");
  CHECK(Contains(ErrorOf([&] { setup.device->Run(setup.Operation(nothing, 1, 5)); }),
                 "segment 0, token 1, channel 1"),
        "Run does not tell what it found");
  CHECK(ErrorOf([&] { setup.device->Run(setup.Operation(nothing)); }).empty(),
        "an earlier error comes again");
}

// Calls of several threads get each its own result.
void TestThreadsOnOneDevice() {
  Setup setup;
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      const lv_stream own = setup.NewStream();
      for (int round = 0; round < 50; ++round) {
        bool ran = false;
        const bool fails = (round + caller) % 3 == 0;
        CudaOperation operation =
            setup.Operation([&ran](void*) { ran = true; }, 64, fails ? 0 : LV_NOTHING_FOUND);
        const std::string error = ErrorOf([&] {
          if (caller % 2 == 0) return setup.device->Run(std::move(operation));
          setup.device->Enqueue(std::move(operation), own);
          setup.device->Finish(own);
        });
        if (!ran || error.empty() == fails) ++wrong;
      }
      setup.gpu.cuda().stream_destroy(0, own);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0, "%d results are another call's", wrong.load());
}

}  // namespace

void TestCudaDevice() {
  TestMemory();
  TestOrder();
  TestUploads();
  TestWorkspaces();
  TestErrors();
  TestThreadsOnOneDevice();
}

}  // namespace longvlm
