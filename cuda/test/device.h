// Device memory, streams and number formats for the tests and the benchmark, over the C interface.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "longvlm_cuda.h"

namespace lv {

inline int32_t device = 0;
// Whether memory holds NaN until something is written to it.
inline bool poison = false;

// Ends the program: what is tested goes through its own checks.
inline void Need(lv_status status, const char* what) {
  if (status == LV_OK) return;
  std::fprintf(stderr, "%s: status %d: %s\n", what, status, lv_last_error());
  std::exit(1);
}
#define LV_NEED(call) ::lv::Need((call), #call)

class Stream {
 public:
  Stream() { LV_NEED(lv_stream_create(device, &stream_)); }
  ~Stream() { LV_NEED(lv_stream_destroy(device, stream_)); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  lv_stream get() const { return stream_; }
  void Synchronize() const { LV_NEED(lv_stream_synchronize(device, stream_)); }

 private:
  lv_stream stream_ = nullptr;
};

class Buffer {
 public:
  explicit Buffer(size_t bytes) : bytes_(bytes) {
    LV_NEED(lv_device_alloc(device, bytes, &at_));
    if (!poison || bytes == 0) return;
    LV_NEED(lv_memset(device, at_, 0xff, bytes, nullptr));
    LV_NEED(lv_stream_synchronize(device, nullptr));
  }
  ~Buffer() { LV_NEED(lv_device_free(device, at_)); }
  Buffer(Buffer&& other) noexcept
      : at_(std::exchange(other.at_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  template <typename T>
  static Buffer Of(std::span<const T> values, const Stream& stream) {
    Buffer buffer(values.size_bytes());
    buffer.Write(values, stream);
    return buffer;
  }

  template <typename T>
  void Write(std::span<const T> values, const Stream& stream) {
    LV_NEED(lv_copy_to_device(device, at_, values.data(), values.size_bytes(), stream.get()));
    stream.Synchronize();
  }
  template <typename T>
  std::vector<T> Read(const Stream& stream) const {
    std::vector<T> values(bytes_ / sizeof(T));
    LV_NEED(lv_copy_to_host(device, values.data(), at_, values.size() * sizeof(T), stream.get()));
    stream.Synchronize();
    return values;
  }

  template <typename T = void>
  T* get() const {
    return static_cast<T*>(at_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* at_ = nullptr;
  size_t bytes_;
};

inline size_t TypeBytes(lv_type type) { return type == LV_FLOAT32 ? 4 : 2; }
inline const char* TypeName(lv_type type) {
  return type == LV_FLOAT32 ? "f32" : type == LV_FLOAT16 ? "f16" : "bf16";
}

// To nearest, ties to even, by plain arithmetic.
inline uint16_t ToHalf(float value) {
  if (std::isnan(value)) return 0x7e00;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(static_cast<double>(value));
  if (magnitude == 0) return sign;
  if (magnitude >= 65520) return static_cast<uint16_t>(sign | 0x7c00);
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int unit = std::max(exponent - 11, -24);
  const double steps = std::nearbyint(std::ldexp(magnitude, -unit));
  // With the implicit bit added to the exponent's field, a carry goes where it belongs.
  const auto bits = static_cast<uint32_t>(steps) + (static_cast<uint32_t>(unit + 24) << 10);
  return static_cast<uint16_t>(sign | bits);
}
inline float FromHalf(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int mantissa = half & 1023;
  const double magnitude = exponent == 31  ? (mantissa == 0 ? INFINITY : NAN)
                           : exponent == 0 ? std::ldexp(mantissa, -24)
                                           : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>((half & 0x8000) != 0 ? -magnitude : magnitude);
}
inline uint16_t ToBfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (std::isnan(value)) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline float FromBfloat16(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

// The bytes of values of a type, and the way back.
inline std::vector<uint8_t> Encode(lv_type type, std::span<const float> values) {
  std::vector<uint8_t> bytes(values.size() * TypeBytes(type));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == LV_FLOAT32) {
      std::memcpy(bytes.data() + i * 4, &values[i], 4);
    } else {
      const uint16_t bits = type == LV_FLOAT16 ? ToHalf(values[i]) : ToBfloat16(values[i]);
      std::memcpy(bytes.data() + i * 2, &bits, 2);
    }
  }
  return bytes;
}
inline std::vector<float> Decode(lv_type type, std::span<const uint8_t> bytes) {
  std::vector<float> values(bytes.size() / TypeBytes(type));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == LV_FLOAT32) {
      std::memcpy(&values[i], bytes.data() + i * 4, 4);
    } else {
      uint16_t bits;
      std::memcpy(&bits, bytes.data() + i * 2, 2);
      values[i] = type == LV_FLOAT16 ? FromHalf(bits) : FromBfloat16(bits);
    }
  }
  return values;
}

}  // namespace lv
