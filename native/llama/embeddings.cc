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

// Embeddings that attend to each other in both directions. The texts around them do not.
class AttentionScope {
 public:
  AttentionScope(const Target& target, bool causal) : target_(target), causal_(causal) {
    if (!causal_) target_.library.set_causal_attn(target_.context, false);
  }
  AttentionScope(const AttentionScope&) = delete;
  AttentionScope& operator=(const AttentionScope&) = delete;
  ~AttentionScope() {
    if (!causal_) target_.library.set_causal_attn(target_.context, true);
  }

 private:
  const Target& target_;
  bool causal_;
};

// llama.cpp's planes of positions, one after another: time, height, width, and one that stays 0.
constexpr size_t kPlanes = 4;
constexpr size_t kAxes = 3;

// Writes the positions of a batch, the rows from `row` on.
void PlacePositions(const Embeddings& embeddings, Position first, size_t row, size_t count,
                    std::vector<Position>& positions) {
  const size_t planes = positions.size() / count;
  for (size_t i = 0; i < count; ++i) {
    const auto next = static_cast<Position>(row + i);
    for (size_t axis = 0; axis < std::min(planes, kAxes); ++axis) {
      const Position own =
          embeddings.positions.empty() ? next : embeddings.positions[(row + i) * kAxes + axis];
      positions[axis * count + i] = first + own;
    }
  }
}

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
  find(library.n_ubatch, "llama_n_ubatch");
  find(library.get_model, "llama_get_model");
  find(library.n_embd_inp, "llama_model_n_embd_inp");
  find(library.rope_type, "llama_model_rope_type");
  find(library.get_memory, "llama_get_memory");
  find(library.memory_seq_rm, "llama_memory_seq_rm");
  find(library.set_abort_callback, "llama_set_abort_callback");
  find(library.set_causal_attn, "llama_set_causal_attn");
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

int32_t Target::Axes() const {
  switch (library.rope_type(library.get_model(context))) {
    case kRopeTypeMrope:
    case kRopeTypeImrope:
    case kRopeTypeVision:
      return static_cast<int32_t>(kAxes);
    default:
      return 1;
  }
}

Outcome EvaluateEmbeddings(const Target& target, SequenceId sequence, Position first,
                           const Embeddings& embeddings, const std::atomic<bool>& cancelled) {
  const Library& library = target.library;
  const auto width = static_cast<size_t>(target.Width());
  const size_t planes = target.Axes() == 1 ? 1 : kPlanes;
  const size_t rows = embeddings.values.size() / width;
  const size_t batch_rows = std::max<size_t>(1, std::min<size_t>(rows, target.BatchSize()));
  if (!embeddings.causal && batch_rows < rows)
    throw std::runtime_error("embeddings that attend to each other do not fit into one batch");

  std::vector<Position> positions;  // [planes, rows of the batch]
  std::vector<int32_t> sequence_counts(batch_rows, 1);
  std::vector<SequenceId*> sequence_ids(batch_rows, &sequence);
  std::vector<int8_t> logits(batch_rows, 0);

  Rollback rollback(target, sequence, first);
  AbortScope abort_scope(target, cancelled);
  AttentionScope attention_scope(target, embeddings.causal);
  for (size_t row = 0; row < rows; row += batch_rows) {
    if (cancelled.load(std::memory_order_relaxed)) return Outcome::kCancelled;
    const size_t count = std::min(batch_rows, rows - row);
    positions.assign(planes * count, 0);
    PlacePositions(embeddings, first, row, count, positions);
    // llama_batch has no const pointer, yet llama_decode only reads the embeddings.
    auto* values = const_cast<float*>(embeddings.values.data() + row * width);
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
