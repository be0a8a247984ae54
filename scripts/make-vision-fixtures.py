#!/usr/bin/env python3
"""Makes test/fixtures/vision. Run it in the repository's root, with torch, transformers, safetensors and gguf.

clip/              a whole CLIPModel (text tower too) with random weights, as Hugging Face saves it: GELU by the error
                   function, 2 heads, 3 layers, 32 px, patches of 8 px. No preprocessor_config.json.
clip_expected.safetensors
                   pixels [2, 3, 32, 32], and of every hidden state: patches of state 2 [2, 16, 32], cls [2, 4, 32].
projector_mlp.safetensors
                   the two-layer projector of test/fixtures/pico/mmproj.gguf under LLaVA's names, weights in F16; with
                   it, test/fixtures/pico/expected.safetensors gives `video_mlp`, but for the rounding to F16.
projector_mlp_expected.safetensors
                   features [3, 64] and embeddings [3, 64] of exactly these F16 weights, computed in float64.
"""

import os

import torch
from gguf import GGUFReader
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

OUT = "test/fixtures/vision"
os.makedirs(OUT, exist_ok=True)
torch.manual_seed(7)

text = CLIPTextConfig(
    vocab_size=8,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=1,
    max_position_embeddings=8,
)
vision = CLIPVisionConfig(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=2,
    image_size=32,
    patch_size=8,
    hidden_act="gelu",
    layer_norm_eps=1e-6,
)
model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)).eval()
with torch.no_grad():
    for parameter in model.parameters():
        # Larger than Hugging Face's initialisation, so that no term of a layer is negligible.
        parameter.add_(torch.randn_like(parameter) * 0.15)
model.save_pretrained(f"{OUT}/clip")

pixels = torch.randn(2, 3, 32, 32)
with torch.no_grad():
    states = model.vision_model(pixels, output_hidden_states=True).hidden_states
save_file(
    {
        "pixels": pixels,
        "patches": states[-2][:, 1:].contiguous(),
        "cls": torch.stack([state[:, 0] for state in states], 1).contiguous(),
    },
    f"{OUT}/clip_expected.safetensors",
)

names = {"mm.0.weight": "0.weight", "mm.0.bias": "0.bias", "mm.2.weight": "2.weight", "mm.2.bias": "2.bias"}
projector = {
    names[tensor.name]: torch.from_numpy(tensor.data.copy())
    for tensor in GGUFReader("test/fixtures/pico/mmproj.gguf").tensors
    if tensor.name in names
}
save_file(
    {f"model.mm_projector.{name}": value for name, value in projector.items()}, f"{OUT}/projector_mlp.safetensors"
)
features = torch.randn(3, 64)
exact = {name: value.double() for name, value in projector.items()}
hidden = torch.nn.functional.gelu(features.double() @ exact["0.weight"].T + exact["0.bias"])
embeddings = hidden @ exact["2.weight"].T + exact["2.bias"]
save_file({"features": features, "embeddings": embeddings.float()}, f"{OUT}/projector_mlp_expected.safetensors")
