#include "core/merge_tokens.h"

#include <functional>
#include <memory>
#include <stdexcept>

#include "bind/addon_state.h"
#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/promise_worker.h"
#include "core/token_merger_cache.h"

namespace longvlm {
namespace {

// What JavaScript holds of a TokenMerger. A cache is one that survives overlapping calls.
using Handle = std::shared_ptr<TokenMergerCache>;

constexpr napi_type_tag kHandleTag{0x6c6f6e67766c6d00, 0x746f6b656e6d6572};

Handle& ToHandle(Napi::Env env, const Napi::Value& value) {
  bool tagged = false;
  if (!value.IsExternal() ||
      napi_check_object_type_tag(env, value, &kHandleTag, &tagged) != napi_ok || !tagged) {
    throw std::invalid_argument("merger is invalid: not made by createTokenMerger");
  }
  Handle& handle = *value.As<Napi::External<Handle>>().Data();
  if (handle == nullptr) throw std::invalid_argument("merger is invalid: disposed");
  return handle;
}

// The merger that a call names, or the environment's own.
Handle Merger(Napi::Env env, const Arguments& arguments) {
  const Napi::Value value = arguments.Optional("merger");
  return value.IsUndefined() ? AddonState::Mergers(env) : ToHandle(env, value);
}

MergeTokensArgs Read(Arguments& arguments) {
  const Shape shape = arguments.Shape3("dims");
  const size_t heads = arguments.Integer("heads", 1);
  if (shape.width % heads != 0) throw std::invalid_argument("heads does not divide the channels");
  std::vector<uint32_t> schedule = arguments.Integers("schedule");
  const size_t protected_tokens = arguments.Integer("protect", 0);
  if (protected_tokens > shape.rows) {
    throw std::invalid_argument("protect is invalid: more than the tokens");
  }
  const size_t kept = KeptTokens(shape.rows, protected_tokens, schedule);
  const Values tokens = arguments.Tensor("tokens", shape.size());
  return {.tokens = AsConst(tokens),
          .shape = shape,
          .heads = heads,
          .schedule = std::move(schedule),
          .out = arguments.TensorLike("outTokens", tokens, shape.batch * kept * shape.width),
          .out_sizes = arguments.Floats("outSizes", shape.batch * kept),
          .out_assignment = arguments.Ints("outAssignment", shape.batch * shape.rows),
          .protected_tokens = protected_tokens,
          .sizes = arguments.OptionalFloats("sizes", shape.batch * shape.rows)};
}

// createTokenMerger(): NativeTokenMerger
Napi::Value CreateTokenMerger(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "createTokenMerger", [&]() -> Napi::Value {
    const auto handle =
        Napi::External<Handle>::New(info.Env(), new Handle(std::make_shared<TokenMergerCache>()),
                                    [](Napi::BasicEnv, Handle* held) { delete held; });
    napi_type_tag_object(info.Env(), handle, &kHandleTag);
    return handle;
  });
}

// disposeTokenMerger(args: { merger: NativeTokenMerger }): void
Napi::Value DisposeTokenMerger(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "disposeTokenMerger", [&]() -> Napi::Value {
    ToHandle(info.Env(), Arguments(info).Optional("merger")).reset();
    return info.Env().Undefined();
  });
}

// mergeTokens(args: MergeTokensArgs): NativeTask
Napi::Value MergeTokensAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "mergeTokens";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const Handle merger = Merger(info.Env(), arguments);
    return StartTask(info.Env(), kCallee, arguments.kept(),
                     [args = Read(arguments), merger, threads = AddonState::Threads(info.Env())](
                         const std::atomic<bool>& cancelled) {
                       merger->Merge(args, {threads.get(), &cancelled});
                     });
  });
}

// mergeTokensSync(args: MergeTokensArgs): void
Napi::Value MergeTokensSync(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "mergeTokensSync", [&]() -> Napi::Value {
    Arguments arguments(info);
    const Handle merger = Merger(info.Env(), arguments);
    merger->Merge(Read(arguments), {AddonState::Threads(info.Env()).get(), nullptr});
    return info.Env().Undefined();
  });
}

}  // namespace

void InitMergeTokens(Napi::Env env, Napi::Object exports) {
  exports.Set("createTokenMerger", Napi::Function::New(env, CreateTokenMerger));
  exports.Set("disposeTokenMerger", Napi::Function::New(env, DisposeTokenMerger));
  exports.Set("mergeTokens", Napi::Function::New(env, MergeTokensAsync));
  exports.Set("mergeTokensSync", Napi::Function::New(env, MergeTokensSync));
}

}  // namespace longvlm
