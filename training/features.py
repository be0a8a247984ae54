"""Merged and global tokens of stories, with the shares of the events that are mixed in each token."""

import dataclasses

import numpy
import torch

from labels import ROWS, rows_of_frames
from merging import merge_tokens
from settings import FRAMES, MERGE_HEADS, SEGMENT_FRAMES, TOKENS_PER_SEGMENT
from tower import Frames, hidden_states, normalize

# Every story is merged with the default sizes and with one other setting, so that ablations are not out of
# distribution.
OTHER_MERGES = [(5, 2), (5, 3), (5, 6), (5, 8), (10, 4), (10, 8), (10, 12), (20, 8), (20, 16), (4, 4), (2, 2)]


@dataclasses.dataclass
class Features:
    """Tokens of one story."""

    local: torch.Tensor  # [segments, tokensPerSegment, C]
    shares: torch.Tensor  # [segments, tokensPerSegment, ROWS]: the share of each token's patches that show each row
    states: torch.Tensor  # [layers + 1, C], the mean [CLS] of every hidden state
    global_shares: torch.Tensor  # [ROWS]


def merge_features(patches: torch.Tensor, rows: torch.Tensor, segment_frames: int, keep: int):
    """Converts patches [frames, N, C] and the rows that frames show [frames] to local and shares."""
    frames, count, channels = patches.shape
    segments = frames // segment_frames
    local, sizes, slots = merge_tokens(patches.reshape(segments, segment_frames * count, channels), MERGE_HEADS, keep)
    of_patches = rows.view(segments, segment_frames, 1).expand(-1, -1, count).reshape(segments, -1)
    counts = torch.zeros(segments, keep * ROWS)
    counts.scatter_add_(1, slots * ROWS + of_patches, torch.ones_like(slots, dtype=torch.float32))
    return local, counts.view(segments, keep, ROWS) / sizes[..., None]


@torch.no_grad()
def encode(tower, pixels: numpy.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels [frames, S, S, 3] to patches [frames, N, C] and the mean [CLS] of every hidden state [layers + 1, C]."""
    outputs = [
        hidden_states(tower, normalize(torch.from_numpy(chunk.copy()))) for chunk in numpy.array_split(pixels, 4)
    ]
    patches = torch.cat([states[-2][:, 1:] for states in outputs])
    cls = torch.cat([torch.stack([state[:, 0] for state in states], 1) for states in outputs])
    return patches, cls.mean(0)


def story_features(tower, frames: Frames, story: int, generator: numpy.random.Generator) -> list[Features]:
    """A story's tokens, merged with nano's sizes and with one other setting."""
    patches, states = encode(tower, frames.pixels(story))
    rows = torch.from_numpy(rows_of_frames(frames.shown[story], len(frames.events[story])))
    global_shares = torch.bincount(rows, minlength=ROWS) / FRAMES
    other = OTHER_MERGES[generator.integers(len(OTHER_MERGES))]
    return [
        Features(*merge_features(patches, rows, *how), states, global_shares)
        for how in ((SEGMENT_FRAMES, TOKENS_PER_SEGMENT), other)
    ]


def all_features(tower, frames: Frames, seed: int = 0) -> list[list[Features]]:
    generator = numpy.random.default_rng(seed)
    features = []
    for story in range(len(frames)):
        features.append(story_features(tower, frames, story, generator))
        if story % 50 == 49 or story == len(frames) - 1:
            print(f"\rfeatures: {story + 1} of {len(frames)} stories", end="", flush=True)
    print()
    return features
