// The declarations of llama.cpp and node-llama-cpp that embeddings need, for the release that
// package.json pins.
//
// They are restated here, instead of included, because llama.h ships only inside a git bundle of
// node-llama-cpp, and a user's machine may have no git. scripts/check-llama-abi.mjs compiles them
// against the originals and fails on any difference; loading fails with a clear error when another
// release of node-llama-cpp is found.
#pragma once

#include <cstddef>
#include <cstdint>

#include "napi/napi_setup.h"

namespace longvlm::llama {

using Token = int32_t;
using Position = int32_t;
using SequenceId = int32_t;
using AbortCallback = bool (*)(void* data);

struct Context;  // llama_context
struct Model;    // llama_model
struct Memory;   // llama_memory_i

// llama_batch
struct Batch {
  int32_t n_tokens;
  Token* token;
  float* embd;
  Position* pos;
  int32_t* n_seq_id;
  SequenceId** seq_id;
  int8_t* logits;
};

// enum llama_rope_type: the kinds that take more than one position for a token.
constexpr int kRopeTypeMrope = 8;
constexpr int kRopeTypeVision = 24;
constexpr int kRopeTypeImrope = 40;

// sizeof(llama_context_params)
constexpr size_t kContextParamsBytes = 160;

// The head of AddonContext, the object behind node-llama-cpp's LlamaContext._ctx, up to its
// llama_context.
class AddonContextHead : public Napi::ObjectWrap<AddonContextHead> {
 public:
  void* model;
  alignas(8) unsigned char context_params[kContextParamsBytes];
  Context* ctx;
};

}  // namespace longvlm::llama
