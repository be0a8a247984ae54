#include "core/pool_cls_tokens.h"

#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/operations.h"

namespace longvlm {
namespace {

// poolClsTokens(args: PoolClsTokensArgs): NativeTask
Napi::Value PoolClsTokensAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "poolClsTokens";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const PoolClsTokensArgs args = ReadPoolClsTokens(operands);
    return StartOperation(info.Env(), kCallee, operands, args, PoolClsTokens);
  });
}

}  // namespace

PoolClsTokensArgs ReadPoolClsTokens(Operands& operands) {
  const Shape shape = operands.Shape3("dims");
  const ConstValues cls = operands.Floats("cls", shape.size());
  return {
      .cls = cls, .shape = shape, .out = operands.FloatsLike("out", cls, shape.rows * shape.width)};
}

void InitPoolClsTokens(Napi::Env env, Napi::Object exports) {
  exports.Set("poolClsTokens", Napi::Function::New(env, PoolClsTokensAsync));
}

}  // namespace longvlm
