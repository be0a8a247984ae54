#include "llama/embeddings.h"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#ifndef _WIN32
#include <dlfcn.h>
#endif

namespace longvlm::llama {
namespace {

// Removes the evaluated embeddings unless Keep() is called, so that a failed call does not change
// the sequence.
class Rollback {
 public:
  Rollback(const Target& target, SequenceId sequence, Position first)
      : target_(target), sequence_(sequence), first_(first) {}
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() {
    if (keep_) return;
    const Library& library = target_.library;
    library.memory_seq_rm(library.get_memory(target_.context), sequence_, first_, -1);
  }
  void Keep() { keep_ = true; }

 private:
  const Target& target_;
  SequenceId sequence_;
  Position first_;
  bool keep_ = false;
};

// Lets llama.cpp poll the flag while it computes. node-llama-cpp sets no callback of its own, so
// none is restored.
class AbortScope {
 public:
  AbortScope(const Target& target, const std::atomic<bool>& cancelled) : target_(target) {
    target_.library.set_abort_callback(
        target_.context,
        [](void* flag) {
          return static_cast<const std::atomic<bool>*>(flag)->load(std::memory_order_relaxed);
        },
        const_cast<std::atomic<bool>*>(&cancelled));
  }
  AbortScope(const AbortScope&) = delete;
  AbortScope& operator=(const AbortScope&) = delete;
  ~AbortScope() { target_.library.set_abort_callback(target_.context, nullptr, nullptr); }

 private:
  const Target& target_;
};

}  // namespace

#ifdef _WIN32

Library Library::Of(const void*) {
  throw std::runtime_error("embeddings are not supported on Windows yet");
}

#else

Library Library::Of(const void* addon_object) {
  // The object's vtable is in llama-addon.node. Symbols are looked up through that file's handle,
  // which finds the libllama that it is linked with, even if several variants (CPU, CUDA, Vulkan)
  // are loaded.
  const void* vtable = *static_cast<const void* const*>(addon_object);
  Dl_info info;
  if (vtable == nullptr || dladdr(vtable, &info) == 0 || info.dli_fname == nullptr ||
      std::string(info.dli_fname).find("llama-addon") == std::string::npos) {
    throw std::runtime_error("the context does not belong to node-llama-cpp's addon");
  }
  void* handle = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr)
    throw std::runtime_error(std::string("cannot look into ") + info.dli_fname);
  Library library{};
  const char* missing = nullptr;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)> >(dlsym(handle, name));
    if (function == nullptr && missing == nullptr) missing = name;
  };
  find(library.decode, "llama_decode");
  find(library.synchronize, "llama_synchronize");
  find(library.n_ctx, "llama_n_ctx");
  find(library.n_batch, "llama_n_batch");
  find(library.get_model, "llama_get_model");
  find(library.n_embd_inp, "llama_model_n_embd_inp");
  find(library.rope_type, "llama_model_rope_type");
  find(library.get_memory, "llama_get_memory");
  find(library.memory_seq_rm, "llama_memory_seq_rm");
  find(library.set_abort_callback, "llama_set_abort_callback");
  dlclose(handle);  // RTLD_NOLOAD counted one more use; Node keeps the addon loaded.
  if (missing != nullptr)
    throw std::runtime_error(std::string("libllama has no function ") + missing);
  return library;
}

#endif

Target Target::Of(void* addon_object, uint32_t expected_context_size) {
  Target target{Library::Of(addon_object), static_cast<AddonContextHead*>(addon_object)->ctx};
  if (target.context == nullptr) throw std::runtime_error("the context is not loaded");
  const uint32_t size = target.library.n_ctx(target.context);
  if (size != expected_context_size) {
    throw std::runtime_error("the context's size is " + std::to_string(size) + " in libllama but " +
                             std::to_string(expected_context_size) + " in node-llama-cpp");
  }
  return target;
}

Outcome EvaluateEmbeddings(const Target& target, SequenceId sequence, Position first,
                           std::span<const float> embeddings, const std::atomic<bool>& cancelled) {
  const Library& library = target.library;
  const int rope = library.rope_type(library.get_model(target.context));
  if (rope == kRopeTypeMrope || rope == kRopeTypeImrope || rope == kRopeTypeVision) {
    throw std::runtime_error(
        "the model places tokens by several positions each (M-RoPE), which is not supported");
  }
  const auto width = static_cast<size_t>(target.Width());
  const size_t rows = embeddings.size() / width;
  const size_t batch_rows =
      std::max<size_t>(1, std::min<size_t>(rows, library.n_batch(target.context)));

  std::vector<Position> positions(batch_rows);
  std::vector<int32_t> sequence_counts(batch_rows, 1);
  std::vector<SequenceId*> sequence_ids(batch_rows, &sequence);
  std::vector<int8_t> logits(batch_rows, 0);

  Rollback rollback(target, sequence, first);
  AbortScope abort_scope(target, cancelled);
  for (size_t row = 0; row < rows; row += batch_rows) {
    if (cancelled.load(std::memory_order_relaxed)) return Outcome::kCancelled;
    const size_t count = std::min(batch_rows, rows - row);
    for (size_t i = 0; i < count; ++i) positions[i] = first + static_cast<Position>(row + i);
    // llama_batch has no const pointer, yet llama_decode only reads the embeddings.
    auto* values = const_cast<float*>(embeddings.data() + row * width);
    const Batch batch{
        static_cast<int32_t>(count), nullptr,      values, positions.data(), sequence_counts.data(),
        sequence_ids.data(),         logits.data()};
    const int32_t status = library.decode(target.context, batch);
    if (status == 1) return Outcome::kNoSpace;
    if (status == 2) return Outcome::kCancelled;
    if (status != 0)
      throw std::runtime_error("llama_decode failed with status " + std::to_string(status));
  }
  library.synchronize(target.context);
  rollback.Keep();
  return Outcome::kDone;
}

}  // namespace longvlm::llama
