// Videos for the tests of reducers, as the device and as the CPU has them, and calls of reducers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "checks.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "device.h"
#include "inputs.h"
#include "longvlm_cuda_reducers.h"

namespace reducer_tests {

using checks::Group;
using longvlm::ConstValues;
using longvlm::Shape;
using longvlm::Values;
using lv::Buffer;
using lv::Stream;

inline constexpr const char* kKinds[] = {"random",     "video",      "constant",  "frames repeat",
                                         "near ties",  "few values", "zero rows", "all zero",
                                         "wide range", "wide values"};
inline constexpr lv_type kTypes[] = {LV_FLOAT32, LV_FLOAT16, LV_BFLOAT16};
inline const longvlm::Workers kAlone{nullptr, nullptr};

// A video's tokens: as the device has them, and as the CPU reads them, which knows no bfloat16.
struct Video {
  lv_type type;
  Shape shape;  // [frames, patches, channels]
  std::vector<uint8_t> bytes;
  std::vector<uint8_t> of_cpu;

  Video(const std::string& kind, lv_type of_type, Shape of_shape, uint64_t seed)
      : type(of_type), shape(of_shape) {
    // Wide values are too wide for float16.
    const bool narrow = type == LV_FLOAT16 && kind == "wide values";
    const std::vector<float> values =
        inputs::Make(narrow ? "wide range" : kind, shape.batch * shape.rows, shape.width, seed);
    bytes = lv::Encode(type, values);
    of_cpu = type == LV_BFLOAT16 ? lv::Encode(LV_FLOAT32, lv::Decode(type, bytes)) : bytes;
  }
  size_t tokens() const { return shape.batch * shape.rows; }
  ConstValues values() const {
    if (type != LV_FLOAT16) return reinterpret_cast<const float*>(of_cpu.data());
    return reinterpret_cast<const uint16_t*>(of_cpu.data());
  }
  std::string Name(const std::string& kind) const {
    return kind + " [" + std::to_string(shape.batch) + ", " + std::to_string(shape.rows) + ", " +
           std::to_string(shape.width) + "] " + lv::TypeName(type);
  }
};

// Room for rows that the CPU writes.
struct Rows {
  std::vector<uint8_t> bytes;
  lv_type type;

  Rows(const Video& video, size_t rows)
      : bytes(rows * video.shape.width * (video.type == LV_FLOAT16 ? 2 : 4)), type(video.type) {}
  Values values() {
    if (type != LV_FLOAT16) return reinterpret_cast<float*>(bytes.data());
    return reinterpret_cast<uint16_t*>(bytes.data());
  }
  // As the device stores them.
  std::vector<uint8_t> Encoded() const {
    return type == LV_BFLOAT16 ? lv::Encode(type, lv::Decode(LV_FLOAT32, bytes)) : bytes;
  }
};

template <typename T>
inline std::span<const T> View(const std::vector<T>& values) {
  return values;
}

template <typename Args, typename Function>
lv_report RunWith(Args& args, Function function, const Stream& stream) {
  const Buffer report(sizeof(lv_report));
  args.device = lv::device;
  args.report = report.get<lv_report>();
  size_t bytes = 0;
  LV_NEED(function(&args, nullptr, &bytes, stream.get()));
  const Buffer workspace(bytes);
  LV_NEED(function(&args, workspace.get(), &bytes, stream.get()));
  return report.Read<lv_report>(stream).front();
}

template <typename Args, typename Function>
lv_report RunWithout(Args& args, Function function, const Stream& stream) {
  const Buffer report(sizeof(lv_report));
  args.device = lv::device;
  args.report = report.get<lv_report>();
  LV_NEED(function(&args, stream.get()));
  return report.Read<lv_report>(stream).front();
}

inline void ExpectNothing(Group& group, const lv_report& found) {
  group.Expect(found.not_finite == LV_NOTHING_FOUND && found.bad_assignment == LV_NOTHING_FOUND,
               "%llu and %llu are reported", static_cast<unsigned long long>(found.not_finite),
               static_cast<unsigned long long>(found.bad_assignment));
}

}  // namespace reducer_tests
