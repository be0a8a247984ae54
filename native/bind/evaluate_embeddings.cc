#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/native_task.h"
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

llama::Target TargetOf(Napi::Env env, const Arguments& arguments, const Napi::Value& context) {
  return llama::Target::Of(Unwrap(env, context, "context"),
                           static_cast<uint32_t>(arguments.SmallInteger("contextSize", 1)));
}

// embeddingsInput(args: { context: object, contextSize: number }): NativeEmbeddingsInput
Napi::Value EmbeddingsInput(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "embeddingsInput", [&]() -> Napi::Value {
    const Arguments arguments(info);
    const auto target = TargetOf(info.Env(), arguments, arguments.Get("context"));
    Napi::Object input = Napi::Object::New(info.Env());
    input.Set("width", target.Width());
    input.Set("axes", target.Axes());
    input.Set("batchSize", target.BatchSize());
    return input;
  });
}

// Its sum with the position of the first embedding is an int32, too.
constexpr int32_t kLastPosition = 1 << 30;

// The positions of `rows` embeddings of a model with `axes` axes; none where it is undefined.
std::span<const int32_t> Positions(Arguments& arguments, size_t rows, int32_t axes) {
  const Napi::Value value = arguments.Get("positions");
  if (value.IsUndefined()) return {};
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    Invalid("positions", "no Int32Array");
  const std::span<std::byte> bytes = arguments.Bytes("positions", value);
  if (axes == 1) Invalid("positions", "the model has one position a token");
  if (bytes.size() != rows * static_cast<size_t>(axes) * sizeof(int32_t))
    Invalid("positions", "not three for each embedding");
  const std::span<const int32_t> positions(reinterpret_cast<const int32_t*>(bytes.data()),
                                           bytes.size() / sizeof(int32_t));
  // llama.cpp marks an empty cell by -1.
  for (const int32_t position : positions)
    if (position < 0 || position > kLastPosition) Invalid("positions", "out of range");
  return positions;
}

// evaluateEmbeddings(args: EvaluateEmbeddingsArgs): NativeTask
Napi::Value EvaluateEmbeddingsAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "evaluateEmbeddings";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const Napi::Value context = arguments.Get("context");
    const auto target = TargetOf(info.Env(), arguments, context);
    const auto count = static_cast<size_t>(arguments.SmallInteger("count", 1));
    const auto width = static_cast<size_t>(arguments.SmallInteger("width", 1));
    if (width != static_cast<size_t>(target.Width())) {
      throw std::invalid_argument("width is invalid: " + std::to_string(width) +
                                  ", the model's is " + std::to_string(target.Width()));
    }
    const auto sequence = arguments.SmallInteger("sequence", 0);
    const auto first = arguments.SmallInteger("first", 0);
    if (first > kLastPosition) Invalid("first", "out of range");
    const llama::Embeddings embeddings{
        {arguments.HostFloats("embeddings", count * width), count * width},
        Positions(arguments, count, target.Axes()),
        arguments.Boolean("causal")};
    arguments.CheckUnchanged();
    std::vector<Napi::Object> kept = arguments.kept();
    kept.push_back(context.As<Napi::Object>());
    return StartTask(
        info.Env(), kCallee, &EnvironmentWork::waiting, kept,
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
  exports.Set("embeddingsInput", Napi::Function::New(env, EmbeddingsInput));
  exports.Set("evaluateEmbeddings", Napi::Function::New(env, EvaluateEmbeddingsAsync));
}

}  // namespace longvlm
