// Objects of ONNX Runtime, released at the end of their scope.
#pragma once

#include <memory>

namespace longvlm::ort {

template <typename T>
using Handle = std::unique_ptr<T, void (*)(T*)>;

// The object that create(&object) makes.
template <typename T, typename Create>
Handle<T> Make(void (*release)(T*), Create&& create) {
  T* object = nullptr;
  create(&object);
  return Handle<T>(object, release);
}

}  // namespace longvlm::ort
