// Compares native/ort/ort_abi.h with ONNX Runtime's own header: positions, and types in which every
// enumeration counts as an int.
#include <cstddef>
#include <type_traits>

// First: its enumerations' names must be free.
#include "onnxruntime_c_api.h"
#include "ort/ort_abi.h"

namespace {

template <typename T>
using Plain = std::conditional_t<std::is_enum_v<T>, int, T>;

template <typename F>
struct Normal;
template <typename R, typename... A>
struct Normal<R (*)(A...)> {
  using Type = Plain<R> (*)(Plain<A>...);
};
template <typename R, typename... A>
struct Normal<R (*)(A...) noexcept> {
  using Type = Plain<R> (*)(Plain<A>...);
};

}  // namespace

#define LONGVLM_ORT_COMPARE(name, position, ...)                                                 \
  static_assert(offsetof(OrtApi, name) / sizeof(void*) == (position), #name " has moved");       \
  static_assert(std::is_same_v<Normal<decltype(OrtApi::name)>::Type, Normal<__VA_ARGS__>::Type>, \
                #name " has another type");
LONGVLM_ORT_API(LONGVLM_ORT_COMPARE)

using namespace longvlm::ort;
static_assert(kLogFatal == ORT_LOGGING_LEVEL_FATAL);
static_assert(kDeviceAllocator == OrtDeviceAllocator && kDefaultMemory == OrtMemTypeDefault);
static_assert(kSequential == ORT_SEQUENTIAL);
static_assert(kFloat == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
static_assert(kUint8 == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
static_assert(kFloat16 == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
static_assert(offsetof(OrtApiBase, GetApi) == offsetof(ApiBase, get_api));
static_assert(offsetof(OrtApiBase, GetVersionString) == offsetof(ApiBase, get_version));
