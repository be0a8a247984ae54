"""Trains the projector on real merged tokens, with tower and language model frozen; a last stage also tunes the latter.

First, alignment: a least-squares fit of the tokens to the mixtures of bundles that they correspond to, which the
language model can already read. Then the projector is trained on answers, through the frozen language model.
"""

import itertools

import numpy
import torch

from features import Features
from labels import pad_labels
from language import (
    TAUGHT,
    Bundles,
    Drawn,
    Watch,
    count_right,
    draw_imagined,
    drop_part,
    fit,
    in_words,
    logits_of,
)
from settings import GLOBAL_LAYERS
from texts import Writer, narrate
from world.questions import KINDS, ask
from world.story import HELD_OUT, Event


class Videos:
    """Stories with the features of their frames."""

    def __init__(self, stories: list[tuple[Event, ...]], features: list[list[Features]], held_out: bool = False):
        self.stories, self.features, self.held_out = stories, features, held_out
        self.groups: dict[tuple, list[tuple[int, Features]]] = {}
        for story, ways in enumerate(features):
            for way in ways:
                self.groups.setdefault(tuple(way.local.shape[:2]), []).append((story, way))
        self.sizes = list(self.groups)

    def draw(self, generator, writer: Writer, watch: Watch, projector, count: int, default: tuple, share=0.7) -> Drawn:
        size = default if generator.random() < share else self.sizes[generator.integers(len(self.sizes))]
        group = self.groups[size]
        chosen = [group[i] for i in generator.integers(len(group), size=count)]
        stories, ways = [self.stories[story] for story, _ in chosen], [way for _, way in chosen]
        asked = [ask(events, generator, 8, TAUGHT) for events in stories]
        texts = [narrate(events, generator, 3, 2, left_out=HELD_OUT) for events in stories]
        written = writer.write(asked, generator, 0.25, texts)
        labels = torch.from_numpy(numpy.stack([pad_labels(events) for events in stories]))
        shares = torch.stack([way.shares.flatten(0, 1) for way in ways])
        known = watch.known(labels, shares, torch.tensor([len(events) for events in stories]), written)
        return Drawn(written, projector(drop_part(tokens_of(ways), generator)), known)


def tokens_of(ways: list[Features], global_layers: int = GLOBAL_LAYERS) -> torch.Tensor:
    """Global and local tokens in the library's order for the projector [n, tokens, C]."""
    local = torch.stack([way.local.flatten(0, 1) for way in ways])
    return torch.cat([torch.stack([way.states for way in ways])[:, -global_layers:], local], 1)


def align(videos: Videos, bundles: Bundles, embeddings: torch.Tensor) -> torch.nn.Linear:
    """The best linear map to the bundles, by ridge regression over all tokens of the default merge."""
    inputs, outputs = [], []
    with torch.no_grad():
        for events, (way, *_) in zip(videos.stories, videos.features, strict=True):
            labels = torch.from_numpy(pad_labels(events))[None]
            inputs.append(tokens_of([way])[0])
            whole = bundles.clean(embeddings, labels, way.global_shares[None, None]) + bundles.layer
            local = bundles.clean(embeddings, labels, way.shares.flatten(0, 1)[None]) + bundles.local
            # Only the last few states contain what the frame shows: earlier ones are excluded.
            outputs.append(torch.cat([whole, local], 1)[0])
        x = torch.cat(inputs).double()
        x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
        y = torch.cat(outputs).double()
        gram = x.T @ x
        ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype)
        solution = torch.linalg.solve(gram + ridge, x.T @ y).float()
        projector = torch.nn.Linear(x.shape[1] - 1, y.shape[1])
        projector.weight.copy_(solution[:-1].T)
        projector.bias.copy_(solution[-1])
        error = ((x.float() @ solution - y.float()) ** 2).mean() / y.float().var()
        print(f"projector: aligned, {error:.3f} of the variance is left")
    return projector


@torch.no_grad()
def evaluate(model, projector, videos: Videos, writer: Writer, seed: int = 0, questions: int = 13, batch: int = 20):
    """The number of right answers of greedy decoding, by kind; each question is the first of a conversation. Questions
    about held-out videos are about held-out pairs."""
    tally: dict[str, list[int]] = {}
    generator = numpy.random.default_rng(seed)
    for first in range(0, len(videos.stories), batch):
        part = range(first, min(first + batch, len(videos.stories)))
        kinds = [kind for kind in KINDS if not videos.held_out or kind not in ("first", "last", "describe")]
        asked = [ask(videos.stories[story], generator, questions, kinds, videos.held_out) for story in part]
        drawn = writer.write(asked, generator, loose=False)
        count_right(
            logits_of(model, drawn, projector(tokens_of([videos.features[story][0] for story in part]))), drawn, tally
        )
    return tally


def tell(name: str, model, projector, validations: dict[str, Videos], writer: Writer) -> None:
    """Prints the accuracy for each set of videos."""
    for which, videos in validations.items():
        print(f"{name}, {which}: {in_words(evaluate(model, projector, videos, writer))}", flush=True)


def train(
    model, bundles, watch, projector, videos, validations, writer, default, steps, batch, rate: float, tune: bool
):
    """Trains the projector on answers. With `tune` also the language model, which reads bundles instead of videos in
    every second step, so that it does not forget what no video shows."""
    seed = 5 if tune else 4
    torch.manual_seed(seed)
    generator = numpy.random.default_rng(seed)
    model.requires_grad_(tune)
    watch.requires_grad_(tune)
    bundles.requires_grad_(False)
    name = "tuned" if tune else "frozen"
    turn = itertools.count()

    def draw(_done: float) -> Drawn:
        if tune and next(turn) % 2:
            embeddings = model.get_input_embeddings().weight
            return draw_imagined(generator, writer, bundles, embeddings, watch, batch, 3, 12, default)
        return videos.draw(generator, writer, watch, projector, batch, default)

    def check() -> None:
        tell(name, model, projector, validations, writer)

    weights = [*projector.parameters(), *((*model.parameters(), *watch.parameters()) if tune else ())]
    fit(name, model, watch, weights, rate, steps, draw, tune, check)
    return model.eval(), projector
