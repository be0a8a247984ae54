#include <stdexcept>
#include <string>

#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/promise_worker.h"
#include "core/error.h"
#include "llama/embeddings.h"

namespace longvlm {
namespace {

// The native pointer of the wrapped object in `field` (napi_unwrap).
void* Unwrap(Napi::Env env, const Napi::Value& args, const char* field) {
  const Napi::Value value = args.As<Napi::Object>().Get(field);
  void* native = nullptr;
  if (value.IsEmpty() || !value.IsObject() || napi_unwrap(env, value, &native) != napi_ok ||
      native == nullptr) {
    throw std::invalid_argument(std::string(field) + " is invalid: not a native object");
  }
  return native;
}

// evaluateEmbeddings(args: EvaluateEmbeddingsArgs): NativeTask
Napi::Value EvaluateEmbeddingsAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "evaluateEmbeddings";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const auto target =
        llama::Target::Of(Unwrap(info.Env(), info[0], "context"),
                          static_cast<uint32_t>(arguments.Integer("contextSize", 1)));
    const size_t count = arguments.Integer("count", 1);
    const size_t width = arguments.Integer("width", 1);
    if (width != static_cast<size_t>(target.Width())) {
      throw std::invalid_argument("width is invalid: " + std::to_string(width) +
                                  ", the model's is " + std::to_string(target.Width()));
    }
    const auto sequence = static_cast<llama::SequenceId>(arguments.Integer("sequence", 0));
    const auto first = static_cast<llama::Position>(arguments.Integer("first", 0));
    const std::span<const float> embeddings(arguments.HostFloats("embeddings", count * width),
                                            count * width);
    std::vector<Napi::Object> kept = arguments.kept();
    kept.push_back(info[0].As<Napi::Object>().Get("context").As<Napi::Object>());
    return StartTask(
        info.Env(), kCallee, kept,
        [target, sequence, first, embeddings](const std::atomic<bool>& cancelled) {
          switch (llama::EvaluateEmbeddings(target, sequence, first, embeddings, cancelled)) {
            case llama::Outcome::kDone:
              return;
            case llama::Outcome::kCancelled:
              throw Cancelled();
            case llama::Outcome::kNoSpace:
              throw Error("ERR_LONGVLM_CONTEXT_FULL",
                          "the context has no room for the embeddings beside its other sequences");
          }
        });
  });
}

}  // namespace

void InitEvaluateEmbeddings(Napi::Env env, Napi::Object exports) {
  exports.Set("evaluateEmbeddings", Napi::Function::New(env, EvaluateEmbeddingsAsync));
}

}  // namespace longvlm
