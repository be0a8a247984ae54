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

// The native pointer of the wrapped object `value` of `field` (napi_unwrap).
void* Unwrap(Napi::Env env, const Napi::Value& value, const char* field) {
  void* native = nullptr;
  if (!value.IsObject() || napi_unwrap(env, value, &native) != napi_ok || native == nullptr) {
    throw std::invalid_argument(std::string(field) + " is invalid: not a native object");
  }
  return native;
}

// evaluateEmbeddings(args: EvaluateEmbeddingsArgs): NativeTask
Napi::Value EvaluateEmbeddingsAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "evaluateEmbeddings";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const Napi::Value context = arguments.Get("context");
    const auto target =
        llama::Target::Of(Unwrap(info.Env(), context, "context"),
                          static_cast<uint32_t>(arguments.SmallInteger("contextSize", 1)));
    const auto count = static_cast<size_t>(arguments.SmallInteger("count", 1));
    const auto width = static_cast<size_t>(arguments.SmallInteger("width", 1));
    if (width != static_cast<size_t>(target.Width())) {
      throw std::invalid_argument("width is invalid: " + std::to_string(width) +
                                  ", the model's is " + std::to_string(target.Width()));
    }
    const auto sequence = arguments.SmallInteger("sequence", 0);
    const auto first = arguments.SmallInteger("first", 0);
    const std::span<const float> embeddings(arguments.HostFloats("embeddings", count * width),
                                            count * width);
    arguments.CheckUnchanged();
    std::vector<Napi::Object> kept = arguments.kept();
    kept.push_back(context.As<Napi::Object>());
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
