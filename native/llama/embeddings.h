// Evaluates embeddings in a sequence of a llama.cpp context that node-llama-cpp has loaded into
// this process.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "llama/llama_abi.h"

namespace longvlm::llama {

// The functions of the libllama that `addon_object` was built against, looked up in the libraries
// already loaded.
struct Library {
  int32_t (*decode)(Context*, Batch);
  void (*synchronize)(Context*);
  uint32_t (*n_ctx)(const Context*);
  uint32_t (*n_batch)(const Context*);
  uint32_t (*n_ubatch)(const Context*);
  const Model* (*get_model)(const Context*);
  int32_t (*n_embd_inp)(const Model*);
  int (*rope_type)(const Model*);
  Memory* (*get_memory)(const Context*);
  bool (*memory_seq_rm)(Memory*, SequenceId, Position, Position);
  void (*set_abort_callback)(Context*, AbortCallback, void*);
  void (*set_causal_attn)(Context*, bool);

  // `addon_object` is what napi_unwrap gives for LlamaContext._ctx. Throws std::runtime_error when
  // it does not belong to node-llama-cpp's addon or a function is missing.
  static Library Of(const void* addon_object);
};

// A live context and the library that created it.
struct Target {
  Library library;
  Context* context;

  // Throws std::runtime_error unless the context's size is `expected_context_size`: this checks
  // that the object has the layout in llama_abi.h.
  static Target Of(void* addon_object, uint32_t expected_context_size);

  // Width of an input embedding. Where later layers add rows to it (DeepStack), with these rows.
  int32_t Width() const { return library.n_embd_inp(library.get_model(context)); }
  // Places of a token: 1, or 3 in time, height and width (M-RoPE).
  int32_t Axes() const;
  // The most embeddings that are evaluated at once.
  uint32_t BatchSize() const {
    return std::min(library.n_batch(context), library.n_ubatch(context));
  }
};

// Rows of embeddings, read in place; they must outlive the call.
struct Embeddings {
  std::span<const float> values;       // [rows, width], row-major
  std::span<const int32_t> positions;  // [rows, 3] in time, height and width, from `first` on; for
                                       // one axis, or one after another: empty
  bool causal;                         // false: each row attends to all rows
};

enum class Outcome { kDone, kCancelled, kNoSpace };

// Evaluates embeddings at positions first, first + 1, … of `sequence`, or at their own, in batches
// of at most the context's batch size, without computing logits.
//   cancelled   polled between graph nodes (CPU) and between batches; when set, the call ends early
// Unless the outcome is kDone, all evaluated embeddings are removed from the sequence again.
// Throws std::runtime_error when llama.cpp fails. Blocks; the caller must hold node-llama-cpp's
// lock of the context.
// Source: llama.cpp, src/llama-batch.cpp and tools/mtmd/mtmd-helper.cpp (planes of positions).
Outcome EvaluateEmbeddings(const Target& target, SequenceId sequence, Position first,
                           const Embeddings& embeddings, const std::atomic<bool>& cancelled);

}  // namespace longvlm::llama
