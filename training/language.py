"""The language model: a small LLaMA, first trained without any video.

In place of a video it reads bundles: for every attribute of an event an embedding, summed, and mixed as merged tokens
are (the shares come from videos that were really merged), with noise on top. Attributes are drawn anew at every step,
so it sees no story twice, and learns to look up, to order and to tell before it meets a picture.
"""

import dataclasses
import time

import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from features import ROWS, Features
from labels import ALL_CLASSES, CLASSES, labels_of_story, words_of_classes
from muon import Optimizer, matrices_of
from settings import GLOBAL_LAYERS
from vocabulary import BEGIN, END, VIDEO_END, VIDEO_START, before_video, first_turn, loosely, next_turn
from world.questions import KINDS, ask
from world.story import Event, draw_events

ARCHITECTURE = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
IGNORED = -100


def new_language_model(vocabulary_size: int) -> LlamaForCausalLM:
    config = LlamaConfig(vocab_size=vocabulary_size, bos_token_id=BEGIN, eos_token_id=END, pad_token_id=0, **ARCHITECTURE)
    return LlamaForCausalLM(config)


@dataclasses.dataclass
class Batch:
    """Conversations about videos of equally many tokens, padded."""

    prefix: torch.Tensor  # ids before the video
    ids: torch.Tensor  # [n, text], from the token that closes the video on
    targets: torch.Tensor  # [n, text]: the next token where it belongs to an answer
    weights: torch.Tensor  # [n, text]: what a token counts; long answers count more than short ones, but not by length
    block: torch.Tensor  # [n, text]: tokens see the video and their own block
    positions: torch.Tensor  # [n, text], from 0 at the token that closes the video
    answers: list  # of (row, start, end, kind) of every answer


class Writer:
    """Turns questions about events into token ids."""

    def __init__(self, vocabulary):
        self.encode = vocabulary.encode
        self.prefix = [BEGIN, *self.encode(before_video()), VIDEO_START]
        self.cache: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        if text not in self.cache:
            if len(self.cache) > 200_000:
                self.cache.clear()
            self.cache[text] = self.encode(text)
        return self.cache[text]

    def write(self, stories: list[list], generator: numpy.random.Generator, turns: float, loose: bool = True) -> Batch:
        """`stories` holds the questions about each; a share of `turns` become one conversation, of many turns."""
        rows, answers = [], []
        for row, questions in enumerate(stories):
            ids, targets, weights, block, positions = [VIDEO_END], [IGNORED], [0.0], [0], [0]
            conversation = generator.random() < turns
            for index, question in enumerate(questions):
                text = loosely(question.text, generator) if loose else question.text
                follows = conversation and index > 0
                asked = self.ids(next_turn(text) if follows else first_turn(text))
                if follows:
                    asked = [END, *asked]
                answer = self.ids(" " + question.answer)
                start = len(ids) + len(asked) - 1
                answers.append((row, start, start + len(answer) + 1, question.kind))
                first = positions[-1] + 1 if follows else 1
                ids += asked + answer
                targets += [IGNORED] * (len(asked) - 1) + answer + [END]
                weights += [0.0] * (len(asked) - 1) + [(len(answer) + 1) ** -0.5] * (len(answer) + 1)
                block += [1 if conversation else index + 1] * (len(asked) + len(answer))
                positions += range(first, first + len(asked) + len(answer))
            rows.append((ids, targets, weights, block, positions))
        length = max(len(ids) for ids, *_ in rows)
        pad = lambda part, value: torch.tensor([r[part] + [value] * (length - len(r[part])) for r in rows])  # noqa: E731
        return Batch(torch.tensor(self.prefix), pad(0, 0), pad(1, IGNORED), pad(2, 0.0), pad(3, -1), pad(4, 0), answers)


def logits_of(model: LlamaForCausalLM, batch: Batch, video: torch.Tensor) -> torch.Tensor:
    """Logits of every token of the text [n, text, vocabulary], given the video's embeddings [n, tokens, width]."""
    embed = model.get_input_embeddings()
    count = len(batch.ids)
    before = embed(batch.prefix).expand(count, -1, -1)
    known = before.shape[1] + video.shape[1]
    embeddings = torch.cat([before, video, embed(batch.ids)], 1)
    length = embeddings.shape[1]
    positions = torch.cat([torch.arange(known).expand(count, -1), batch.positions + known], 1)
    block = torch.cat([torch.zeros(count, known, dtype=torch.int64), batch.block], 1)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    seen = causal & ((block[:, None, :] == 0) | (block[:, None, :] == block[:, :, None]))
    hidden = model.model(inputs_embeds=embeddings, attention_mask=seen[:, None], position_ids=positions).last_hidden_state
    return model.lm_head(hidden[:, known:])


def loss_of(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return (losses * batch.weights.flatten()).sum() / batch.weights.sum()


def count_right(logits: torch.Tensor, batch: Batch, tally: dict[str, list[int]]) -> None:
    """Adds to `tally` how many answers of each kind greedy decoding gets right, word for word."""
    right = (logits.argmax(-1) == batch.targets).numpy()
    for row, start, end, kind in batch.answers:
        counts = tally.setdefault(kind, [0, 0])
        counts[0] += bool(right[row, start:end].all())
        counts[1] += 1


def in_words(tally: dict[str, list[int]]) -> str:
    total = [sum(counts[i] for counts in tally.values()) for i in (0, 1)]
    kinds = [kind for kind in KINDS if kind in tally]
    return f"all {total[0] / total[1]:.3f}; " + ", ".join(f"{kind} {tally[kind][0] / tally[kind][1]:.2f}" for kind in kinds)


class Bundles(torch.nn.Module):
    """Stands in for tower and projector while the language model learns.

    An attribute's embedding is that of its word, so that what is read can be matched with what is asked, and told, from
    the first step on; a small part of its own is learned.
    """

    def __init__(self, width: int, vocabulary):
        super().__init__()
        self.own = torch.nn.Parameter(torch.randn(ALL_CLASSES, width) * 0.01)
        self.layer = torch.nn.Parameter(torch.randn(GLOBAL_LAYERS, width) * 0.02)
        self.local = torch.nn.Parameter(torch.zeros(width))
        offsets = numpy.cumsum([0, *list(CLASSES.values())[:-1]])
        self.register_buffer("offsets", torch.from_numpy(offsets))
        words = [vocabulary.encode(f" {word}")[-1] if word else -1 for word in words_of_classes()]
        self.register_buffer("words", torch.tensor(words))

    def rows(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Classes [..., attributes] to embeddings of each attribute [..., attributes, width], given those of words."""
        table = self.own + embeddings[self.words.clamp_min(0)] * (self.words >= 0)[:, None]
        return table[labels + self.offsets]

    def clean(self, embeddings, labels: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Labels [n, ROWS, attributes] and shares [n, tokens, ROWS] to bundles [n, tokens, width]."""
        return shares @ self.rows(embeddings, labels).sum(2)

    def forward(self, embeddings, labels, shares, global_shares, noise: float, dropped: float) -> torch.Tensor:
        """A video's embeddings, global and local, with noise, and with attributes missing from some tokens."""
        of_attributes = self.rows(embeddings, labels).transpose(1, 2)  # [n, attributes, ROWS, width]
        kept = (torch.rand(*shares.shape[:2], of_attributes.shape[1]) >= dropped).float()
        local = ((shares[:, None] @ of_attributes) * kept.permute(0, 2, 1)[..., None]).sum(1) + self.local
        whole = (global_shares[:, None] @ of_attributes.sum(1)) + self.layer
        video = torch.cat([whole, local], 1)
        strength = torch.rand(len(video), 1, 1) * noise * video.detach().std()
        return video + torch.randn_like(video) * strength


def pad_labels(events: tuple[Event, ...]) -> numpy.ndarray:
    labels = labels_of_story(events)
    return numpy.concatenate([labels, numpy.zeros((ROWS - len(labels), labels.shape[1]), dtype=labels.dtype)])


class Imagined:
    """Videos that were merged once, with other things happening in them each time."""

    def __init__(self, stories: list[tuple[Event, ...]], features: list[list[Features]]):
        self.spans = [[(event.start, event.end) for event in events] for events in stories]
        self.counts = numpy.array([len(spans) for spans in self.spans])
        # Grouped by the number of tokens: a batch holds videos of one size.
        self.groups: dict[tuple, list[tuple[int, Features]]] = {}
        for story, ways in enumerate(features):
            for way in ways:
                self.groups.setdefault(tuple(way.local.shape[:2]), []).append((story, way))
        self.sizes = list(self.groups)

    def draw(self, generator, writer: Writer, count: int, default: tuple, most_events: int, turns: float, questions: int):
        size = default if generator.random() < 0.7 else self.sizes[generator.integers(len(self.sizes))]
        group = [entry for entry in self.groups[size] if self.counts[entry[0]] <= most_events]
        chosen = [group[i] for i in generator.integers(len(group), size=count)]
        stories = [draw_events(generator, self.spans[story]) for story, _ in chosen]
        batch = writer.write([ask(events, generator, questions) for events in stories], generator, turns)
        labels = torch.from_numpy(numpy.stack([pad_labels(events) for events in stories]))
        shares = torch.stack([way.shares.flatten(0, 1) for _, way in chosen])
        return batch, labels, shares, torch.stack([way.global_shares for _, way in chosen])


def drop_part(video: torch.Tensor, generator: numpy.random.Generator) -> torch.Tensor:
    """Now and then leaves out the global tokens of a batch, some of them, or the local ones: ablations must not meet
    what was never seen."""
    chance = generator.random()
    if chance < 0.08:
        return video[:, GLOBAL_LAYERS:]
    if chance < 0.12:
        return video[:, :GLOBAL_LAYERS]
    return video[:, generator.integers(1, GLOBAL_LAYERS) :] if chance < 0.22 else video


def pretrain(imagined: Imagined, writer: Writer, vocabulary, default: tuple, steps: int, batch: int, rate=2e-3):
    torch.manual_seed(2)
    generator = numpy.random.default_rng(2)
    model = new_language_model(len(vocabulary))
    bundles = Bundles(ARCHITECTURE["hidden_size"], vocabulary)
    weights = [*model.parameters(), *bundles.parameters()]
    optimizer = Optimizer(weights, matrices_of(model.model.layers), rate, steps)
    started, tally, losses = time.time(), {}, []
    for step in range(steps):
        most = 5 if step < steps * 0.15 else 8 if step < steps * 0.3 else 12
        drawn, labels, shares, whole = imagined.draw(generator, writer, batch, default, most, turns=0.25, questions=11)
        video = bundles(model.get_input_embeddings().weight, labels, shares, whole, noise=0.5, dropped=0.05)
        video = drop_part(video, generator)
        logits = logits_of(model, drawn, video)
        loss = loss_of(logits, drawn)
        optimizer.step(loss)
        losses.append(loss.item())
        if step % 100 >= 90:
            count_right(logits.detach(), drawn, tally)
        if step % 100 == 99:
            print(
                f"language {step + 1}/{steps} {time.time() - started:.0f} s: loss {numpy.mean(losses):.3f}; {in_words(tally)}",
                flush=True,
            )
            tally, losses = {}, []
    return model.eval(), bundles
