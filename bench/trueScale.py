"""Makes models of real size with random weights: an mmproj (LLaVA-1.5, ViT-L/14) and a LLaMA (1.1 billion, Q4_0).

    python bench/trueScale.py build/true-scale [--image 336]

Needs numpy and gguf. The answers of such a model are noise: use it for times, memory and token counts only.
"""

import argparse
import pathlib

import gguf
import numpy
from gguf.quants import quantize

CHANNELS, FEED_FORWARD, LAYERS, HEADS, PATCH = 1024, 4096, 24, 16, 14
WIDTH, LLAMA_FEED_FORWARD, LLAMA_LAYERS, LLAMA_HEADS, LLAMA_KV_HEADS, VOCABULARY = 2048, 5632, 22, 32, 4, 32000
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

generator = numpy.random.default_rng(0)


def random(*shape: int) -> numpy.ndarray:
    return generator.standard_normal(shape, numpy.float32) * 0.02


def write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_mmproj(file: pathlib.Path, image: int) -> None:
    writer = gguf.GGUFWriter(file, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", False)
    for key, value in {
        "image_size": image,
        "patch_size": PATCH,
        "embedding_length": CHANNELS,
        "feed_forward_length": FEED_FORWARD,
        "projection_dim": 768,
        "attention.head_count": HEADS,
        "block_count": LAYERS - 1,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", list(MEAN))
    writer.add_array("clip.vision.image_std", list(STD))

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(name, random(*shape).astype(numpy.float16))

    def linear(name: str, outputs: int, inputs: int) -> None:
        matrix(f"{name}.weight", outputs, inputs)
        writer.add_tensor(f"{name}.bias", random(outputs))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", numpy.ones(CHANNELS, numpy.float32))
        writer.add_tensor(f"{name}.bias", numpy.zeros(CHANNELS, numpy.float32))

    writer.add_tensor("v.class_embd", random(CHANNELS))
    matrix("v.patch_embd.weight", CHANNELS, 3, PATCH, PATCH)
    matrix("v.position_embd.weight", (image // PATCH) ** 2 + 1, CHANNELS)
    norm("v.pre_ln")
    for layer in range(LAYERS - 1):
        block = f"v.blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            linear(f"{block}.{name}", CHANNELS, CHANNELS)
        norm(f"{block}.ln1")
        norm(f"{block}.ln2")
        linear(f"{block}.ffn_up", FEED_FORWARD, CHANNELS)
        linear(f"{block}.ffn_down", CHANNELS, FEED_FORWARD)
    linear("mm.0", WIDTH, CHANNELS)
    linear("mm.2", WIDTH, WIDTH)
    write(writer)


def make_llama(file: pathlib.Path) -> None:
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("true-scale")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LLAMA_LAYERS)
    writer.add_feed_forward_length(LLAMA_FEED_FORWARD)
    writer.add_head_count(LLAMA_HEADS)
    writer.add_head_count_kv(LLAMA_KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // LLAMA_HEADS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    special = ["<unk>", "<s>", "</s>"]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [f"\u2581w{i}" for i in range(VOCABULARY - len(pieces))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * (VOCABULARY - 259)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(VOCABULARY - 259)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)

    def matrix(name: str, outputs: int, inputs: int) -> None:
        kind = gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor(f"{name}.weight", quantize(random(outputs, inputs), kind), raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", numpy.ones(WIDTH, numpy.float32))

    matrix("token_embd", VOCABULARY, WIDTH)
    matrix("output", VOCABULARY, WIDTH)
    norm("output_norm")
    kv_width = WIDTH // LLAMA_HEADS * LLAMA_KV_HEADS
    for layer in range(LLAMA_LAYERS):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm")
        norm(f"{block}.ffn_norm")
        matrix(f"{block}.attn_q", WIDTH, WIDTH)
        matrix(f"{block}.attn_k", kv_width, WIDTH)
        matrix(f"{block}.attn_v", kv_width, WIDTH)
        matrix(f"{block}.attn_output", WIDTH, WIDTH)
        matrix(f"{block}.ffn_gate", LLAMA_FEED_FORWARD, WIDTH)
        matrix(f"{block}.ffn_up", LLAMA_FEED_FORWARD, WIDTH)
        matrix(f"{block}.ffn_down", WIDTH, LLAMA_FEED_FORWARD)
    write(writer)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--image", type=int, choices=(224, 336), default=224)
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    make_mmproj(flags.folder / f"mmproj-{flags.image}-f16.gguf", flags.image)
    if not (flags.folder / "llama-1.1b-Q4_0.gguf").exists():
        make_llama(flags.folder / "llama-1.1b-Q4_0.gguf")
