#!/usr/bin/env python3
"""Makes test/fixtures/towers/internvl, with torch, torchvision, transformers 5 and pillow. Run it in the root:

python scripts/make-internvl-fixtures.py path/to/llama.cpp

hub/                 the vision tower and the projector of an InternVLModel with random weights, as transformers saves
                     them: 4 layers, 4 heads, 32 channels, 42 px, patches of 7 px; language model of 24 channels.
authors/             the same weights by the names of InternVL's authors.
mmproj.gguf          the same, by llama.cpp's converter from authors/.
six/                 a tower as that of 6 billion parameters is computed: RMS norms, also of queries and keys, and no
                     biases of these; with a normalisation at its end.
six_authors/         its weights by the authors' names, without that normalisation, which they do not have.
expected.safetensors pixels [2, 3, 42, 42], and what get_image_features() gives for them: "tokens <settings>" of hub/
                     for settings of InternVLConfig as JSON; "six" and "six authors"; "half",
                     the first of them in float16.
                     "image <name>" and "video <name>" [42, 42, 3]: what the processors of transformers make of
                     <name>.png, before normalisation.
wide.png, tall.png, small.png    pictures of odd sizes.
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import InternVLConfig, InternVLModel
from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor
from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor

OUT = "test/fixtures/towers/internvl"
SETTINGS = [
    {},
    {"vision_feature_layer": -2},
    {"vision_feature_layer": 1},
    {"projector_hidden_act": "relu"},
]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    # The converter knows mlp1.3 of towers with at least four.
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "attention_bias": True,
    "image_size": [42, 42],
    "patch_size": [7, 7],
}
SIX = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": [42, 42],
    "patch_size": [7, 7],
    "norm_type": "rms_norm",
    "use_qk_norm": True,
    # So large that it shows which normalisations take it.
    "layer_norm_eps": 0.1,
    "use_mean_pooling": False,
}
TEXT = {
    "model_type": "qwen2",
    "vocab_size": 8,
    "hidden_size": 24,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
# Names in which transformers keeps weights, and the authors'.
NAMES = [
    ("model.vision_tower.embeddings.cls_token", "vision_model.embeddings.class_embedding"),
    ("model.vision_tower.embeddings.patch_embeddings.projection.", "vision_model.embeddings.patch_embedding."),
    ("model.vision_tower.embeddings.position_embeddings", "vision_model.embeddings.position_embedding"),
    ("model.vision_tower.encoder.layer.", "vision_model.encoder.layers."),
    (".attention.projection_layer.", ".attn.proj."),
    (".attention.q_norm.", ".attn.q_norm."),
    (".attention.k_norm.", ".attn.k_norm."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".lambda_", ".ls"),
    ("model.multi_modal_projector.layer_norm.", "mlp1.0."),
    ("model.multi_modal_projector.linear_1.", "mlp1.1."),
    ("model.multi_modal_projector.linear_2.", "mlp1.3."),
]


def randomized(vision):
    model = InternVLModel(InternVLConfig(vision_config=vision, text_config=TEXT))
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than transformers' initialisation, so that no term of a layer is negligible.
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def tokens(pixels, weights, vision, settings=None):
    config = InternVLConfig(vision_config=vision, text_config=TEXT, **(settings or {}))
    model = InternVLModel(config)
    model.to(next(iter(weights.values())).dtype)
    model.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()}, strict=False)
    with torch.no_grad():
        features = model.eval().get_image_features(pixels, vision_feature_layer=config.vision_feature_layer)
    return features.pooler_output.contiguous()


def by_authors_names(weights):
    named = {}
    for name, value in weights.items():
        if ".k_proj." in name or ".v_proj." in name or name.startswith("model.vision_tower.layernorm."):
            continue
        if ".q_proj." in name:
            value = torch.cat([weights[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"])
            name = name.replace(".attention.q_proj.", ".attn.qkv.")
        for ours, theirs in NAMES:
            name = name.replace(ours, theirs)
        named[name] = value
    return named


def authors_config(vision):
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": vision["image_size"][0],
        "max_dynamic_patch": 12,
        "min_dynamic_patch": 1,
        "ps_version": "v2",
        "select_layer": -1,
        "llm_config": {**TEXT, "architectures": ["Qwen2ForCausalLM"]},
        "vision_config": {
            "architectures": ["InternVisionModel"],
            "model_type": "intern_vit_6b",
            "hidden_act": "gelu",
            "hidden_size": vision["hidden_size"],
            "image_size": vision["image_size"][0],
            "intermediate_size": vision["intermediate_size"],
            "layer_norm_eps": vision.get("layer_norm_eps", 1e-6),
            "norm_type": vision.get("norm_type", "layer_norm"),
            "num_attention_heads": vision["num_attention_heads"],
            "num_channels": 3,
            "num_hidden_layers": vision["num_hidden_layers"],
            "patch_size": vision["patch_size"][0],
            "qk_normalization": vision.get("use_qk_norm", False),
            "qkv_bias": vision.get("attention_bias", False),
        },
    }


def save(folder, config, weights):
    os.makedirs(f"{OUT}/{folder}", exist_ok=True)
    save_file(weights, f"{OUT}/{folder}/model.safetensors", {"format": "pt"})
    size = {"height": 42, "width": 42}
    pixels = {"image_mean": MEAN, "image_std": STD, "size": size, "image_processor_type": "GotOcr2ImageProcessorFast"}
    for name, value in (("config.json", config), ("preprocessor_config.json", pixels)):
        with open(f"{OUT}/{folder}/{name}", "w") as file:
            json.dump(value, file, indent=1, sort_keys=True)
            file.write("\n")


def parts(model):
    state = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    return {name: value for name, value in state.items() if ".language_model." not in name}


def picture(width, height):
    y, x = np.mgrid[0:height, 0:width]
    waves = [x * 255 / width, y * 255 / height, 128 + 100 * np.sin(x / 5 + y / 3)]
    return np.stack(waves, -1).astype(np.uint8)


def processed(still):
    settings = {"size": {"height": 42, "width": 42}, "do_normalize": False, "do_rescale": False}
    image = GotOcr2ImageProcessor(**settings)(Image.fromarray(still), return_tensors="pt")["pixel_values"][0]
    frames = torch.from_numpy(still).permute(2, 0, 1)[None]
    video = InternVLVideoProcessor(**settings)(frames, return_tensors="pt")["pixel_values_videos"][0, 0]
    return {kind: made.permute(1, 2, 0).byte().contiguous() for kind, made in (("image", image), ("video", video))}


os.makedirs(OUT, exist_ok=True)
torch.manual_seed(23)
model = randomized(VISION)
weights = parts(model)
save("hub", model.config.to_diff_dict(), weights)
save("authors", authors_config(VISION), by_authors_names(weights))
six = randomized(SIX)
six_weights = parts(six)
# transformers has both forms of names.
save("six", six.config.to_diff_dict(), {name.removeprefix("model."): value for name, value in six_weights.items()})
# Its queries and keys are normalised with the same epsilon as everything else, those of transformers always with 1e-6.
plain = {**SIX, "use_mean_pooling": True, "layer_norm_eps": 1e-6}
save("six_authors", authors_config(plain), by_authors_names(six_weights))

expected = {"pixels": torch.randn(2, 3, 42, 42)}
for settings in SETTINGS:
    expected[f"tokens {json.dumps(settings)}"] = tokens(expected["pixels"], weights, VISION, settings)
half = {name: value.half() for name, value in weights.items()}
expected["half"] = tokens(expected["pixels"], half, VISION).float()
expected["six"] = tokens(expected["pixels"], six_weights, SIX)
expected["six authors"] = tokens(expected["pixels"], six_weights, plain)
for name, still in (("wide", picture(97, 61)), ("tall", picture(61, 97)), ("small", picture(31, 33))):
    Image.fromarray(still).save(f"{OUT}/{name}.png")
    for kind, made in processed(still).items():
        expected[f"{kind} {name}"] = made
save_file(expected, f"{OUT}/expected.safetensors")

with tempfile.TemporaryDirectory() as folder:
    # The converter takes names that are made of the folder's: one of the same name gives the same file.
    source = os.path.join(folder, "tiny")
    os.symlink(os.path.abspath(f"{OUT}/authors"), source)
    converter = [sys.executable, os.path.join(sys.argv[1], "convert_hf_to_gguf.py"), source, "--mmproj"]
    subprocess.run([*converter, "--outtype", "f32", "--outfile", os.path.join(folder, "mmproj.gguf")], check=True)
    os.replace(os.path.join(folder, "mmproj.gguf"), f"{OUT}/mmproj.gguf")
