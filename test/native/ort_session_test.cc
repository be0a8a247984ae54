// What a session asks of ONNX Runtime, in which order, and what is left after failures and
// cancellations at each call.
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "ort/session.h"
#include "ort_calls.h"
#include "ort_stub.h"
#include "tests.h"

namespace longvlm {
namespace {

struct Setup {
  OrtStub stub;
  const ort::Library library{stub.exports(), "stub"};
  ort::Cancellation cancellation;

  ort::Session Load(const std::string& provider, int gpu = 0, ort::Settings settings = {}) {
    const std::string model = "model";
    return ort::Session(library, std::as_bytes(std::span(model)),
                        {provider, gpu, std::move(settings), {{"key", "value"}}, 3}, cancellation);
  }
};

// Five rows in micro-batches of two.
struct Tensors {
  std::vector<uint8_t> frames = std::vector<uint8_t>(5 * 3);
  std::vector<float> scale = std::vector<float>(5);
  std::vector<uint16_t> patches = std::vector<uint16_t>(5 * 2 * 2);

  ort::RunCall Call() {
    return {{{"frames", ort::kUint8, {5, 3}, frames.data(), 3, {}, {}},
             {"scale", ort::kFloat, {5}, scale.data(), 4, {}, {}}},
            {{"patches", ort::kFloat16, {5, 2, 2}, patches.data(), 8, {}, {}}},
            5,
            2};
  }
};

std::string At(const std::string& text, const void* base, size_t offset) {
  return text + " bytes at " + std::to_string(reinterpret_cast<uintptr_t>(base) + offset);
}

void TestOpening() {
  OrtStub stub;
#if !defined(_WIN32)
  unsetenv("ORT_DISABLE_TELEMETRY");
#endif
  const ort::Library library(stub.exports(), "stub");
  CHECK(library.version() == "1.99.0", "version %s", library.version().c_str());
  CheckCalls(stub, {"CreateEnv longvlm 4, ORT_DISABLE_TELEMETRY=1", "DisableTelemetryEvents"});
  CHECK((library.Providers() == Calls{"CPUExecutionProvider", "CUDAExecutionProvider"}),
        "other providers");

  for (size_t call = 0; call < 2; ++call) {
    stub.FailAfter(call);
    const std::string opened = OutcomeOf([&] { ort::Library(stub.exports(), "stub"); });
    CHECK(opened == "ERR_LONGVLM_INFERENCE: the stub failed", "'%s'", opened.c_str());
    stub.FailAfter(call);
    const std::string listed = OutcomeOf([&] { library.Providers(); });
    CHECK(listed == opened, "'%s'", listed.c_str());
    CHECK(stub.live().empty(), "%s", stub.live().c_str());
  }
  const auto nothing = [](const char*) -> void* { return nullptr; };
  const std::string other = OutcomeOf([&] { ort::Library(nothing, "other.so"); });
  CHECK(other == "ERR_LONGVLM_UNSUPPORTED: other.so is not ONNX Runtime's library", "'%s'",
        other.c_str());
  const auto old = [](const char*) -> void* {
    static const ort::ApiBase base{[](uint32_t) -> const void* const* { return nullptr; },
                                   [] { return "1.17.0"; }};
    const ort::ApiBase* (*get)() = [] { return &base; };
    return reinterpret_cast<void*>(get);
  };
  const std::string too_old = OutcomeOf([&] { ort::Library(old, "old.so"); });
  CHECK(too_old ==
            "ERR_LONGVLM_UNSUPPORTED: ONNX Runtime 1.17.0 in old.so is too old: 1.22 or newer is "
            "needed",
        "'%s'", too_old.c_str());
}

// What is called to load a graph with a provider, which `memory` and `appended` are for.
Calls CallsOfLoad(const Calls& memory, const Calls& appended) {
  Calls calls{"CreateMemoryInfo Cpu:0"};
  const auto add = [&](const Calls& more) { calls.insert(calls.end(), more.begin(), more.end()); };
  add(memory);
  add({"CreateSessionOptions", "SetIntraOpNumThreads 3", "SetSessionLogSeverityLevel 4",
       "AddSessionConfigEntry key=value"});
  add(appended);
  add({"CreateSessionFromArray model", "SessionGetInputCount", "GetAllocatorWithDefaultOptions",
       "SessionGetInputName 0", "AllocatorFree", "SessionGetInputName 1", "AllocatorFree",
       "SessionGetOutputCount", "GetAllocatorWithDefaultOptions", "SessionGetOutputName 0",
       "AllocatorFree"});
  return calls;
}

void TestLoad() {
  const struct {
    const char* provider;
    Calls memory;
    Calls appended;
  } cases[] = {
      {"cpu", {}, {}},
      {"cuda",
       {"CreateMemoryInfo Cuda:1"},
       {"CreateCUDAProviderOptions", "UpdateCUDAProviderOptions gpu_mem_limit=9 device_id=1",
        "SessionOptionsAppendExecutionProvider_CUDA_V2"}},
      {"dml",
       {},
       {"DisableMemPattern", "SetSessionExecutionMode 0",
        "OrtSessionOptionsAppendExecutionProvider_DML 0"}},
      {"WebGPU", {}, {"SessionOptionsAppendExecutionProvider WebGPU gpu_mem_limit=9"}},
  };
  for (const auto& each : cases) {
    Setup setup;
    setup.stub.ForgetCalls();
    {
      const ort::Session session = setup.Load(each.provider, 1, {{"gpu_mem_limit", "9"}});
      CheckCalls(setup.stub, CallsOfLoad(each.memory, each.appended));
      const std::string memory = std::to_string(each.memory.size() + 1);
      CHECK(setup.stub.live() == "MemoryInfo " + memory + " Session 1 ", "%s",
            setup.stub.live().c_str());
    }
    CHECK(setup.stub.live().empty(), "%s", setup.stub.live().c_str());
  }
  Setup setup;
  auto exports = setup.stub.exports();
  const ort::Library plain(
      [exports](const char* name) {
        return std::string(name) == "OrtGetApiBase" ? exports(name) : nullptr;
      },
      "plain");
  const std::string outcome = OutcomeOf([&] {
    ort::Session(plain, {}, {"dml", 0, {}, {}, 1}, setup.cancellation);
  });
  CHECK(outcome == "ERR_LONGVLM_INFERENCE: this build has no DirectML", "'%s'", outcome.c_str());
}

// Frames on GPU 1 and the rest on the host: each is bound where it is, and nothing copies or waits.
void TestRun() {
  Setup setup;
  ort::Session session = setup.Load("cuda", 1);
  Tensors tensors;
  ort::RunCall call = tensors.Call();
  call.inputs[0].gpu = 1;
  setup.stub.ForgetCalls();
  session.Run(call, setup.cancellation);
  Calls expected{"CreateRunOptions", "CreateIoBinding"};
  for (const size_t from : {0, 2, 4}) {
    const std::string rows = from == 4 ? "1" : "2";
    const bool last = from == 4;
    for (const std::string& bound :
         {At("BindInput frames Cuda:1 type 2 [" + rows + ",3] " + (last ? "3" : "6"),
             tensors.frames.data(), from * 3),
          At("BindInput scale Cpu:0 type 1 [" + rows + "] " + (last ? "4" : "8"),
             tensors.scale.data(), from * 4),
          At("BindOutput patches Cpu:0 type 10 [" + rows + ",2,2] " + (last ? "8" : "16"),
             tensors.patches.data(), from * 8)}) {
      expected.push_back("CreateTensorWithDataAsOrtValue");
      expected.push_back(bound);
    }
    expected.push_back("RunWithBinding");
  }
  CheckCalls(setup.stub, expected);
  for (const uint16_t value : tensors.patches) CHECK(value == 0x0101, "not written in place");
  CHECK(setup.stub.live() == "MemoryInfo 2 Session 1 ", "%s", setup.stub.live().c_str());
}

void TestOperands() {
  const struct {
    const char* provider;
    int gpu;
  } elsewhere[] = {{"cpu", 0}, {"cuda", 1}};
  for (const auto& each : elsewhere) {
    Setup setup;
    ort::Session session = setup.Load(each.provider, 0);
    setup.stub.ForgetCalls();
    Tensors tensors;
    ort::RunCall input = tensors.Call();
    input.inputs[1].gpu = each.gpu;
    const std::string first = OutcomeOf([&] { session.Run(input, setup.cancellation); });
    CHECK(first == "ERR_LONGVLM_INFERENCE: input scale is on a GPU that the graph does not run on",
          "'%s'", first.c_str());
    ort::RunCall output = tensors.Call();
    output.outputs[0].gpu = each.gpu;
    const std::string second = OutcomeOf([&] { session.Run(output, setup.cancellation); });
    CHECK(second ==
              "ERR_LONGVLM_INFERENCE: output patches is on a GPU that the graph does not run on",
          "'%s'", second.c_str());
    ort::RunCall unknown = tensors.Call();
    unknown.inputs[0].name = "pixels";
    const std::string third = OutcomeOf([&] { session.Run(unknown, setup.cancellation); });
    CHECK(third == "ERR_LONGVLM_INFERENCE: The graph has no input pixels", "'%s'", third.c_str());
    CheckCalls(setup.stub, {});
  }
}

constexpr const char* kProviders[] = {"cpu", "cuda", "dml", "WebGPU"};

void LoadAndRun(Setup& setup, const char* provider) {
  ort::Session session = setup.Load(provider);
  session.Run(Tensors().Call(), setup.cancellation);
}

// The calls of LoadAndRun that return a status.
size_t CountCalls(const char* provider) {
  Setup setup;
  setup.stub.ForgetCalls();
  LoadAndRun(setup, provider);
  return setup.stub.calls().size();
}

void TestFailures() {
  for (const char* provider : kProviders) {
    const size_t count = CountCalls(provider);
    for (size_t call = 0; call < count; ++call) {
      Setup setup;
      setup.stub.ForgetCalls();
      setup.stub.FailAfter(call);
      const std::string outcome = OutcomeOf([&] { LoadAndRun(setup, provider); });
      CHECK(outcome == std::string("ERR_LONGVLM_INFERENCE: ") + OrtStub::kFailure,
            "%s, call %zu: '%s'", provider, call, outcome.c_str());
      CHECK(setup.stub.live().empty(), "%s, call %zu: %s", provider, call,
            setup.stub.live().c_str());
    }
  }
}

void TestCancellation() {
  for (const char* provider : kProviders) {
    const size_t count = CountCalls(provider);
    for (size_t call = 0; call < count; ++call) {
      Setup setup;
      size_t begun = 0;
      setup.stub.DoAfter(call, [&] {
        setup.cancellation.Cancel();
        begun = setup.stub.begun();
      });
      const std::string outcome = OutcomeOf([&] { LoadAndRun(setup, provider); });
      CHECK(outcome == "cancelled", "%s, call %zu: '%s'", provider, call, outcome.c_str());
      CHECK(setup.stub.begun() == begun, "%s, call %zu: something began afterwards", provider,
            call);
      CHECK(setup.stub.live().empty(), "%s, call %zu: %s", provider, call,
            setup.stub.live().c_str());
    }
  }
}

void TestCancellationBefore() {
  Setup setup;
  setup.stub.ForgetCalls();
  setup.cancellation.Cancel();
  CHECK(OutcomeOf([&] { LoadAndRun(setup, "cpu"); }) == "cancelled", "not cancelled");
  CHECK(setup.stub.begun() == 0, "a load began");
}

// A micro-batch that cannot be ended is the last one.
void TestCancellationFails() {
  Setup setup;
  ort::Session session = setup.Load("cpu");
  Tensors tensors;
  setup.stub.DoAfter(8, [&] {
    CHECK(setup.stub.calls().back() == "RunWithBinding", "%s", setup.stub.calls().back().c_str());
    setup.stub.FailAfter(0);
    setup.cancellation.Cancel();
  });
  const std::string outcome = OutcomeOf([&] { session.Run(tensors.Call(), setup.cancellation); });
  CHECK(outcome == "cancelled", "'%s'", outcome.c_str());
  CHECK(setup.stub.calls().back() == "RunOptionsSetTerminate", "%s was called afterwards",
        setup.stub.calls().back().c_str());
}

}  // namespace

void TestOrtSession() {
  TestOpening();
  TestLoad();
  TestRun();
  TestOperands();
  TestFailures();
  TestCancellation();
  TestCancellationBefore();
  TestCancellationFails();
}

}  // namespace longvlm
