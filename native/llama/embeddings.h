// Evaluates embeddings in a sequence of a llama.cpp context that node-llama-cpp has loaded into
// this process.
#pragma once

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
  const Model* (*get_model)(const Context*);
  int32_t (*n_embd_inp)(const Model*);
  int (*rope_type)(const Model*);
  Memory* (*get_memory)(const Context*);
  bool (*memory_seq_rm)(Memory*, SequenceId, Position, Position);
  void (*set_abort_callback)(Context*, AbortCallback, void*);

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

  // Width of an input embedding.
  int32_t Width() const { return library.n_embd_inp(library.get_model(context)); }
};

enum class Outcome { kDone, kCancelled, kNoSpace };

// Evaluates rows of `embeddings` ([rows, width] float32, row-major) at positions first, first + 1,
// … of `sequence`, in batches of at most the context's batch size, without computing logits.
//   embeddings  read in place, not written; must outlive the call
//   cancelled   polled between graph nodes (CPU) and between batches; when set, the call ends early
// Unless the outcome is kDone, all evaluated embeddings are removed from the sequence again.
// Throws std::runtime_error when llama.cpp fails. Blocks; the caller must hold node-llama-cpp's
// lock of the context.
Outcome EvaluateEmbeddings(const Target& target, SequenceId sequence, Position first,
                           std::span<const float> embeddings, const std::atomic<bool>& cancelled);

}  // namespace longvlm::llama
