#!/usr/bin/env python3
"""Makes test/fixtures/towers/qwen3_vl. Run it in the repository's root, with torch, torchvision, transformers 5,
safetensors, pillow and gguf: make-qwen3vl-fixtures.py <convert_hf_to_gguf.py of llama.cpp>

config.json, model.safetensors, preprocessor_config.json, video_preprocessor_config.json
                       the vision tower of a Qwen3VLModel with random weights: 3 layers, 2 heads, 16 channels,
                       patches of 4 px, positions learned on a grid of 6 x 6, DeepStack after layers 0 and 1, embeddings
                       of 12 values.
mmproj.gguf            the same by llama.cpp's converter, in float32.
expected.safetensors   for grids "2 6 8", "1 2 10" and "1 6 6" of steps, rows and columns: "pixels <grid>",
                       "tokens <grid>", "deepstack0 <grid>" and "deepstack1 <grid>" as get_video_features() gives
                       them; for the pictures: "resized <name>" [height, width, 3], and "tokens <name>" and
                       "deepstack... <name>" of two such frames, through Qwen3VLVideoProcessor.
landscape.png, portrait.png    101 x 67 and 67 x 101 pixels.
sizes.json             sizes of frames by Qwen3VLVideoProcessor.
"""

import json
import os
import subprocess
import sys
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import Qwen3VLConfig, Qwen3VLModel
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.video_processing_utils import BaseVideoProcessor

OUT = "test/fixtures/towers/qwen3_vl"
PATCH, MERGE, STEP = 4, 2, 2
GRIDS = [(2, 6, 8), (1, 2, 10), (1, 6, 6)]
WIDTH = 12

os.makedirs(OUT, exist_ok=True)
torch.manual_seed(23)
config = Qwen3VLConfig(
    architectures=["Qwen3VLForConditionalGeneration"],
    vision_config={
        "depth": 3,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": STEP,
        "num_position_embeddings": 36,
        "out_hidden_size": WIDTH,
        "deepstack_visual_indexes": [0, 1],
    },
    text_config={
        "vocab_size": 8,
        "hidden_size": WIDTH,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 12,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2], "mrope_interleaved": True},
    },
)
model = Qwen3VLModel(config).eval()
with torch.no_grad():
    for parameter in model.parameters():
        # Larger than Hugging Face's initialisation, so that no term of a layer is negligible.
        parameter.add_(torch.randn_like(parameter) * 0.25)
config.save_pretrained(OUT)
weights = {
    f"model.{name}": value.contiguous() for name, value in model.state_dict().items() if name.startswith("visual.")
}
save_file(weights, f"{OUT}/model.safetensors")


def outputs(pixels, grid, name):
    with torch.no_grad():
        given = model.get_video_features(pixels, torch.tensor([grid]), return_dict=True)
    values = {"tokens": torch.cat(list(given.pooler_output))}
    for index, rows in enumerate(given.deepstack_features):
        values[f"deepstack{index}"] = torch.cat(list(rows)) if isinstance(rows, tuple) else rows
    return {f"{key} {name}": value.contiguous() for key, value in values.items()}


expected = {}
for grid in GRIDS:
    name = " ".join(map(str, grid))
    pixels = torch.randn(grid[0] * grid[1] * grid[2], 3 * STEP * PATCH * PATCH)
    expected |= {f"pixels {name}": pixels, **outputs(pixels, grid, name)}

processor = Qwen3VLVideoProcessor(
    size={"shortest_edge": 1024, "longest_edge": 12288},
    patch_size=PATCH,
    merge_size=MERGE,
    temporal_patch_size=STEP,
)
settings = {key: value for key, value in processor.to_dict().items() if value is not None}
with open(f"{OUT}/video_preprocessor_config.json", "w") as file:
    json.dump(settings, file, indent=2, sort_keys=True, default=int)
    file.write("\n")

# That of pictures has other bounds, as in the released models.
images = {key: settings[key] for key in ("image_mean", "image_std", "patch_size", "merge_size", "temporal_patch_size")}
with open(f"{OUT}/preprocessor_config.json", "w") as file:
    json.dump({**images, "size": {"shortest_edge": 65536, "longest_edge": 16777216}}, file, indent=2)
    file.write("\n")

y, x = np.mgrid[0:67, 0:101]
picture = np.stack([x * 2.5, y * 3.7, 128 + 100 * np.sin(x / 7 + y / 4)], -1).clip(0, 255).astype(np.uint8)
picture[20:40, 30:50] = 255 - picture[20:40, 30:50]
for name, shown in {"landscape": picture, "portrait": picture.transpose(1, 0, 2)}.items():
    shown = np.ascontiguousarray(shown)
    Image.fromarray(shown).save(f"{OUT}/{name}.png")
    frames = torch.from_numpy(shown).permute(2, 0, 1).expand(STEP, -1, -1, -1).contiguous()
    made = processor(
        [frames],
        do_sample_frames=False,
        do_normalize=False,
        do_rescale=False,
        return_tensors="pt",
        cap_pixels_per_frame=False,
    )
    grid = made["video_grid_thw"][0].tolist()
    _, rows, columns = grid
    # Patches by cells: back to a picture, of which the first of the two frames.
    cells = made["pixel_values_videos"].reshape(rows // MERGE, columns // MERGE, MERGE, MERGE, 3, STEP, PATCH, PATCH)
    whole = cells.permute(5, 0, 2, 6, 1, 3, 7, 4).reshape(STEP, rows * PATCH, columns * PATCH, 3)
    expected[f"resized {name}"] = whole[0].float().contiguous()
    made = processor([frames], do_sample_frames=False, return_tensors="pt", cap_pixels_per_frame=False)
    expected |= outputs(made["pixel_values_videos"], grid, name)
save_file(expected, f"{OUT}/expected.safetensors")


class Measured(Qwen3VLVideoProcessor):
    """Tells the size that it would give, and resizes nothing."""

    def size_of(self, frames, width, height, cap):
        # `expand` takes no memory.
        video = torch.zeros(1, 1, 1, 1, 1, dtype=torch.uint8).expand(1, frames, 1, height, width)
        seen = []
        with mock.patch.object(BaseVideoProcessor, "resize", lambda self, image, size, resample: seen.append(size)):
            self.resize(video, self.size, None, 32, 2, cap_pixels_per_frame=cap is not None)
        return [seen[0].width, seen[0].height]


# Of edges down to a pixel, of bounds that grow, keep and shrink, and of halves that Python rounds to even.
sizes = []
edges = [1, 15, 17, 31, 32, 33, 47, 48, 80, 101, 176, 240, 333, 480, 720, 1080, 1280, 1919, 1920, 3840]
bounds = [(4096, 25_165_824, None), (131_072, 786_432, None), (4096, 25_165_824, 768)]
generator = np.random.default_rng(5)
for shortest, longest, cap in bounds:
    measured = Measured(size={"shortest_edge": shortest, "longest_edge": longest})
    for _ in range(100):
        width, height = (int(generator.choice(edges)) for _ in range(2))
        frames = int(generator.choice([2, 4, 10, 64, 100, 768]))
        if max(width, height) / min(width, height) <= 100:
            size = measured.size_of(frames, width, height, cap)
            sizes.append([shortest, longest, cap, frames, width, height, *size])
with open(f"{OUT}/sizes.json", "w") as file:
    columns = (
        "shortest_edge, longest_edge, max_video_tokens, frames, width, height, and the width and height that they get"
    )
    comment = f"Made by scripts/make-qwen3vl-fixtures.py with transformers: {columns}."
    rows = ",\n    ".join(json.dumps(row) for row in sizes)
    file.write(f'{{\n  "_comment": "{comment}",\n  "sizes": [\n    {rows}\n  ]\n}}\n')

subprocess.run(
    [sys.executable, sys.argv[1], OUT, "--mmproj", "--outtype", "f32", "--outfile", f"{OUT}/mmproj.gguf"], check=True
)
