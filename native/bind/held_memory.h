// Memory of typed arrays that stays while native threads use it.
#pragma once

#include <memory>

#include "napi/napi_setup.h"

namespace longvlm {

// Holds the memory of a typed array over an ArrayBuffer, even if JavaScript transfers the buffer
// away, as a reference to the array does not. Null for other objects, for shared memory, which
// nobody can take away, and where it does not work.
std::shared_ptr<void> HoldMemory(const Napi::Object& array);

}  // namespace longvlm
