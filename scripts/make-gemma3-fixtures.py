#!/usr/bin/env python3
"""Makes test/fixtures/towers/gemma3, with torch and transformers 5. Run it in the root:

python scripts/make-gemma3-fixtures.py path/to/llama.cpp

hub/                 the vision tower and the projector of a Gemma3Model with random weights, as transformers saves
                     them: 2 layers, 4 heads, 32 channels, 42 px, patches of 7 px, 9 tokens of 96 channels.
mmproj.gguf          the same, by llama.cpp's converter, the projector's matrix in float16.
expected.safetensors pixels [2, 3, 42, 42], and tokens: what get_image_features() gives for them. answers [2, 16]: the
                     tokens that the Gemma 3 of test/fixtures/llms finds likeliest to QUESTIONS about two pictures
                     that attend to all of themselves.
first.png second.png these: 42 px wide and high.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import Gemma3Config, Gemma3Model

sys.path.insert(0, "test/fixtures/llms")
from make import WIDTH, Run, UnfitError, answers_of, new_model, spread, tokenize  # noqa: E402
from vocabularies import vocabularies  # noqa: E402

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
    "hidden_size": WIDTH,
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

PIECE = "er"
WORDS = vocabularies(pathlib.Path("test/fixtures"))["gemma3"]
QUESTIONS = ["Who?", "And?"]
# Of letters and pieces, as the vocabulary cuts them; a special token is alone.
BEFORE = [
    ["<bos>", "<start_of_turn>", "us", PIECE, "\n\n\n", "<start_of_image>"],
    ["<end_of_image>", "\n\n\n\n", "<start_of_image>"],
]
ANSWERING = ["<end_of_turn>", "\n", "<start_of_turn>", "model\n"]
TURNS = [
    ["<end_of_image>", "\n\n" + QUESTIONS[0], *ANSWERING],
    ["<end_of_turn>", "\n", "<start_of_turn>", "us", PIECE, "\n" + QUESTIONS[1], *ANSWERING],
]


def cut(parts):
    """Ids of a prompt, of single letters but for PIECE and special tokens."""
    return [token for part in parts for token in ([WORDS.id(part)] if part == PIECE else tokenize(WORDS, [part], 0))]


def answers():
    """Frames, and what the language model answers about them: of those in which answers are no near ties."""
    language = new_model("gemma3", WORDS).eval()
    made = json.loads(pathlib.Path("test/fixtures/llms/expected.json").read_text())
    spread(language, WORDS, made["gemma3"]["seed"])
    turns = [cut(turn) for turn in TURNS]
    for seed in range(10000):
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 256, (2, 42, 42, 3), generator=generator, dtype=torch.uint8)
        with torch.no_grad():
            seen = model.get_image_features((frames.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).pooler_output
            runs = [Run(cut(before), rows, [], None, []) for before, rows in zip(BEFORE, seen, strict=True)]
            for run in runs:
                run.kept = list(range(len(run.tokens)))
            try:
                found, margin = answers_of(language, runs, turns, WORDS)
            except UnfitError:
                continue
            if answers_of(language, runs, turns, WORDS, is_wrong=True)[0] != found:
                print(f"seed {seed}, answers lead by {margin:.2f}: {found}")
                return frames, torch.tensor(found, dtype=torch.int32)


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
frames, found = answers()
save_file({"pixels": pixels, "tokens": tokens, "answers": found}, f"{OUT}/expected.safetensors")
for name, frame in zip(("first", "second"), frames, strict=True):
    Image.fromarray(frame.numpy()).save(f"{OUT}/{name}.png")
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
