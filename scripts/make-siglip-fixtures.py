#!/usr/bin/env python3
"""Makes test/fixtures/siglip. Run it in the repository's root, with torch, transformers 5, safetensors and pillow.

model.safetensors      the vision tower and the projector of a LlavaModel with a SigLIP tower and random weights, by
                       Hugging Face's names: 3 layers, 2 heads, 16 channels, 8 px, patches of 4 px, and a pooling head.
expected.safetensors   pixels [2, 3, 8, 8], and what transformers computes with these weights:
                       "patches <settings>", what enters the projector, for settings of LlavaConfig as JSON, and
                       "embeddings <settings>", what leaves it; "last", the tower's last_hidden_state.
                       "<family> <picture>": bytes [64, 64, 3], made of a picture by the family's processor.
                       "authors <pooling> <newline>": what the tower in test/fixtures/towers/llava_onevision gives for
                       its pixels in the way of LLaVA-Video's authors, pooled, with image_newline behind rows or frames.
                       "pooled <side>": a grid of [side, side, 3] values, "grid <side>", pooled as LLaVA-OneVision does.
wide.png, high.png, small.png  pictures of 97 x 61, 61 x 97 and 31 x 23 pixels.
"""

import json
import math
import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlavaConfig, LlavaModel, SiglipVisionConfig, SiglipVisionModel
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

OUT = "test/fixtures/siglip"
SIDE = 64
SETTINGS = [
    {"vision_feature_layer": -2, "vision_feature_select_strategy": "full"},
    {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"},
    {"vision_feature_layer": [-1, 1], "vision_feature_select_strategy": "full"},
    {"vision_feature_layer": 0, "vision_feature_select_strategy": "full"},
    {"vision_feature_layer": -2, "vision_feature_select_strategy": "default"},
]

os.makedirs(OUT, exist_ok=True)
torch.manual_seed(23)
vision = SiglipVisionConfig(
    hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=8, patch_size=4
)
text = LlamaConfig(
    vocab_size=8, hidden_size=16, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, head_dim=16
)
parts = {"vision_config": vision.to_dict(), "text_config": text.to_dict()}


def entering_projector(model, pixels, **arguments):
    """What enters the projector, and what leaves it."""
    seen = []
    hook = model.multi_modal_projector.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        model.get_image_features(pixels, **arguments)
    hook.remove()
    return tuple(value.contiguous() for value in seen[0])


base = LlavaModel(LlavaConfig(**parts)).eval()
with torch.no_grad():
    for parameter in base.parameters():
        # Larger than Hugging Face's initialisation, so that no term of a layer is negligible.
        parameter.add_(torch.randn_like(parameter) * 0.2)
state = base.state_dict()
kept = ("vision_tower.", "multi_modal_projector.")
save_file(
    {f"model.{k}": v.contiguous() for k, v in state.items() if k.startswith(kept) and "position_ids" not in k},
    f"{OUT}/model.safetensors",
)
expected = {"pixels": torch.randn(2, 3, 8, 8)}
for settings in SETTINGS:
    config = LlavaConfig(**parts, **settings)
    model = LlavaModel(config)
    own = model.state_dict()
    model.load_state_dict({k: v for k, v in state.items() if own[k].shape == v.shape}, strict=False)
    entering, leaving = entering_projector(model.eval(), expected["pixels"], **settings)
    expected[f"patches {json.dumps(settings)}"] = entering
    if isinstance(settings["vision_feature_layer"], int):
        expected[f"embeddings {json.dumps(settings)}"] = leaving
with torch.no_grad():
    expected["last"] = base.vision_tower(expected["pixels"]).last_hidden_state.contiguous()


def picture(width, height):
    y, x = np.mgrid[0:height, 0:width]
    red = 128 + 100 * np.sin(x / 5 + y / 3)
    green = np.where((x // 11 + y // 7) % 2, 220, 30)
    blue = 255 * (x * 3 + y * 5) / (width * 3 + height * 5)
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


# The processors' other half, normalisation, is arithmetic.
plain = {"do_normalize": False, "do_rescale": False}
siglip2 = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, resample=PILImageResampling.BILINEAR, **plain)
smolvlm = SmolVLMImageProcessorPil(
    size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=False, **plain
)
onevision = LlavaOnevisionImageProcessorPil(**plain)


def frame_of_onevision(image):
    # Of a video: without tiles, in one step to a square. Its video processor needs torchvision.
    pixels = np.asarray(image).transpose(2, 0, 1)
    return onevision.resize(pixels, SizeDict(height=SIDE, width=SIDE), resample=onevision.resample)


made = {
    "siglip2": lambda image: siglip2(image)["pixel_values"][0],
    "smolvlm": lambda image: smolvlm(image)["pixel_values"][0][0],
    "llava_onevision": frame_of_onevision,
}
for name, (width, height) in {"wide": (97, 61), "high": (61, 97), "small": (31, 23)}.items():
    image = picture(width, height)
    image.save(f"{OUT}/{name}.png")
    for family, process in made.items():
        pixels = torch.as_tensor(np.asarray(process(image)), dtype=torch.uint8)
        assert pixels.shape == (3, SIDE, SIDE), pixels.shape
        expected[f"{family} {name}"] = pixels.permute(1, 2, 0).contiguous()

for side in [5, 4, 27]:
    grid = torch.randn(1, 3, side, side)
    pooled = torch.nn.functional.interpolate(grid, size=[math.ceil(side / 2)] * 2, mode="bilinear")
    expected[f"grid {side}"] = grid[0].permute(1, 2, 0).contiguous()
    expected[f"pooled {side}"] = pooled[0].permute(1, 2, 0).contiguous()
# The authors' code is no package: this is its arithmetic, with torch's operators.
tower = "test/fixtures/towers/llava_onevision"
given = load_file(f"{tower}/model.safetensors")
with open(f"{tower}/config.json") as file:
    siglip = SiglipVisionModel(SiglipVisionConfig(**json.load(file)["vision_config"])).eval()
siglip.load_state_dict({k.removeprefix("vision_tower."): v for k, v in given.items() if k.startswith("vision_tower.")})
with torch.no_grad():
    pixels = load_file(f"{tower}/expected.safetensors")["pixels"]
    states = siglip(pixels, output_hidden_states=True).hidden_states[-1]
linear = torch.nn.functional.linear
one, two = ([given[f"multi_modal_projector.linear_{i}.{of}"] for of in ("weight", "bias")] for i in (1, 2))
tokens = linear(torch.nn.functional.gelu(linear(states, *one)), *two)
side = math.isqrt(tokens.shape[1])
grids = tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2)
pooled = {
    "average": torch.nn.functional.avg_pool2d(grids, 2),
    "bilinear": torch.nn.functional.interpolate(grids, size=[math.ceil(side / 2)] * 2, mode="bilinear"),
}
newline = given["image_newline"]
for pooling, values in pooled.items():
    rows = values.permute(0, 2, 3, 1)
    behind_rows = torch.cat([rows, newline.expand(*rows.shape[:2], 1, -1)], 2)
    behind_frames = torch.cat([rows.flatten(1, 2), newline.expand(len(rows), 1, -1)], 1)
    expected[f"authors {pooling} grid"] = behind_rows.flatten(1, 2).contiguous()
    expected[f"authors {pooling} frame"] = behind_frames.contiguous()
save_file(expected, f"{OUT}/expected.safetensors")
