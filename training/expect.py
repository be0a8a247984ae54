"""Writes the expected features of a video, computed here from the exported tower, for the library's test.

python training/expect.py models/nano VIDEO expected.safetensors
"""

import pathlib
import sys

import av
import numpy
import torch
from safetensors.torch import save
from transformers import CLIPVisionModel

from features import encode, merge_features
from frames import frame_indices, squash
from settings import GLOBAL_LAYERS, SEGMENT_FRAMES, TOKENS_PER_SEGMENT


def decode(video: pathlib.Path) -> numpy.ndarray:
    """The sampled frames, squashed [FRAMES, S, S, 3]."""
    with av.open(str(video)) as container:
        frames = list(container.decode(video=0))
    return numpy.stack([squash(frames[index].to_ndarray(format="rgb24")) for index in frame_indices(len(frames))])


if __name__ == "__main__":
    model, video, out = map(pathlib.Path, sys.argv[1:])
    tower = CLIPVisionModel.from_pretrained(model / "clip", dtype=torch.float32).eval()
    pixels = decode(video)
    patches, states = encode(tower, pixels)
    rows = torch.zeros(len(pixels), dtype=torch.int64)
    local, _ = merge_features(patches, rows, SEGMENT_FRAMES, TOKENS_PER_SEGMENT)
    tensors = {"local": local.contiguous(), "global": states[-GLOBAL_LAYERS:].contiguous()}
    out.write_bytes(save(tensors, metadata={"video": video.name}))
