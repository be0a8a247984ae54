#include "core/round_to_eight_bits.h"

#include <string>

#include "bind/addon_state.h"
#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/native_task.h"

namespace longvlm {
namespace {

ElementType FloatType(const Arguments& arguments) {
  const std::string type = arguments.String("type");
  if (type == "float32") return ElementType::kFloat32;
  if (type == "float16") return ElementType::kFloat16;
  if (type == "bfloat16") return ElementType::kBfloat16;
  Invalid("type", "none of float32, float16 and bfloat16");
}

std::byte* Memory(Arguments& arguments, const char* name, size_t count, size_t element) {
  const std::span<std::byte> bytes = arguments.Bytes(name);
  if (bytes.size() != count * element) Invalid(name, "of another size");
  if (reinterpret_cast<uintptr_t>(bytes.data()) % element != 0) Invalid(name, "not aligned");
  return bytes.data();
}

// roundToEightBits(args: NativeRoundToEightBitsArgs): NativeTask
Napi::Value RoundToEightBitsAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "roundToEightBits";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const ElementType type = FloatType(arguments);
    // [rows that are given, rows of the matrix, columns]
    const Shape shape = arguments.Shape3("dims");
    const size_t first = arguments.Integer("first", 0);
    if (first > shape.rows || shape.batch > shape.rows - first) Invalid("first", "too large");
    const RoundToEightBitsArgs args{
        .rows = {type, Memory(arguments, "rows", shape.batch * shape.width, SizeOf(type))},
        .outputs = shape.rows,
        .inputs = shape.width,
        .first = first,
        .count = shape.batch,
        .out_values =
            reinterpret_cast<int8_t*>(Memory(arguments, "outValues", shape.rows * shape.width, 1)),
        .out_scales = arguments.HostFloats("outScales", shape.rows)};
    arguments.CheckUnchanged();
    ThreadPool* const threads = &AddonState::Work(info.Env()).computing();
    return StartTask(info.Env(), kCallee, &EnvironmentWork::computing, arguments.kept(),
                     [args, threads](const std::atomic<bool>& cancelled) {
                       RoundToEightBits(args, Workers{threads, &cancelled});
                     });
  });
}

}  // namespace

void InitRoundToEightBits(Napi::Env env, Napi::Object exports) {
  exports.Set("roundToEightBits", Napi::Function::New(env, RoundToEightBitsAsync));
}

}  // namespace longvlm
