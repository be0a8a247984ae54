#include "core/instruction_set.h"

#include <string>

#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"

namespace longvlm {
namespace {

// instructionSet(): string
Napi::Value InstructionSet(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "instructionSet", [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), InstructionSetInUse());
  });
}

// setMaxInstructionSet(args: { name: string }): void
Napi::Value SetMax(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "setMaxInstructionSet", [&]() -> Napi::Value {
    LimitInstructionSet(Arguments(info).String("name"));
    return info.Env().Undefined();
  });
}

}  // namespace

void InitInstructionSet(Napi::Env env, Napi::Object exports) {
  exports.Set("instructionSet", Napi::Function::New(env, InstructionSet));
  exports.Set("setMaxInstructionSet", Napi::Function::New(env, SetMax));
}

}  // namespace longvlm
