#!/usr/bin/env python3
"""Makes test/fixtures/llava. Run it in the repository's root, with torch, transformers 5, safetensors and pillow.

model.safetensors      the vision tower and the projector of a LlavaModel with random weights, by Hugging Face's names:
                       3 layers, 2 heads, 16 channels, 8 px, patches of 4 px.
vip.safetensors        the projector of a VipLlavaModel whose vision_feature_layers are -2 and 1.
expected.safetensors   pixels [2, 3, 8, 8], and what transformers computes with these weights:
                       "patches <settings>", what enters the projector, for settings of LlavaConfig as JSON;
                       "act <name>", the same for a tower with that hidden_act;
                       features [3, 16] and "embeddings <name>" for a projector_hidden_act; "embeddings no bias";
                       "vip patches" and "vip embeddings" of the VipLlavaModel.
still.png              40 x 20 pixels. "squashed": [16, 16, 3], made of it by SiglipImageProcessor.
"""

import json
import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaModel, VipLlavaConfig, VipLlavaModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

OUT = "test/fixtures/llava"
ACTIVATIONS = [
    "quick_gelu",
    "gelu",
    "gelu_python",
    "gelu_new",
    "gelu_fast",
    "gelu_accurate",
    "gelu_pytorch_tanh",
    "gelu_python_tanh",
    "gelu_10",
    "silu",
    "swish",
    "relu",
    "relu2",
    "relu6",
    "leaky_relu",
    "hardswish",
    "mish",
    "sigmoid",
    "tanh",
    "linear",
]
SETTINGS = [
    {"vision_feature_layer": -1},
    {"vision_feature_layer": -4},
    {"vision_feature_layer": 0},
    {"vision_feature_layer": 1},
    {"vision_feature_layer": 3},
    {"vision_feature_layer": [-2]},
    {"vision_feature_layer": [-1, 1]},
    {"vision_feature_layer": [0, 2, 2]},
    {"vision_feature_select_strategy": "full"},
    {"vision_feature_layer": [1, -1], "vision_feature_select_strategy": "full"},
]
# Names in which transformers keeps weights, and those that its own files have.
TOWER, PROJECTOR = "vision_tower.", "multi_modal_projector."

os.makedirs(OUT, exist_ok=True)
torch.manual_seed(11)


def configs(hidden_act="quick_gelu"):
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
        projection_dim=8,
        hidden_act=hidden_act,
    )
    text = LlamaConfig(
        vocab_size=8, hidden_size=16, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, head_dim=16
    )
    return {"vision_config": vision.to_dict(), "text_config": text.to_dict()}


def randomized(model):
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than Hugging Face's initialisation, so that no term of a layer is negligible.
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def entering_projector(model, pixels, **arguments):
    """What enters the projector, and what leaves it."""
    seen = []
    hook = model.multi_modal_projector.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        model.get_image_features(pixels, **arguments)
    hook.remove()
    return tuple(value.contiguous() for value in seen[0])


def weights_of(model, *prefixes):
    return {
        f"model.{name}": value.contiguous() for name, value in model.state_dict().items() if name.startswith(prefixes)
    }


def same_weights(model, weights):
    """`model` with those of the weights that have the shape that it needs."""
    own = model.state_dict()
    named = {name.removeprefix("model."): value for name, value in weights.items()}
    fitting = {name: value for name, value in named.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict(fitting, strict=False)
    return model.eval()


base = randomized(LlavaModel(LlavaConfig(**configs())))
weights = weights_of(base, TOWER, PROJECTOR)
save_file({k: v for k, v in weights.items() if "position_ids" not in k}, f"{OUT}/model.safetensors")

expected = {"pixels": torch.randn(2, 3, 8, 8)}
pixels = expected["pixels"]
for settings in SETTINGS:
    config = LlavaConfig(**configs(), **settings)
    model = same_weights(LlavaModel(config), weights)
    expected[f"patches {json.dumps(settings)}"], _ = entering_projector(
        model,
        pixels,
        vision_feature_layer=config.vision_feature_layer,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
    )

expected["features"] = torch.randn(3, 16) * 2
for name in ACTIVATIONS:
    config = LlavaConfig(**configs(hidden_act=name), projector_hidden_act=name)
    model = same_weights(LlavaModel(config), weights)
    expected[f"act {name}"], _ = entering_projector(
        model, pixels, vision_feature_layer=-2, vision_feature_select_strategy="default"
    )
    with torch.no_grad():
        expected[f"embeddings {name}"] = model.multi_modal_projector(expected["features"])
model = same_weights(LlavaModel(LlavaConfig(**configs(), multimodal_projector_bias=False)), weights)
with torch.no_grad():
    expected["embeddings no bias"] = model.multi_modal_projector(expected["features"])

config = VipLlavaConfig(**configs(), vision_feature_layers=[-2, 1], projector_layernorm_eps=1e-3)
vip = same_weights(randomized(VipLlavaModel(config)), {k: v for k, v in weights.items() if TOWER in k})
save_file(weights_of(vip, PROJECTOR), f"{OUT}/vip.safetensors")
expected["vip patches"], expected["vip embeddings"] = entering_projector(vip, pixels)

y, x = np.mgrid[0:20, 0:40]
still = np.stack([x * 6, y * 12, 128 + 100 * np.sin(x / 5 + y / 3)], -1).astype(np.uint8)
Image.fromarray(still).save(f"{OUT}/still.png")
processor = SiglipImageProcessorPil(size={"height": 16, "width": 16}, do_normalize=False, do_rescale=False)
made = processor(Image.fromarray(still), return_tensors="pt")["pixel_values"]
expected["squashed"] = made[0].permute(1, 2, 0).float().contiguous()
save_file(expected, f"{OUT}/expected.safetensors")
