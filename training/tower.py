"""Trains the vision tower, a small CLIP architecture, on frames of the world.

All patches of hidden state L-1, which the library uses, and the [CLS] of the last states learn to predict what the
frame shows. The heads are linear and for training only, so a linear projector can read the same information. In an
early hidden state, patches that are covered by objects or a number learn to predict what covers them: this is learned
quickly, and helps to learn what the frame shows.
"""

import pathlib
import time

import numpy
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from labels import CLASSES, labels_of_story, rows_of_frames
from muon import Optimizer, matrices_of
from settings import GLOBAL_LAYERS, IMAGE_SIZE, PATCH_SIZE, TOWER
from world.story import draw_story

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
# A patch counts as covered from this share on, in units of 1/255.
COVERED = 50
# The hidden state whose covered patches learn to predict what covers them.
EARLY_STATE = 2
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


class Frames:
    """The rendered frames of a folder, with their labels."""

    def __init__(self, folder: pathlib.Path, first_seed: int, last_seed: int, held_out: bool = False):
        files = sorted(folder.glob("pixels-*[0-9].npy"))
        self.files = [file for file in files if first_seed <= int(file.stem.split("-")[1]) < last_seed]
        self.shards = [numpy.load(file, mmap_mode="r") for file in self.files]
        self.seeds, self.shown = [], []
        for file, shard in zip(self.files, self.shards, strict=True):
            first = int(file.stem.split("-")[1])
            self.seeds += range(first, first + len(shard))
            self.shown.append(numpy.load(file.with_name(file.name.replace("pixels", "shown"))))
        self.shown = numpy.concatenate(self.shown)
        self.covers = [numpy.load(file.with_name(file.name.replace("pixels", "covers"))) for file in self.files]
        self.events = [draw_story(seed, held_out).events for seed in self.seeds]
        self.labels = numpy.stack(
            [
                labels_of_story(events)[rows_of_frames(shown, len(events))]
                for events, shown in zip(self.events, self.shown, strict=True)
            ]
        )
        self.per_shard = len(self.shards[0]) if self.shards else 0

    def __len__(self) -> int:
        return len(self.seeds)

    def pixels(self, story: int, frames=slice(None)) -> numpy.ndarray:
        return self.shards[story // self.per_shard][story % self.per_shard, frames]

    def draw(self, generator: numpy.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`count` random frames: normalised pixels [count, 3, S, S], classes [count, attributes] and the patches that
        objects and a number cover [count, patches, 2]."""
        stories = generator.integers(len(self), size=count)
        frames = generator.integers(self.labels.shape[1], size=count)
        pixels = numpy.stack([self.pixels(story, frame) for story, frame in zip(stories, frames, strict=True)])
        covers = [self.covers[s // self.per_shard][s % self.per_shard, f] for s, f in zip(stories, frames, strict=True)]
        covered = torch.from_numpy(numpy.stack(covers)) > COVERED
        return normalize(torch.from_numpy(pixels)), torch.from_numpy(self.labels[stories, frames]), covered


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [n, S, S, 3] to float32 [n, 3, S, S]."""
    return (pixels.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def new_tower() -> CLIPVisionModel:
    config = CLIPVisionConfig(image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, hidden_act="gelu", **TOWER)
    return CLIPVisionModel(config)


def hidden_states(tower: CLIPVisionModel, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tower(pixel_values=pixels, output_hidden_states=True).hidden_states


class Heads(torch.nn.Module):
    """Linear classifiers of every attribute."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear = torch.nn.Linear(channels, sum(CLASSES.values()))

    def losses(self, tokens: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss, and the accuracy of each attribute, for tokens [n, tokens, C] and labels [n, attributes]."""
        loss, right = 0, []
        for scores, target in zip(self.linear(tokens).split(list(CLASSES.values()), -1), labels.T, strict=True):
            target = target[:, None].expand(scores.shape[:2])
            loss = loss + torch.nn.functional.cross_entropy(scores.flatten(0, 1), target.flatten())
            right.append((scores.argmax(-1) == target).float().mean())
        return loss, torch.stack(right)

    def covered_losses(self, tokens: torch.Tensor, labels: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
        """The loss of covered patches: those of objects predict shape and colour, those of a number the digit."""
        scores = dict(zip(CLASSES, self.linear(tokens).split(list(CLASSES.values()), -1), strict=True))
        targets = dict(zip(CLASSES, labels.T, strict=True))
        loss = 0
        for name, what in (("shape", 0), ("colour", 0), ("number", 1)):
            target = targets[name][:, None].expand(covered.shape[:2])
            wanted = covered[..., what]
            loss = loss + torch.nn.functional.cross_entropy(scores[name][wanted], target[wanted])
        return loss


def train_tower(frames: Frames, validation: Frames, steps: int, batch: int, rate: float = 3e-3) -> CLIPVisionModel:
    torch.manual_seed(1)
    generator = numpy.random.default_rng(1)
    tower = new_tower()
    channels = TOWER["hidden_size"]
    patch_heads, class_heads, early_heads = Heads(channels), Heads(channels), Heads(channels)
    parts = (tower, patch_heads, class_heads, early_heads)
    weights = [weight for part in parts for weight in part.parameters()]
    optimizer = Optimizer(weights, matrices_of(tower.encoder), rate, steps)
    started = time.time()

    def losses(pixels, labels, covered):
        states = hidden_states(tower, pixels)
        patches, right = patch_heads.losses(states[-2][:, 1:], labels)
        classes = torch.stack([state[:, 0] for state in states[-min(GLOBAL_LAYERS, 2) :]], 1)
        cls, cls_right = class_heads.losses(classes, labels)
        early = early_heads.covered_losses(states[EARLY_STATE][:, 1:], labels, covered)
        return patches + 0.5 * cls + 0.7 * early, right, cls_right

    for step in range(steps):
        loss, *_ = losses(*frames.draw(generator, batch))
        optimizer.step(loss)
        if step % 100 == 99 or step == steps - 1:
            tower.eval()
            with torch.no_grad():
                _, right, cls_right = losses(*validation.draw(numpy.random.default_rng(0), 300))
            tower.train()
            print(
                f"tower {step + 1}/{steps} {time.time() - started:.0f} s: loss {loss.item():.3f}; of patches right: "
                + ", ".join(f"{name} {share:.3f}" for name, share in zip(CLASSES, right.tolist(), strict=True))
                + f"; of [CLS]: {cls_right.mean():.3f}",
                flush=True,
            )
    return tower.eval()
