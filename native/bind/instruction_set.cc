#include "core/instruction_set.h"

#include <string>
#include <vector>

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

// instructionSets(): string[]
Napi::Value InstructionSets(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "instructionSets", [&]() -> Napi::Value {
    const std::vector<std::string> names = KnownInstructionSets();
    Napi::Array array = Napi::Array::New(info.Env(), names.size());
    for (uint32_t i = 0; i < names.size(); ++i) array.Set(i, names[i]);
    return array;
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
  exports.Set("instructionSets", Napi::Function::New(env, InstructionSets));
  exports.Set("setMaxInstructionSet", Napi::Function::New(env, SetMax));
}

}  // namespace longvlm
