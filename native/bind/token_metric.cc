#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/operands.h"
#include "core/metric.h"

namespace longvlm {
namespace {

// tokenMetric(args: TokenMetricArgs): NativeTask
Napi::Value TokenMetricAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "tokenMetric";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Operands operands(info);
    const Shape shape = operands.Shape3("dims");
    const size_t heads = operands.Heads(shape);
    const TokenMetricArgs args{.tokens = operands.Floats("tokens", shape.size()),
                               .shape = shape,
                               .heads = heads,
                               .out = operands.Float32s("out", shape.size() / heads)};
    return StartOperation(info.Env(), kCallee, operands, args, TokenMetric);
  });
}

}  // namespace

void InitTokenMetric(Napi::Env env, Napi::Object exports) {
  exports.Set("tokenMetric", Napi::Function::New(env, TokenMetricAsync));
}

}  // namespace longvlm
