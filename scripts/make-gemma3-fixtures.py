#!/usr/bin/env python3
"""Makes test/fixtures/towers/gemma3, with torch and transformers 5. Run it in the root:

python scripts/make-gemma3-fixtures.py path/to/llama.cpp

hub/                 the vision tower and the projector of a Gemma3Model with random weights, as transformers saves
                     them: 2 layers, 4 heads, 32 channels, 42 px, patches of 7 px, 9 tokens of 24 channels.
mmproj.gguf          the same, by llama.cpp's converter, the projector's matrix in float16.
expected.safetensors pixels [2, 3, 42, 42], and tokens: what get_image_features() gives for them. pictures [2, 9, 16],
                     and ids: the 16 tokens that a Gemma3ForConditionalGeneration finds likeliest behind BEFORE, the
                     first picture, BETWEEN, the second one and BEHIND.
llm.gguf             its language model: 6 layers, the last of which sees all, 16 channels, a vocabulary of bytes.
"""

import json
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Model

OUT = "test/fixtures/towers/gemma3"
VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 42,
    "patch_size": 7,
    "layer_norm_eps": 1e-6,
    "vision_use_head": False,
}
TEXT = {
    "model_type": "gemma3_text",
    "vocab_size": 8,
    "hidden_size": 24,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
PIXELS = {
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "Gemma3ImageProcessor",
    "image_seq_length": 9,
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "size": {"height": 42, "width": 42},
}

WORDS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
LANGUAGE = {
    **TEXT,
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 6,
    "query_pre_attn_scalar": 8,
    "sliding_window": 512,
}
BEFORE, BETWEEN, BEHIND = [1, 70, 80, 90], [100, 110, 120], [140, 150]
# Names in which transformers keeps a layer's weights, and llama.cpp's.
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def likeliest(pictures):
    """A language model, and the ids that it continues with: pictures attend to all of themselves."""
    config = Gemma3Config(vision_config=VISION, text_config=LANGUAGE, mm_tokens_per_image=9)
    model = Gemma3ForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # So large that ids differ from each other, and from those of causal attention.
            spread = 1.5 if "layernorm" in name else 0.1 if "embed" in name else 0.3
            parameter.add_(torch.randn_like(parameter) * spread)
    language = model.model.language_model
    ids = []
    for _ in range(16):
        parts = [BEFORE, pictures[0], BETWEEN, pictures[1], BEHIND + ids]
        rows = [part if torch.is_tensor(part) else language.embed_tokens(torch.tensor(part)) for part in parts]
        kinds = [[int(torch.is_tensor(part))] * len(part) for part in parts]
        with torch.no_grad():
            found = model(
                inputs_embeds=torch.cat(rows)[None],
                token_type_ids=torch.tensor([sum(kinds, [])]),
                use_cache=False,
            )
        ids.append(int(found.logits[0, -1].argmax()))
    return language, ids


def write_language(language):
    writer = gguf.GGUFWriter(f"{OUT}/llm.gguf", "gemma3")
    writer.add_context_length(1024)
    writer.add_embedding_length(LANGUAGE["hidden_size"])
    writer.add_block_count(LANGUAGE["num_hidden_layers"])
    writer.add_feed_forward_length(LANGUAGE["intermediate_size"])
    writer.add_head_count(LANGUAGE["num_attention_heads"])
    writer.add_head_count_kv(LANGUAGE["num_key_value_heads"])
    writer.add_key_length(LANGUAGE["head_dim"])
    writer.add_value_length(LANGUAGE["head_dim"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_float32("gemma3.rope.freq_base_swa", 1e4)
    writer.add_sliding_window(LANGUAGE["sliding_window"])
    kind = gguf.TokenType
    writer.add_tokenizer_model("llama")
    writer.add_token_list(WORDS)
    writer.add_token_scores([0.0] * len(WORDS))
    writer.add_token_types([kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *([kind.BYTE] * 256)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for name, parameter in language.named_parameters():
        values = parameter.detach().numpy().astype(np.float32)
        if name.startswith("layers."):
            _, layer, part = name.removesuffix(".weight").split(".", 2)
            named = f"blk.{layer}.{NAMES[part]}"
        else:
            named = {"embed_tokens.weight": "token_embd", "norm.weight": "output_norm"}[name]
        # Norms are stored as what is above 1.
        writer.add_tensor(f"{named}.weight", values + 1 if name.endswith("norm.weight") else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


os.makedirs(f"{OUT}/hub", exist_ok=True)
torch.manual_seed(31)
config = Gemma3Config(vision_config=VISION, text_config=TEXT, mm_tokens_per_image=9)
model = Gemma3Model(config).eval()
with torch.no_grad():
    for parameter in model.parameters():
        # Larger than transformers' initialisation, so that no term of a layer is negligible.
        parameter.add_(torch.randn_like(parameter) * 0.2)
    # Exact in float16, which the converter rounds it to.
    matrix = model.multi_modal_projector.mm_input_projection_weight
    matrix.copy_(matrix.half().float())
    pixels = torch.randn(2, 3, 42, 42)
    tokens = model.get_image_features(pixels).pooler_output.contiguous()
# By the names of published files.
weights = {
    name.replace("vision_tower.", "vision_tower.vision_model."): value.contiguous()
    for name, value in model.state_dict().items()
    if "language_model" not in name
}
save_file(weights, f"{OUT}/hub/model.safetensors", {"format": "pt"})
pictures = torch.randn(2, 9, 16) * 1.5
language, ids = likeliest(pictures)
write_language(language)
expected = {"pixels": pixels, "tokens": tokens, "pictures": pictures, "ids": torch.tensor(ids, dtype=torch.int32)}
save_file(expected, f"{OUT}/expected.safetensors")
print("ids:", ids)
whole = {**config.to_diff_dict(), "architectures": ["Gemma3ForConditionalGeneration"], "vision_config": VISION}
for name, value in (("config.json", whole), ("preprocessor_config.json", PIXELS)):
    with open(f"{OUT}/hub/{name}", "w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.write("\n")

with tempfile.TemporaryDirectory() as folder:
    # The converter takes names that are made of the folder's: one of the same name gives the same file.
    source = os.path.join(folder, "tiny")
    os.symlink(os.path.abspath(f"{OUT}/hub"), source)
    converter = [sys.executable, os.path.join(sys.argv[1], "convert_hf_to_gguf.py"), source, "--mmproj"]
    subprocess.run([*converter, "--outtype", "f32", "--outfile", os.path.join(folder, "mmproj.gguf")], check=True)
    os.replace(os.path.join(folder, "mmproj.gguf"), f"{OUT}/mmproj.gguf")
