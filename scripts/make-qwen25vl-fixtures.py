#!/usr/bin/env python3
"""Makes test/fixtures/towers/qwen2_5_vl. Run it in the repository's root, with torch, torchvision, transformers 5,
safetensors, pillow and gguf: make-qwen25vl-fixtures.py <convert_hf_to_gguf.py of llama.cpp>

config.json, model.safetensors, preprocessor_config.json
                       the vision tower of a Qwen2_5_VLModel with random weights: 3 layers, of which the second
                       attends to the whole frame, 2 heads, 16 channels, patches of 4 px, windows of 16 px, which
                       are 2 x 2 tokens; embeddings of 12 values.
mmproj.gguf            the same by llama.cpp's converter, in float32.
expected.safetensors   for grids "2 6 10", "1 4 4" and "1 2 2" of steps, rows and columns: "pixels <grid>" and
                       "tokens <grid>" as get_video_features() gives them; for a picture of 51 x 33 pixels, picture.png:
                       "resized" [height, width, 3] and "tokens picture", of two such frames.
sizes.json             sizes of frames by Qwen2VLVideoProcessor.
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
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.video_processing_utils import BaseVideoProcessor

OUT = "test/fixtures/towers/qwen2_5_vl"
PATCH, MERGE, STEP = 4, 2, 2
GRIDS = [(2, 6, 10), (1, 4, 4), (1, 2, 2)]
WIDTH = 12

os.makedirs(OUT, exist_ok=True)
torch.manual_seed(25)
config = Qwen2_5_VLConfig(
    architectures=["Qwen2_5_VLForConditionalGeneration"],
    vision_config={
        "depth": 3,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": STEP,
        "window_size": 16,
        "fullatt_block_indexes": [1],
        "tokens_per_second": 2,
        "out_hidden_size": WIDTH,
    },
    text_config={
        "vocab_size": 8,
        "hidden_size": WIDTH,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]},
    },
)
model = Qwen2_5_VLModel(config).eval()
with torch.no_grad():
    for parameter in model.parameters():
        # Larger than Hugging Face's initialisation, so that no term of a layer is negligible.
        parameter.add_(torch.randn_like(parameter) * 0.25)
config.save_pretrained(OUT)
weights = {name: value.contiguous() for name, value in model.state_dict().items() if name.startswith("visual.")}
save_file(weights, f"{OUT}/model.safetensors")


def tokens(pixels, grid):
    with torch.no_grad():
        given = model.get_video_features(pixels, torch.tensor([grid]), return_dict=True)
    return torch.cat(list(given.pooler_output)).contiguous()


expected = {}
for grid in GRIDS:
    name = " ".join(map(str, grid))
    pixels = torch.randn(grid[0] * grid[1] * grid[2], 3 * STEP * PATCH * PATCH)
    expected |= {f"pixels {name}": pixels, f"tokens {name}": tokens(pixels, grid)}

# As the released models have it: for pictures, by other names.
settings = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "min_pixels": 256,
    "max_pixels": 1024,
    "patch_size": PATCH,
    "merge_size": MERGE,
    "temporal_patch_size": STEP,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
with open(f"{OUT}/preprocessor_config.json", "w") as file:
    json.dump(settings, file, indent=2)
    file.write("\n")
del settings["image_processor_type"]
processor = Qwen2VLVideoProcessor(**settings)

y, x = np.mgrid[0:33, 0:51]
picture = np.stack([x * 4.9, y * 7.5, 128 + 100 * np.sin(x / 7 + y / 4)], -1).clip(0, 255).astype(np.uint8)
Image.fromarray(picture).save(f"{OUT}/picture.png")
frames = torch.from_numpy(picture).permute(2, 0, 1).expand(STEP, -1, -1, -1).contiguous()
plain = {"do_sample_frames": False, "return_tensors": "pt", "cap_pixels_per_frame": False}
made = processor([frames], do_normalize=False, do_rescale=False, **plain)
grid = made["video_grid_thw"][0].tolist()
_, rows, columns = grid
# Patches by cells: back to a picture, of which the first of the two frames.
cells = made["pixel_values_videos"].reshape(rows // MERGE, columns // MERGE, MERGE, MERGE, 3, STEP, PATCH, PATCH)
whole = cells.permute(5, 0, 2, 6, 1, 3, 7, 4).reshape(STEP, rows * PATCH, columns * PATCH, 3)
expected["resized"] = whole[0].float().contiguous()
expected["tokens picture"] = tokens(processor([frames], **plain)["pixel_values_videos"], grid)
save_file(expected, f"{OUT}/expected.safetensors")


class Measured(Qwen2VLVideoProcessor):
    """Tells the size that it would give, and resizes nothing."""

    def size_of(self, frames, width, height, cap):
        # `expand` takes no memory.
        video = torch.zeros(1, 1, 1, 1, 1, dtype=torch.uint8).expand(1, frames, 1, height, width)
        seen = []
        with mock.patch.object(BaseVideoProcessor, "resize", lambda self, image, size, resample: seen.append(size)):
            self.resize(video, self.size, None, 28, 2, cap_pixels_per_frame=cap is not None)
        return [seen[0].width, seen[0].height]


# Of edges down to a pixel, of bounds that grow, keep and shrink, and of halves that Python rounds to even.
sizes = []
edges = [1, 13, 14, 15, 28, 42, 70, 101, 176, 240, 333, 480, 720, 1080, 1280, 1919, 1920]
bounds = [(3136, 12_845_056, None), (100_352, 602_112, None), (784, 200_704, None), (3136, 12_845_056, 128_000)]
generator = np.random.default_rng(5)
for shortest, longest, cap in bounds:
    measured = Measured(size={"shortest_edge": shortest, "longest_edge": longest})
    for _ in range(60):
        width, height = (int(generator.choice(edges)) for _ in range(2))
        frames = int(generator.choice([2, 4, 10, 64, 768]))
        if max(width, height) / min(width, height) <= 200:
            size = measured.size_of(frames, width, height, cap)
            sizes.append([shortest, longest, cap, frames, width, height, *size])
with open(f"{OUT}/sizes.json", "w") as file:
    columns = (
        "shortest_edge, longest_edge, max_video_tokens, frames, width, height, and the width and height that they get"
    )
    comment = f"Made by scripts/make-qwen25vl-fixtures.py with transformers: {columns}."
    rows = ",\n    ".join(json.dumps(row) for row in sizes)
    file.write(f'{{\n  "_comment": "{comment}",\n  "sizes": [\n    {rows}\n  ]\n}}\n')

subprocess.run(
    [sys.executable, sys.argv[1], OUT, "--mmproj", "--outtype", "f32", "--outfile", f"{OUT}/mmproj.gguf"], check=True
)
