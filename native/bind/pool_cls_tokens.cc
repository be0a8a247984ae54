#include "core/pool_cls_tokens.h"

#include "bind/addon_state.h"
#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/promise_worker.h"

namespace longvlm {
namespace {

// poolClsTokens(args: PoolClsTokensArgs): NativeTask
Napi::Value PoolClsTokensAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "poolClsTokens";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const Shape shape = arguments.Shape3("dims");
    const Values cls = arguments.Tensor("cls", shape.size());
    const PoolClsTokensArgs args{.cls = AsConst(cls),
                                 .shape = shape,
                                 .out = arguments.TensorLike("out", cls, shape.rows * shape.width)};
    return StartTask(
        info.Env(), kCallee, arguments.kept(),
        [args, threads = AddonState::Threads(info.Env())](const std::atomic<bool>& cancelled) {
          PoolClsTokens(args, {threads.get(), &cancelled});
        });
  });
}

}  // namespace

void InitPoolClsTokens(Napi::Env env, Napi::Object exports) {
  exports.Set("poolClsTokens", Napi::Function::New(env, PoolClsTokensAsync));
}

}  // namespace longvlm
