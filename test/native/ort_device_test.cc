// A session that shares a GPU's stream: everything of a run is put there in order, and waited for
// once; after a failure or a cancellation at each step nothing is under way and nothing is kept.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "check.h"
#include "core/cuda_device.h"
#include "fake_gpu.h"
#include "ort/session.h"
#include "ort_calls.h"
#include "ort_stub.h"
#include "tests.h"

namespace longvlm {
namespace {

constexpr int64_t kRows = 5, kBatch = 2;
constexpr uint64_t kNothing = LV_NOTHING_FOUND;

std::string OnStream(const std::string& event, lv_stream stream) {
  return event + " stream " + std::to_string(reinterpret_cast<uintptr_t>(stream));
}

// A GPU that writes down what it is asked among the calls of the library.
struct Setup {
  OrtStub stub;
  const ort::Library library{stub.exports(), "stub"};
  FakeGpu gpu;
  std::shared_ptr<CudaDevice> device = std::make_shared<CudaDevice>(gpu.cuda(), 0);
  ort::Cancellation cancellation;
  // What happens at the GPU's event after so many others; none for -1.
  int acts_after = -1;
  std::function<lv_status()> action = [] { return LV_OK; };
  size_t events = 0;

  Setup() {
    gpu.Watch([this](const std::string& event) {
      stub.Note(event);
      return Happen();
    });
  }

  lv_status Happen() {
    ++events;
    return acts_after-- == 0 ? action() : LV_OK;
  }

  ort::Session Load(const std::string& provider = "cuda") {
    const std::string model = "model";
    return ort::Session(library, std::as_bytes(std::span(model)),
                        {provider, 0, {{"gpu_mem_limit", "9"}}, {}, 1, device}, cancellation);
  }

  std::shared_ptr<DeviceMemory> Allocate(size_t bytes) {
    return std::make_shared<DeviceMemory>(device, bytes);
  }
};

// Frames that go up, what the graph makes of them, and two operations on that.
struct Work {
  explicit Work(Setup& setup)
      : setup(setup), frames(setup.Allocate(kRows * 3)), patches(setup.Allocate(kRows * 8)) {}

  Setup& setup;
  std::vector<uint8_t> pixels = std::vector<uint8_t>(kRows * 3, 9);
  std::vector<uint8_t> found = std::vector<uint8_t>(4);
  std::shared_ptr<DeviceMemory> frames, patches;

  CudaOperation Operation(const std::string& name, uint64_t not_finite = kNothing) const {
    const auto call = [this, name, not_finite](const CudaFunctions&,
                                               const CudaCall& at) -> lv_status {
      if (at.workspace == nullptr) {
        *at.workspace_bytes = 1;
        return LV_OK;
      }
      setup.stub.Note(OnStream(name + " on", at.stream));
      const lv_status happened = setup.Happen();
      if (happened != LV_OK) return happened;
      setup.gpu.Put(at.stream, [=, data = patches->data(), report = at.report] {
        std::memset(data, 3, kRows * 8);
        *report = {not_finite, kNothing};
      });
      return LV_OK;
    };
    return {.call = call,
            .shape = {1, 5, 2},
            .names = {"tokens", {"segment", "token", "channel"}},
            .kept = {patches}};
  }

  ort::RunCall Call(uint64_t not_finite = kNothing) {
    const std::optional<int> gpu = 0;
    return {{{"frames", ort::kUint8, {kRows, 3}, frames->data(), 3, gpu, frames}},
            {{"patches", ort::kFloat, {kRows, 2}, patches->data(), 8, gpu, patches}},
            kRows,
            kBatch,
            {{frames, pixels.data(), pixels.size()}},
            {Operation("merge"), Operation("pool", not_finite)},
            {{patches, found.data(), found.size()}}};
  }
};

void TestStream() {
  Setup setup;
  const ort::Session session = setup.Load();
  const std::vector<std::string> calls = setup.stub.calls();
  const std::string shared =
      std::to_string(reinterpret_cast<uintptr_t>(setup.device->shared_stream()));
  const auto update =
      std::ranges::find(calls, "UpdateCUDAProviderOptions gpu_mem_limit=9 device_id=0");
  CHECK(calls.end() - update > 2, "the options were not set");
  CHECK(update[1] == "UpdateCUDAProviderOptionsWithValue user_compute_stream=" + shared, "'%s'",
        update[1].c_str());
  CHECK(update[2] == "SessionOptionsAppendExecutionProvider_CUDA_V2", "'%s'", update[2].c_str());
}

// The one wait comes behind everything but the copy down, for which others are waited for.
void TestOrder() {
  Setup setup;
  ort::Session session = setup.Load();
  Work work(setup);
  setup.stub.ForgetCalls();
  session.Run(work.Call(), setup.cancellation);
  const lv_stream stream = setup.device->shared_stream();
  std::vector<std::string> order;
  for (const std::string& call : setup.stub.calls()) {
    const std::string name = call.substr(0, call.find(' '));
    if (name.starts_with("Create") || name.starts_with("Bind")) continue;
    order.push_back(call);
  }
  const std::string report = std::to_string(sizeof(lv_report));
  const std::vector<std::string> expected{
      OnStream("up 15 on", stream),
      "AddRunConfigEntry disable_synchronize_execution_providers=1",
      "RunWithBinding",
      "RunWithBinding",
      "RunWithBinding",
      OnStream("merge on", stream),
      OnStream("down " + report + " on", stream),
      OnStream("pool on", stream),
      OnStream("down " + report + " on", stream),
      OnStream("wait for", stream),
  };
  CHECK(order.size() > expected.size(), "%zu calls", order.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(order[i] == expected[i], "call %zu is '%s' and not '%s'", i, order[i].c_str(),
          expected[i].c_str());
  }
  const std::string of_ours = OnStream("", stream);
  for (size_t i = expected.size(); i < order.size(); ++i) {
    CHECK(!order[i].ends_with(of_ours), "'%s' comes behind the wait", order[i].c_str());
  }
  CHECK(setup.gpu.waiting() == 0, "something is under way");
  CHECK((work.found == std::vector<uint8_t>(4, 3)), "what came down is not what was computed");
  CHECK(std::memcmp(work.frames->data(), work.pixels.data(), work.pixels.size()) == 0,
        "what went up is something else");
}

// An emulated GPU's memory is the host's, and the CPU's session has no stream.
void TestEmulated() {
  Setup setup;
  ort::Session session = setup.Load("cpu");
  Work work(setup);
  ort::RunCall call = work.Call();
  for (ort::Operand* operand : {&call.inputs[0], &call.outputs[0]}) operand->gpu = {};
  session.Run(call, setup.cancellation);
  for (const std::string& each : setup.stub.calls()) {
    CHECK(!each.starts_with("AddRunConfigEntry") && !each.starts_with("UpdateCUDA"), "'%s'",
          each.c_str());
  }
  CHECK((work.found == std::vector<uint8_t>(4, 3)), "what came down is not what was computed");

  // Without a graph to run, the rest is done.
  call.rows = 0;
  work.found.assign(4, 0);
  setup.stub.ForgetCalls();
  session.Run(call, setup.cancellation);
  for (const std::string& each : setup.stub.calls()) {
    CHECK(each != "RunWithBinding", "a graph ran");
  }
  CHECK((work.found == std::vector<uint8_t>(4, 3)), "what came down is not what was computed");
}

void TestFound() {
  Setup setup;
  ort::Session session = setup.Load();
  Work work(setup);
  const std::string outcome = OutcomeOf([&] { session.Run(work.Call(3), setup.cancellation); });
  CHECK(outcome.starts_with("ERR_LONGVLM_NOT_FINITE: tokens holds NaN or infinity at segment 0, "
                            "token 1, channel 1"),
        "'%s'", outcome.c_str());
  CHECK((work.found == std::vector<uint8_t>(4)), "wrong values came down");
  CHECK(OutcomeOf([&] { session.Run(work.Call(), setup.cancellation); }) == "done",
        "the error comes again");
}

void TestOutOfMemory() {
  for (const char* text : {"bfc_arena.cc:376 Available memory of 1 is smaller than requested bytes "
                           "of 2",
                           "Failed to allocate memory for requested buffer of size 2",
                           "CUDA failure 2: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"}) {
    for (const char* provider : {"cuda", "cpu"}) {
      Setup setup;
      ort::Session session = setup.Load(provider);
      Work work(setup);
      ort::RunCall call = work.Call();
      call.inputs.clear();
      call.outputs.clear();
      const size_t others = std::string(provider) == "cuda" ? 3 : 2;
      setup.stub.FailAfter(others, text);
      const std::string outcome = OutcomeOf([&] { session.Run(call, setup.cancellation); });
      const std::string code = others == 3 ? "ERR_LONGVLM_CUDA_OOM: " : "ERR_LONGVLM_INFERENCE: ";
      CHECK(outcome == code + text, "'%s'", outcome.c_str());
      CHECK(setup.gpu.waiting() == 0, "something is under way");
    }
  }
}

// What is left after a run that ended early: nothing under way, no memory kept, and a session that
// runs again.
void CheckLeft(Setup& setup, ort::Session& session, Work& work, const std::string& when) {
  CHECK(setup.gpu.waiting() == 0, "%s: something is under way", when.c_str());
  CHECK(work.frames.use_count() == 1 && work.patches.use_count() == 1, "%s: memory is kept",
        when.c_str());
  ort::Cancellation none;
  const std::string again = OutcomeOf([&] { session.Run(work.Call(), none); });
  CHECK(again == "done", "%s: then '%s'", when.c_str(), again.c_str());
}

// At each call of ONNX Runtime, and at each of the GPU.
template <typename Prepare>
void AtEachStep(Prepare prepare) {
  size_t calls = 0, events = 0;
  {
    Setup setup;
    ort::Session session = setup.Load();
    Work work(setup);
    setup.stub.ForgetCalls();
    session.Run(work.Call(), setup.cancellation);
    events = setup.events;
    calls = setup.stub.calls().size() - events;
  }
  for (size_t step = 0; step < calls + events; ++step) {
    Setup setup;
    ort::Session session = setup.Load();
    Work work(setup);
    const bool of_gpu = step >= calls;
    const std::string expected = prepare(setup, of_gpu, of_gpu ? step - calls : step);
    const std::string outcome = OutcomeOf([&] { session.Run(work.Call(), setup.cancellation); });
    const std::string when = (of_gpu ? "event " : "call ") + std::to_string(step);
    CHECK(outcome.starts_with(expected), "%s: '%s'", when.c_str(), outcome.c_str());
    setup.acts_after = -1;
    CheckLeft(setup, session, work, when);
  }
}

void TestFailures() {
  AtEachStep([](Setup& setup, bool of_gpu, size_t step) {
    if (!of_gpu) {
      setup.stub.FailAfter(step);
      return "ERR_LONGVLM_INFERENCE: the stub failed";
    }
    setup.acts_after = static_cast<int>(step);
    setup.action = [] { return LV_ERROR_CUDA; };
    return "ERR_LONGVLM_CUDA: The GPU failed: the fake failed";
  });
}

void TestCancellation() {
  AtEachStep([](Setup& setup, bool of_gpu, size_t step) {
    const auto cancel = [&setup] {
      setup.cancellation.Cancel();
      return LV_OK;
    };
    if (of_gpu) {
      setup.acts_after = static_cast<int>(step);
      setup.action = cancel;
    } else {
      setup.stub.DoAfter(step, cancel);
    }
    return "cancelled";
  });
}

}  // namespace

void TestOrtDevice() {
  TestStream();
  TestOrder();
  TestEmulated();
  TestFound();
  TestOutOfMemory();
  TestFailures();
  TestCancellation();
}

}  // namespace longvlm
