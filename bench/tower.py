"""Makes a CLIP vision tower with random weights, in Hugging Face's format and as PyTorch exports it to ONNX.

    python bench/tower.py build/tower [--model FOLDER] [--image 224]

Needs torch, transformers, safetensors and onnx. With --model an existing tower is exported instead.
"""

import argparse
import pathlib

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

GLOBAL_LAYERS = 5
VIT_L = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 768,
}


class Tower(torch.nn.Module):
    """The outputs that the library needs: patches of the second last hidden state, [CLS] of the last few."""

    def __init__(self, model: CLIPVisionModel):
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = self.model(pixel_values=pixels, output_hidden_states=True).hidden_states
        return states[-2][:, 1:], torch.stack([state[:, 0] for state in states[-GLOBAL_LAYERS:]], 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--image", type=int, default=224)
    flags = parser.parse_args()
    torch.manual_seed(0)
    if flags.model:
        model = CLIPVisionModel.from_pretrained(flags.model, dtype=torch.float32)
    else:
        model = CLIPVisionModel(CLIPVisionConfig(image_size=flags.image, **VIT_L))
    model.eval()
    flags.folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(flags.folder)
    pixels = torch.zeros(1, 3, model.config.image_size, model.config.image_size)
    torch.onnx.export(
        Tower(model),
        (pixels,),
        str(flags.folder / "exported.onnx"),
        input_names=["pixels"],
        output_names=["patches", "cls"],
        dynamic_axes={name: {0: "frames"} for name in ("pixels", "patches", "cls")},
        opset_version=17,
        dynamo=False,
    )
