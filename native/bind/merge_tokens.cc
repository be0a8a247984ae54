#include "core/merge_tokens.h"

#include <stdexcept>

#include "bind/addon_state.h"
#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/promise_worker.h"

namespace longvlm {
namespace {

MergeTokensArgs Read(Arguments& arguments) {
  const Shape shape = arguments.Shape3("dims");
  const size_t heads = arguments.Integer("heads", 1);
  if (shape.width % heads != 0) throw std::invalid_argument("heads does not divide the channels");
  std::vector<uint32_t> schedule = arguments.Integers("schedule");
  const size_t kept = KeptTokens(shape.rows, schedule);
  const Values tokens = arguments.Tensor("tokens", shape.size());
  return {.tokens = AsConst(tokens),
          .shape = shape,
          .heads = heads,
          .schedule = std::move(schedule),
          .out = arguments.TensorLike("outTokens", tokens, shape.batch * kept * shape.width),
          .out_sizes = arguments.Floats("outSizes", shape.batch * kept),
          .out_assignment = arguments.Ints("outAssignment", shape.batch * shape.rows)};
}

// mergeTokens(args: MergeTokensArgs): NativeTask
Napi::Value MergeTokensAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "mergeTokens";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    return StartTask(info.Env(), kCallee, arguments.kept(),
                     [args = Read(arguments), threads = AddonState::Threads(info.Env())](
                         const std::atomic<bool>& cancelled) {
                       MergeTokens(args, {threads.get(), &cancelled});
                     });
  });
}

// mergeTokensSync(args: MergeTokensArgs): void
Napi::Value MergeTokensSync(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "mergeTokensSync", [&]() -> Napi::Value {
    Arguments arguments(info);
    MergeTokens(Read(arguments), {AddonState::Threads(info.Env()).get(), nullptr});
    return info.Env().Undefined();
  });
}

}  // namespace

void InitMergeTokens(Napi::Env env, Napi::Object exports) {
  exports.Set("mergeTokens", Napi::Function::New(env, MergeTokensAsync));
  exports.Set("mergeTokensSync", Napi::Function::New(env, MergeTokensSync));
}

}  // namespace longvlm
