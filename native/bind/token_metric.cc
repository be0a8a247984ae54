#include <stdexcept>

#include "bind/addon_state.h"
#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/promise_worker.h"
#include "core/metric.h"

namespace longvlm {
namespace {

// tokenMetric(args: TokenMetricArgs): NativeTask
Napi::Value TokenMetricAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "tokenMetric";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const Shape shape = arguments.Shape3("dims");
    const size_t heads = arguments.Integer("heads", 1);
    if (shape.width % heads != 0) throw std::invalid_argument("heads does not divide the channels");
    const TokenMetricArgs args{.tokens = AsConst(arguments.Tensor("tokens", shape.size())),
                               .shape = shape,
                               .heads = heads,
                               .out = arguments.Floats("out", shape.size() / heads)};
    return StartTask(
        info.Env(), kCallee, arguments.kept(),
        [args, threads = AddonState::Threads(info.Env())](const std::atomic<bool>& cancelled) {
          TokenMetric(args, {threads.get(), &cancelled});
        });
  });
}

}  // namespace

void InitTokenMetric(Napi::Env env, Napi::Object exports) {
  exports.Set("tokenMetric", Napi::Function::New(env, TokenMetricAsync));
}

}  // namespace longvlm
