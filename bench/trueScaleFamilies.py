"""Makes models of real size with random weights, each as an mmproj file and a language model.

    python bench/trueScaleFamilies.py build/true-scale --vocabularies llama.cpp/models [--models internvl3.5-2b]

longvlm and llama-mtmd-cli both take them. Needs numpy and gguf. The vocabularies are llama.cpp's ggml-vocab-*.gguf:
that of Qwen2, and that of GPT-2 cut to SmolLM2's size. The answers of such a model are noise: use it for times,
memory and token counts only. llama.cpp cuts pictures that are larger than the tower's into tiles, and those of SmolVLM
into one in any case; longvlm does not: give it frames of 448 or 512 pixels.
"""

import argparse
import pathlib
from typing import Any, NamedTuple

import gguf
import numpy
from gguf.quants import quantize

Type = gguf.GGMLQuantizationType


class Tower(NamedTuple):
    kind: str
    image: int
    patch: int
    channels: int
    feed_forward: int
    layers: int
    heads: int
    scale: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Language(NamedTuple):
    kind: str
    name: str
    width: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool
    rope: float
    epsilon: float
    context: int
    words: str
    template: str


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALVES = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SMOLVLM = (
    "<|im_start|>{% for message in messages %}{{ message['role'].capitalize() + ': ' + message['content'] }}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
MODELS = {
    "internvl3.5-2b": (
        Tower("internvl", 448, 14, 1024, 4096, 24, 16, 2, *IMAGENET),
        Language(
            *("qwen3", "internvl3.5-2b", 2048, 6144, 28, 16, 8, 128, 151936, True, 1e6, 1e-6, 40960),
            *("qwen2", CHATML),
        ),
    ),
    "smolvlm2-500m": (
        Tower("idefics3", 512, 16, 768, 3072, 12, 12, 4, *HALVES),
        Language(
            *("llama", "smolvlm2-500m", 960, 2560, 32, 15, 5, 64, 49280, False, 1e5, 1e-5, 8192),
            *("gpt-2", SMOLVLM),
        ),
    ),
}
# Behind the vocabulary's own words; those of layouts of prompts.
SPECIAL = {
    "qwen2": ["<img>", "</img>", "<IMG_CONTEXT>"],
    "gpt-2": [
        *("<|im_start|>", "<|im_end|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>", "<image>"),
        *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    ],
}

generator = numpy.random.default_rng(0)
# Large tensors are stretches of this one: their values matter to nobody, and normal ones take minutes.
pool = generator.standard_normal(1 << 24, numpy.float32) * 0.02


class File:
    """A GGUF file whose tensors are made when they are written."""

    def __init__(self, path: pathlib.Path, kind: str, matrices: Type):
        self.writer = gguf.GGUFWriter(path, kind)
        self.matrices = matrices
        self.tensors: list[tuple[tuple[int, ...], Type, float | None]] = []

    def add(self, name: str, *shape: int, kind: Type = Type.F32, value: float | None = None) -> None:
        """A tensor of random values, or of one value."""
        if kind == Type.Q8_0:
            stored = (*shape[:-1], shape[-1] // 32 * 34)
            self.writer.add_tensor_info(name, stored, numpy.dtype(numpy.uint8), int(numpy.prod(stored)), raw_dtype=kind)
        else:
            dtype = numpy.dtype(numpy.float16 if kind == Type.F16 else numpy.float32)
            self.writer.add_tensor_info(name, shape, dtype, int(numpy.prod(shape)) * dtype.itemsize)
        self.tensors.append((shape, kind, value))

    def matrix(self, name: str, outputs: int, inputs: int) -> None:
        self.add(f"{name}.weight", outputs, inputs, kind=self.matrices)

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.matrix(name, outputs, inputs)
        self.add(f"{name}.bias", outputs)

    def norm(self, name: str, channels: int, bias: bool = True) -> None:
        self.add(f"{name}.weight", channels, value=1)
        if bias:
            self.add(f"{name}.bias", channels, value=0)

    def write(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_ti_data_to_file()
        blocks = quantize(pool.reshape(-1, 32), Type.Q8_0) if self.matrices == Type.Q8_0 else pool
        halves = pool.astype(numpy.float16)
        for shape, kind, value in self.tensors:
            count = int(numpy.prod(shape))
            if value is not None:
                self.writer.write_tensor_data(numpy.full(shape, value, numpy.float32))
            elif kind == Type.Q8_0:
                self.writer.write_tensor_data(stretch(blocks, count // 32).reshape(*shape[:-1], -1))
            else:
                self.writer.write_tensor_data(stretch(halves if kind == Type.F16 else pool, count).reshape(shape))
        self.writer.close()


def stretch(values: numpy.ndarray, count: int) -> numpy.ndarray:
    """`count` rows of `values` from anywhere, from the beginning again behind its end."""
    start = int(generator.integers(len(values)))
    return numpy.take(values, numpy.arange(start, start + count), axis=0, mode="wrap")


def make_mmproj(path: pathlib.Path, tower: Tower, width: int, matrices: Type) -> None:
    file = File(path, "clip", matrices)
    writer, channels = file.writer, tower.channels
    is_internvl = tower.kind == "internvl"
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", tower.kind)
    writer.add_bool("clip.use_gelu", True)
    for key, value in {
        "image_size": tower.image,
        "patch_size": tower.patch,
        "embedding_length": channels,
        "feed_forward_length": tower.feed_forward,
        "projection_dim": width,
        "attention.head_count": tower.heads,
        "block_count": tower.layers,
        "projector.scale_factor": tower.scale,
        **({} if is_internvl else {"preproc_image_size": tower.image}),
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", list(tower.mean))
    writer.add_array("clip.vision.image_std", list(tower.std))
    positions = (tower.image // tower.patch) ** 2 + (1 if is_internvl else 0)
    if is_internvl:
        file.add("v.class_embd", channels)
    file.add("v.patch_embd.weight", channels, 3, tower.patch, tower.patch, kind=Type.F16)
    file.add("v.patch_embd.bias", channels)
    file.add("v.position_embd.weight", positions, channels)
    for layer in range(tower.layers):
        block = f"v.blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            file.linear(f"{block}.{name}", channels, channels)
        file.norm(f"{block}.ln1", channels)
        file.norm(f"{block}.ln2", channels)
        file.linear(f"{block}.ffn_up", tower.feed_forward, channels)
        file.linear(f"{block}.ffn_down", channels, tower.feed_forward)
        if is_internvl:
            file.add(f"{block}.ls1.weight", channels, value=0.1)
            file.add(f"{block}.ls2.weight", channels, value=0.1)
    shuffled = channels * tower.scale**2
    if is_internvl:
        file.norm("mm.model.mlp.0", shuffled)
        file.linear("mm.model.mlp.1", width, shuffled)
        file.linear("mm.model.mlp.3", width, width)
    else:
        file.norm("v.post_ln", channels)
        file.matrix("mm.model.fc", width, shuffled)
    file.write()


def add_words(writer: gguf.GGUFWriter, folder: pathlib.Path, language: Language) -> None:
    reader = gguf.GGUFReader(folder / f"ggml-vocab-{language.words}.gguf")

    def field(name: str) -> Any:
        return reader.fields[f"tokenizer.ggml.{name}"].contents()

    special = SPECIAL[language.words]
    tokens, types = list(field("tokens")), list(field("token_type"))
    # Of Qwen2's those that only fill it up.
    own = min(len([token for token in tokens if not token.startswith("[PAD")]), language.vocabulary - len(special))
    fill = [f"[PAD{index}]" for index in range(language.vocabulary - own - len(special))]
    tokens = [*tokens[:own], *special, *fill]
    types = [*types[:own], *([gguf.TokenType.CONTROL] * len(special)), *([gguf.TokenType.UNUSED] * len(fill))]
    known = set(tokens)
    merges = [pair for pair in field("merges") if pair.replace(" ", "") in known]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if language.words == "qwen2" else "smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    end = tokens.index("<|im_end|>" if language.words == "qwen2" else "<end_of_utterance>")
    writer.add_eos_token_id(end)
    writer.add_bos_token_id(tokens.index("<|im_start|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(language.template)


def make_language(path: pathlib.Path, language: Language, matrices: Type, vocabularies: pathlib.Path) -> None:
    file = File(path, language.kind, matrices)
    writer, width = file.writer, language.width
    writer.add_name(f"true-scale {language.name}")
    writer.add_context_length(language.context)
    writer.add_embedding_length(width)
    writer.add_block_count(language.layers)
    writer.add_feed_forward_length(language.feed_forward)
    writer.add_head_count(language.heads)
    writer.add_head_count_kv(language.kv_heads)
    writer.add_key_length(language.head_width)
    writer.add_value_length(language.head_width)
    writer.add_layer_norm_rms_eps(language.epsilon)
    writer.add_rope_freq_base(language.rope)
    writer.add_rope_dimension_count(language.head_width)
    writer.add_vocab_size(language.vocabulary)
    is_q8 = matrices == Type.Q8_0
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if is_q8 else gguf.LlamaFileType.MOSTLY_F16)
    add_words(writer, vocabularies, language)
    file.matrix("token_embd", language.vocabulary, width)
    if not language.tied:
        file.matrix("output", language.vocabulary, width)
    file.norm("output_norm", width, bias=False)
    queries, keys = language.heads * language.head_width, language.kv_heads * language.head_width
    for layer in range(language.layers):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", width, bias=False)
        file.norm(f"{block}.ffn_norm", width, bias=False)
        file.matrix(f"{block}.attn_q", queries, width)
        file.matrix(f"{block}.attn_k", keys, width)
        file.matrix(f"{block}.attn_v", keys, width)
        file.matrix(f"{block}.attn_output", width, queries)
        if language.kind == "qwen3":
            file.norm(f"{block}.attn_q_norm", language.head_width, bias=False)
            file.norm(f"{block}.attn_k_norm", language.head_width, bias=False)
        file.matrix(f"{block}.ffn_gate", language.feed_forward, width)
        file.matrix(f"{block}.ffn_up", language.feed_forward, width)
        file.matrix(f"{block}.ffn_down", width, language.feed_forward)
    file.write()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--vocabularies", type=pathlib.Path, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--type", choices=("F16", "Q8_0"), default="Q8_0", help="of the language model's matrices")
    parser.add_argument("--mmproj-type", choices=("F16", "Q8_0"), default="F16")
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    for model in flags.models:
        tower, language = MODELS[model]
        mmproj = flags.folder / f"mmproj-{model}-{flags.mmproj_type}.gguf"
        make_mmproj(mmproj, tower, language.width, Type[flags.mmproj_type])
        make_language(flags.folder / f"{model}-{flags.type}.gguf", language, Type[flags.type], flags.vocabularies)
