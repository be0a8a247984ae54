"""Times a CLIP vision tower in PyTorch, from frames of bytes to patches and class tokens, and writes its patches.

    python tower_pytorch.py FOLDER FRAMES --out FOLDER --device cuda --batches 2 10

FOLDER is the tower in Hugging Face's format, FRAMES raw RGB. Prints a line of JSON for each precision and batch, and
writes float32.raw: the patches in float32. Exits with 3 without PyTorch or transformers.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

try:
    import torch
    from transformers import CLIPVisionModel
except ImportError:
    sys.exit(3)

MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]
ROUNDS = 5


def encode(model, frames, batch):
    """Patches [n, N, C] and class tokens [n, L, C] of frames [n, S, S, 3], in float32."""
    dtype = model.dtype
    mean, std = (torch.tensor(values, device=frames.device, dtype=dtype).view(1, 3, 1, 1) for values in (MEAN, STD))
    patches, summaries = [], []
    for some in frames.split(batch):
        pixels = (some.permute(0, 3, 1, 2).to(dtype) / 255 - mean) / std
        states = model(pixel_values=pixels, output_hidden_states=True).hidden_states
        patches.append(states[-2][:, 1:].float())
        summaries.append(torch.stack([state[:, 0] for state in states], 1).float())
    return torch.cat(patches), torch.cat(summaries)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("frames", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", required=True)
    options = parser.parse_args()
    finish = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    for dtype, tensor_float_32 in ((torch.float32, False), (torch.float32, True), (torch.float16, False)):
        torch.backends.cuda.matmul.allow_tf32 = tensor_float_32
        model = CLIPVisionModel.from_pretrained(options.folder, dtype=dtype).eval().to(options.device)
        size = model.config.image_size
        data = bytearray(options.frames.read_bytes())
        frames = torch.frombuffer(data, dtype=torch.uint8).reshape(-1, size, size, 3).to(options.device)
        name = f"{dtype}".removeprefix("torch.") + (", TF32" if tensor_float_32 else "")
        for batch in options.batches:
            patches, _ = encode(model, frames, batch)
            finish()
            times = []
            for _ in range(ROUNDS if options.device == "cuda" else 0):
                start = time.perf_counter()
                encode(model, frames, batch)
                finish()
                times.append((time.perf_counter() - start) * 1000)
            if times:
                line = {"what": f"{name}, {batch} frames a run", "milliseconds": statistics.median(times)}
                print(json.dumps(line), flush=True)
        if name == "float32":
            (options.out / "float32.raw").write_bytes(patches.cpu().numpy().tobytes())
        del model


with torch.inference_mode():
    main()
