#include "core/merge_tokens.h"

#include <memory>
#include <stdexcept>

#include "bind/addon_state.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/operations.h"
#include "core/token_merger_cache.h"

namespace longvlm {
namespace {

// The native object of a JavaScript TokenMerger. A TokenMergerCache, because calls may overlap.
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

// The merger in the arguments of a call, or the environment's own.
Handle Merger(Napi::Env env, const Arguments& arguments) {
  const Napi::Value value = arguments.Get("merger");
  return value.IsUndefined() ? AddonState::Mergers(env) : ToHandle(env, value);
}

// A function that merges on the CPU in the merger's memory.
auto In(Handle merger) {
  return [merger = std::move(merger)](const MergeTokensArgs& args, const Workers& workers) {
    merger->Merge(args, workers);
  };
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
    ToHandle(info.Env(), Arguments(info).Get("merger")).reset();
    return info.Env().Undefined();
  });
}

// mergeTokens(args: MergeTokensArgs): NativeTask
Napi::Value MergeTokensAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "mergeTokens";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    Handle merger = Merger(info.Env(), operands);
    return StartOperation(info.Env(), kCallee, operands, ReadMergeTokens(operands),
                          In(std::move(merger)));
  });
}

// mergeTokensSync(args: MergeTokensArgs): void
Napi::Value MergeTokensSync(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "mergeTokensSync", [&]() -> Napi::Value {
    Operands operands(info);
    Handle merger = Merger(info.Env(), operands);
    const MergeTokensArgs args = ReadMergeTokens(operands);
    MakeOperation(info.Env(), operands, args, In(std::move(merger)))(nullptr);
    return info.Env().Undefined();
  });
}

}  // namespace

MergeTokensArgs ReadMergeTokens(Operands& operands) {
  const Shape shape = operands.Shape3("dims");
  const size_t heads = operands.Heads(shape);
  std::vector<uint32_t> schedule = operands.Integers("schedule");
  const size_t protected_tokens = operands.Protect(shape);
  const size_t kept = KeptTokens(shape.rows, protected_tokens, schedule);
  const ConstValues tokens = operands.Floats("tokens", shape.size());
  return {.tokens = tokens,
          .shape = shape,
          .heads = heads,
          .schedule = std::move(schedule),
          .out = operands.FloatsLike("outTokens", tokens, shape.batch * kept * shape.width),
          .out_sizes = operands.Float32s("outSizes", shape.batch * kept),
          .out_assignment = operands.Int32s("outAssignment", shape.batch * shape.rows),
          .protected_tokens = protected_tokens,
          .sizes = operands.OptionalFloat32s("sizes", shape.batch * shape.rows)};
}

void InitMergeTokens(Napi::Env env, Napi::Object exports) {
  exports.Set("createTokenMerger", Napi::Function::New(env, CreateTokenMerger));
  exports.Set("disposeTokenMerger", Napi::Function::New(env, DisposeTokenMerger));
  exports.Set("mergeTokens", Napi::Function::New(env, MergeTokensAsync));
  exports.Set("mergeTokensSync", Napi::Function::New(env, MergeTokensSync));
}

}  // namespace longvlm
