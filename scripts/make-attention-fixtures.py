#!/usr/bin/env python3
"""Makes test/fixtures/attention.safetensors. Run it in the repository's root, with torch, transformers 5, safetensors.

What transformers gives as attention (output_attentions, eager), the mean over heads, of towers that are fixtures:
clip                   [2, 16], the class token's of test/fixtures/vision/clip, in the layer of the last state but one.
internvl, six          [2, 9], the same of the last layer of test/fixtures/towers/internvl/{hub,six}, the mean over the
                       four patches that make a token.
siglip -1, siglip -2   [2, 4], that of the pooling head's probe in test/fixtures/siglip, over that state, normalised.
"""

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModel, InternVLConfig, InternVLModel, SiglipVisionConfig, SiglipVisionModel

ROOT = "test/fixtures"
expected = {}


def of_class(attention: torch.Tensor) -> torch.Tensor:
    return attention[:, :, 0, 1:].mean(1)


clip = CLIPVisionModel.from_pretrained(f"{ROOT}/vision/clip", attn_implementation="eager").eval()
pixels = load_file(f"{ROOT}/vision/clip_expected.safetensors")["pixels"]
with torch.no_grad():
    expected["clip"] = of_class(clip(pixels, output_attentions=True).attentions[-2])

pixels = load_file(f"{ROOT}/towers/internvl/expected.safetensors")["pixels"]
for name, folder in {"internvl": "hub", "six": "six"}.items():
    path = f"{ROOT}/towers/internvl/{folder}"
    config = InternVLConfig.from_pretrained(path, attn_implementation="eager")
    model = InternVLModel(config).eval()
    state = {key.removeprefix("model."): value for key, value in load_file(f"{path}/model.safetensors").items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys, missing.unexpected_keys
    assert all(key.startswith("language_model.") for key in missing.missing_keys), missing.missing_keys
    with torch.no_grad():
        whole = of_class(model.vision_tower(pixels, output_attentions=True).attentions[-1])
    side = int(whole.shape[1] ** 0.5)
    squares = whole.reshape(len(whole), side // 2, 2, side // 2, 2)
    expected[name] = squares.mean((2, 4)).flatten(1)

vision = SiglipVisionConfig(
    hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=8, patch_size=4
)
siglip = SiglipVisionModel(vision).eval()
given = load_file(f"{ROOT}/siglip/model.safetensors")
prefix = "model.vision_tower."
own = {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
wanted = siglip.state_dict()
if not set(own) & set(wanted):
    own = {key.removeprefix("vision_model."): value for key, value in own.items()}
    wanted_prefix = "vision_model." if any(key.startswith("vision_model.") for key in wanted) else ""
    own = {wanted_prefix + key: value for key, value in own.items()}
siglip.load_state_dict(own)
tower = getattr(siglip, "vision_model", siglip)
pixels = load_file(f"{ROOT}/siglip/expected.safetensors")["pixels"]
with torch.no_grad():
    states = siglip(pixels, output_hidden_states=True).hidden_states
    for layer in (-1, -2):
        normalized = tower.post_layernorm(states[layer])
        probe = tower.head.probe.repeat(len(pixels), 1, 1)
        _, weights = tower.head.attention(probe, normalized, normalized)
        expected[f"siglip {layer}"] = weights[:, 0]

save_file({name: value.contiguous() for name, value in expected.items()}, f"{ROOT}/attention.safetensors")
