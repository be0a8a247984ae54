"""Trains nano from scratch. The results of stages are kept in --work, and finished stages are not repeated:

    python training/train.py --work build/training --out models/nano

frames      stories are rendered and go through a codec
tower       the vision tower learns what frames show
features    the frozen tower's patches are merged as in the library
language    the language model learns the world's language, without pictures
frozen      the projector is trained, with tower and language model frozen
tuned       projector and language model are trained together, with the tower frozen
"""

import argparse
import json
import pathlib
import time

import torch

import export
import projector as projecting
from features import OTHER_MERGES, all_features
from frames import render
from language import ARCHITECTURE, Bundles, Watch, new_language_model, pretrain
from settings import FRAMES, SEGMENT_FRAMES, TEST_SEED, TOKENS_PER_SEGMENT, VALIDATION_SEED
from texts import Writer
from tower import Frames, new_tower, train_tower
from vocabulary import load_vocabulary, train_vocabulary

DEFAULT = (FRAMES // SEGMENT_FRAMES, TOKENS_PER_SEGMENT)
BATCH = 16


class Stages:
    """Runs each stage once and keeps its result in a file."""

    def __init__(self, work: pathlib.Path):
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        self.seconds = work / "seconds.json"

    def run(self, name: str, file: str, make):
        path = self.work / file
        if not path.exists():
            started = time.time()
            unfinished = path.with_name(path.name + ".part")
            torch.save(make(), unfinished)
            unfinished.rename(path)
            times = json.loads(self.seconds.read_text()) if self.seconds.exists() else {}
            self.seconds.write_text(json.dumps({**times, name: round(time.time() - started)}))
        return torch.load(path, weights_only=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/training"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("models/nano"))
    parser.add_argument("--stories", type=int, default=2000)
    parser.add_argument("--tower-steps", type=int, default=3500)
    parser.add_argument("--language-steps", type=int, default=2600)
    parser.add_argument("--frozen-steps", type=int, default=200)
    parser.add_argument("--tuned-steps", type=int, default=800, help="0 leaves the language model frozen")
    flags = parser.parse_args()
    stages, work = Stages(flags.work), flags.work
    writes_frames = work / "frames"

    if not (work / "frames.done").exists():
        render(writes_frames, 0, flags.stories)
        render(writes_frames, VALIDATION_SEED, 100)
        render(work / "held-out", VALIDATION_SEED, 50, held_out=True)
        (work / "frames.done").touch()
    frames = Frames(writes_frames, 0, flags.stories)
    unseen = Frames(writes_frames, VALIDATION_SEED, TEST_SEED)
    held_out = Frames(work / "held-out", VALIDATION_SEED, TEST_SEED, held_out=True)

    tower = new_tower().eval()
    tower.load_state_dict(
        stages.run("tower", "tower.pt", lambda: train_tower(frames, unseen, flags.tower_steps, 48).state_dict())
    )
    seen_features = stages.run("features", "features.pt", lambda: all_features(tower, frames))
    unseen_features = stages.run("features of validation", "unseen.pt", lambda: all_features(tower, unseen))
    held_out_features = stages.run("features of held-out", "held-out.pt", lambda: all_features(tower, held_out))
    videos = projecting.Videos(frames.events, seen_features)
    validations = {
        "unseen videos": projecting.Videos(unseen.events, unseen_features),
        "held-out pairs": projecting.Videos(held_out.events, held_out_features, held_out=True),
    }

    vocabulary_file = work / "vocabulary.model"
    if not vocabulary_file.exists():
        train_vocabulary(vocabulary_file)
    vocabulary = load_vocabulary(vocabulary_file)
    writer = Writer(vocabulary)

    def language():
        others = [(FRAMES // frames, tokens) for frames, tokens in OTHER_MERGES]
        parts = pretrain(writer, vocabulary, DEFAULT, others, flags.language_steps, BATCH)
        return [part.state_dict() for part in parts]

    width = ARCHITECTURE["hidden_size"]
    model, bundles, watch = new_language_model(len(vocabulary)), Bundles(width, vocabulary), Watch(width)
    for part, weights in zip((model, bundles, watch), stages.run("language", "language.pt", language), strict=True):
        part.load_state_dict(weights)

    def taught(linear, steps: int, tune: bool):
        parts = model, bundles, watch, linear
        return projecting.train(*parts, videos, validations, writer, DEFAULT, steps, BATCH, 1e-3, tune)

    def frozen():
        linear = projecting.align(videos, bundles, model.get_input_embeddings().weight)
        projecting.tell("aligned alone", model, linear, validations, writer)
        return taught(linear, flags.frozen_steps, tune=False)[1]

    linear = stages.run("frozen", "frozen.pt", frozen)

    def tuned():
        return [part.state_dict() for part in taught(linear, flags.tuned_steps, tune=True)]

    if flags.tuned_steps > 0:
        for part, weights in zip((model, linear), stages.run("tuned", "tuned.pt", tuned), strict=True):
            part.load_state_dict(weights)
    export.export(flags.out, tower, linear, model, vocabulary)


if __name__ == "__main__":
    main()
