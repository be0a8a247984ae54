"""Writes trained models in the library's formats: a CLIP folder, a projector, a GGUF file; weights in float16."""

import json
import pathlib

import gguf
import numpy
import torch
from safetensors.torch import save

from settings import FRAMES, GLOBAL_LAYERS, IMAGE_SIZE, RESIZE, SEGMENT_FRAMES, TOKENS_PER_SEGMENT
from vocabulary import BEGIN, END, UNKNOWN

PREPROCESSOR = {
    "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": IMAGE_SIZE},
}
PRESET = {
    "frames": FRAMES,
    "segmentFrames": SEGMENT_FRAMES,
    "tokensPerSegment": TOKENS_PER_SEGMENT,
    "globalLayers": GLOBAL_LAYERS,
    "resize": RESIZE,
    "temperature": 0,
    "template": {
        "name": "nano",
        "system": "",
        "user": "USER",
        "assistant": "ASSISTANT",
        "separator": " ",
        "videoStart": "<vid_start>",
        "videoEnd": "<vid_end>",
    },
}


def write_json(file: pathlib.Path, value) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n")


def export_tower(tower, folder: pathlib.Path) -> None:
    tower.half().save_pretrained(folder)
    tower.float()
    write_json(folder / "preprocessor_config.json", PREPROCESSOR)


def export_projector(projector: torch.nn.Linear, file: pathlib.Path) -> None:
    weights = {"mm_projector.weight": projector.weight, "mm_projector.bias": projector.bias}
    file.write_bytes(save({name: weight.detach().half().contiguous() for name, weight in weights.items()}))


def rotary_order(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key matrix in llama.cpp's order, which pairs neighbours where Hugging Face pairs halves."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def export_language_model(model, vocabulary, file: pathlib.Path) -> None:
    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("longvlm nano")
    writer.add_license("MIT")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(config.vocab_size)

    pieces = range(vocabulary.get_piece_size())
    writer.add_tokenizer_model("llama")
    writer.add_token_list([vocabulary.id_to_piece(i) for i in pieces])
    writer.add_token_scores([vocabulary.get_score(i) for i in pieces])
    writer.add_token_types([token_type(vocabulary, i) for i in pieces])
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)

    weights = model.state_dict()
    heads = config.num_attention_heads
    add_matrix(writer, "token_embd", weights["model.embed_tokens.weight"])
    add_norm(writer, "output_norm", weights["model.norm.weight"])
    for layer in range(config.num_hidden_layers):
        of = lambda name: weights[f"model.layers.{layer}.{name}.weight"]  # noqa: B023, E731
        block = f"blk.{layer}"
        add_norm(writer, f"{block}.attn_norm", of("input_layernorm"))
        add_norm(writer, f"{block}.ffn_norm", of("post_attention_layernorm"))
        add_matrix(writer, f"{block}.attn_q", rotary_order(of("self_attn.q_proj"), heads))
        add_matrix(writer, f"{block}.attn_k", rotary_order(of("self_attn.k_proj"), config.num_key_value_heads))
        add_matrix(writer, f"{block}.attn_v", of("self_attn.v_proj"))
        add_matrix(writer, f"{block}.attn_output", of("self_attn.o_proj"))
        add_matrix(writer, f"{block}.ffn_gate", of("mlp.gate_proj"))
        add_matrix(writer, f"{block}.ffn_up", of("mlp.up_proj"))
        add_matrix(writer, f"{block}.ffn_down", of("mlp.down_proj"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def token_type(vocabulary, piece: int) -> gguf.TokenType:
    if vocabulary.is_unknown(piece):
        return gguf.TokenType.UNKNOWN
    if vocabulary.is_control(piece):
        return gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if vocabulary.is_byte(piece) else gguf.TokenType.NORMAL


def add_matrix(writer: gguf.GGUFWriter, name: str, weight: torch.Tensor) -> None:
    writer.add_tensor(f"{name}.weight", weight.half().contiguous().numpy())


def add_norm(writer: gguf.GGUFWriter, name: str, weight: torch.Tensor) -> None:
    writer.add_tensor(f"{name}.weight", weight.float().numpy().astype(numpy.float32))


def export(folder: pathlib.Path, tower, projector, model, vocabulary) -> None:
    """Writes models/nano, except its model card."""
    folder.mkdir(parents=True, exist_ok=True)
    export_tower(tower, folder / "clip")
    export_projector(projector, folder / "projector.safetensors")
    export_language_model(model, vocabulary, folder / "llm.gguf")
    write_json(folder / "preset.json", PRESET)
