// Compiled, never run, by check-llama-abi.mjs: what native/llama/llama_abi.h restates, against the
// originals.
#include <cstddef>
#include <type_traits>

#include "AddonContext.h"
#include "AddonModel.h"
#include "llama/embeddings.h"

namespace abi = longvlm::llama;

#define SAME_PLACE(a, b, member) static_assert(offsetof(a, member) == offsetof(b, member), #member)

static_assert(offsetof(AddonContext, model) == offsetof(abi::AddonContextHead, model));
static_assert(offsetof(AddonContext, context_params) ==
              offsetof(abi::AddonContextHead, context_params));
static_assert(offsetof(AddonContext, ctx) == offsetof(abi::AddonContextHead, ctx));
static_assert(sizeof(llama_context_params) == abi::kContextParamsBytes);

static_assert(sizeof(llama_batch) == sizeof(abi::Batch));
SAME_PLACE(llama_batch, abi::Batch, n_tokens);
SAME_PLACE(llama_batch, abi::Batch, token);
SAME_PLACE(llama_batch, abi::Batch, embd);
SAME_PLACE(llama_batch, abi::Batch, pos);
SAME_PLACE(llama_batch, abi::Batch, n_seq_id);
SAME_PLACE(llama_batch, abi::Batch, seq_id);
SAME_PLACE(llama_batch, abi::Batch, logits);

static_assert(std::is_same_v<llama_token, abi::Token>);
static_assert(std::is_same_v<llama_pos, abi::Position>);
static_assert(std::is_same_v<llama_seq_id, abi::SequenceId>);
static_assert(std::is_same_v<ggml_abort_callback, abi::AbortCallback>);
static_assert(LLAMA_ROPE_TYPE_MROPE == abi::kRopeTypeMrope);
static_assert(LLAMA_ROPE_TYPE_VISION == abi::kRopeTypeVision);
static_assert(LLAMA_ROPE_TYPE_IMROPE == abi::kRopeTypeImrope);

static_assert(std::is_same_v<decltype(&llama_decode), int32_t (*)(llama_context*, llama_batch)>);
static_assert(std::is_same_v<decltype(&llama_synchronize), void (*)(llama_context*)>);
static_assert(std::is_same_v<decltype(&llama_n_ctx), uint32_t (*)(const llama_context*)>);
static_assert(std::is_same_v<decltype(&llama_n_batch), uint32_t (*)(const llama_context*)>);
static_assert(std::is_same_v<decltype(&llama_n_ubatch), uint32_t (*)(const llama_context*)>);
static_assert(
    std::is_same_v<decltype(&llama_get_model), const llama_model* (*)(const llama_context*)>);
static_assert(std::is_same_v<decltype(&llama_model_n_embd_inp), int32_t (*)(const llama_model*)>);
static_assert(
    std::is_same_v<decltype(&llama_model_rope_type), enum llama_rope_type (*)(const llama_model*)>);
static_assert(
    std::is_same_v<decltype(&llama_get_memory), llama_memory_t (*)(const llama_context*)>);
static_assert(std::is_same_v<decltype(&llama_memory_seq_rm),
                             bool (*)(llama_memory_t, llama_seq_id, llama_pos, llama_pos)>);
static_assert(std::is_same_v<decltype(&llama_set_abort_callback),
                             void (*)(llama_context*, ggml_abort_callback, void*)>);
static_assert(std::is_same_v<decltype(&llama_set_causal_attn), void (*)(llama_context*, bool)>);
