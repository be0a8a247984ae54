"""The language model: a small LLaMA, first trained without videos.

Instead of a video it reads bundles: the embeddings of an event's attributes are summed, mixed as in merged tokens, and
noise is added. New stories of one to twelve events are drawn at every step, so it sees no story twice. It learns
look-ups, order and answers before it sees a picture. Look-ups are learned last, and much sooner from questions and
dense texts (`world.narration`) than from questions alone.
"""

import dataclasses
import time
from collections.abc import Callable

import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from labels import ALL_CLASSES, CLASSES, ROWS, pad_labels, rows_of_frames, words_of_classes
from muon import Optimizer, matrices_of
from settings import FRAMES, GLOBAL_LAYERS
from texts import IGNORED, Batch, Writer, narrate
from vocabulary import BEGIN, END
from world.questions import KINDS, ask
from world.story import Event, draw_events, timeline

ARCHITECTURE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
# The language model reads about all pairs of colour and shape, including those that no video shows.
NOTHING: frozenset = frozenset()
# Kinds that are learned last are asked twice as often.
TAUGHT = (*KINDS, "what", "before", "after")
# The hidden state in which the heads read from a video token what it shows, the previous event, and its position; and
# the hidden state in which they read the same about the relevant event from an answer's tokens.
WATCHED, FOUND = 2, 4
# Classes of positions contain this many tokens each.
POSITIONS, TOKENS_OF_POSITION = 20, 8
# Loss weights of the heads on video tokens and on answer tokens; the text has weight 1.
WATCH_WEIGHT, FOUND_WEIGHT = 1.0, 0.5


def new_language_model(vocabulary_size: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary_size, bos_token_id=BEGIN, eos_token_id=END, pad_token_id=0, **ARCHITECTURE
    )
    model = LlamaForCausalLM(config)
    attend_to_alike(model)
    return model


@torch.no_grad()
def attend_to_alike(model: LlamaForCausalLM) -> None:
    """Initialises attention so that tokens attend to similar tokens and copy them (after Trockman and Kolter, 2023).

    Queries and keys start as the same projection. Only the slow two thirds of RoPE's pairs are used, which hardly
    depend on the position in the text.
    """
    width, heads = ARCHITECTURE["hidden_size"], ARCHITECTURE["num_attention_heads"]
    half = width // heads // 2
    slow = (torch.arange(width // heads) % half >= half // 3).float()[:, None]
    for layer in model.model.layers:
        attention = layer.self_attn
        alike = torch.cat([torch.nn.init.orthogonal_(torch.empty(2 * half, width)) * slow for _ in range(heads)])
        attention.q_proj.weight += alike
        attention.k_proj.weight += alike
        copied = 0.5 * torch.nn.init.orthogonal_(torch.empty(width, width))
        attention.v_proj.weight += copied
        attention.o_proj.weight += copied.T


def run_model(model: LlamaForCausalLM, batch: Batch, video: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Logits of every token of the text [n, text, vocabulary], given the video's embeddings [n, tokens, width]; also
    the hidden state WATCHED of the video tokens, and FOUND of the text tokens."""
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
    result = model.model(
        inputs_embeds=embeddings, attention_mask=seen[:, None], position_ids=positions, output_hidden_states=True
    )
    watched = result.hidden_states[WATCHED][:, before.shape[1] : known]
    return model.lm_head(result.last_hidden_state[:, known:]), watched, result.hidden_states[FOUND][:, known:]


def logits_of(model: LlamaForCausalLM, batch: Batch, video: torch.Tensor) -> torch.Tensor:
    return run_model(model, batch, video)[0]


def loss_of(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return (losses * batch.weights.flatten()).sum() / batch.weights.sum()


def count_right(logits: torch.Tensor, batch: Batch, tally: dict[str, list[int]]) -> None:
    """Adds to `tally` the number of answers of each kind that greedy decoding gets exactly right."""
    right = (logits.argmax(-1) == batch.targets).numpy()
    for answer in batch.answers:
        counts = tally.setdefault(answer.kind, [0, 0])
        counts[0] += bool(right[answer.row, answer.start : answer.end].all())
        counts[1] += 1


def in_words(tally: dict[str, list[int]]) -> str:
    total = [sum(counts[i] for counts in tally.values()) for i in (0, 1)]
    kinds = [kind for kind in KINDS if kind in tally]
    return f"all {total[0] / total[1]:.3f}; " + ", ".join(
        f"{kind} {tally[kind][0] / tally[kind][1]:.2f}" for kind in kinds
    )


class Bundles(torch.nn.Module):
    """Replaces tower and projector while the language model is trained.

    An attribute's embedding is that of its word, so that bundles can be matched with questions and answers from the
    first step on, plus a small learned vector.
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


@dataclasses.dataclass
class Known:
    """The targets of the heads of Watch for a batch."""

    of_video: torch.Tensor  # [n, local tokens, heads]: classes for the last tokens of the video
    found: torch.Tensor  # [k, heads]: classes for the tokens that precede an answer's tokens
    rows: torch.Tensor  # [k], their positions in the text
    tokens: torch.Tensor


class Watch(torch.nn.Module):
    """Auxiliary linear heads, for training only. Every video token learns to predict what it shows, the previous event,
    and the number of tokens before it (attention only looks back); order follows from these. The tokens of an answer
    learn to predict the same for the event that contains the answer."""

    BEFORE = ("shape", "colour", "count")

    def __init__(self, width: int):
        super().__init__()
        self.sizes = [*CLASSES.values(), *(CLASSES[name] for name in self.BEFORE), POSITIONS]
        self.of_video = torch.nn.Linear(width, sum(self.sizes))
        self.found = torch.nn.Linear(width, sum(self.sizes[:-1]))

    def classes(self, labels: torch.Tensor, rows: torch.Tensor, events: torch.Tensor) -> list[torch.Tensor]:
        """Selects from labels [n, ROWS, attributes], with numbers of `events` [n], those of rows [n, k] and of the
        previous event, which is IGNORED in pauses."""
        names = list(CLASSES)
        of = lambda rows, name: labels[:, :, names.index(name)].gather(1, rows)  # noqa: E731
        classes = [of(rows, name) for name in names]
        for name in self.BEFORE:
            before = torch.where(rows == 0, CLASSES[name] - 1, of((rows - 1).clamp_min(0), name))
            classes.append(torch.where(rows < events[:, None], before, IGNORED))
        return classes

    def known(self, labels: torch.Tensor, shares: torch.Tensor, events: torch.Tensor, batch: Batch) -> Known:
        """The targets for labels [n, ROWS, attributes], shares [n, local tokens, ROWS] and the numbers of events
        [n]."""
        rows = shares.argmax(-1)
        positions = (torch.arange(rows.shape[1]) // TOKENS_OF_POSITION).clamp_max(POSITIONS - 1)
        of_video = [*self.classes(labels, rows, events), positions.expand(len(rows), -1)]
        tokens = [
            (a.row, token, a.about) for a in batch.answers if a.about is not None for token in range(a.start, a.end)
        ]
        where, tokens, about = torch.tensor(tokens).unbind(-1)
        found = self.classes(labels[where], about[:, None], events[where])
        return Known(torch.stack(of_video, -1), torch.cat(found, -1), where, tokens)

    def loss(self, of_video: torch.Tensor, of_text: torch.Tensor, known: Known) -> tuple[torch.Tensor, str]:
        """The weighted loss for hidden states, and the accuracy of each head as text.

        Videos with only global tokens are excluded.
        """
        tokens = known.of_video.shape[1]
        found = self.found(of_text[known.rows, known.tokens])
        loss, right = judge(found, self.sizes[:-1], known.found)
        if of_video.shape[1] < tokens:
            return 0 * loss, ""
        watched, right_of_video = judge(self.of_video(of_video[:, -tokens:]), self.sizes, known.of_video)
        return WATCH_WEIGHT * watched + FOUND_WEIGHT * loss, f"of tokens {right_of_video}; found {right}"


def judge(scores: torch.Tensor, sizes: list[int], targets: torch.Tensor) -> tuple[torch.Tensor, str]:
    """The mean cross-entropy of heads of `sizes`, and the accuracy of each."""
    loss, right = 0, []
    for of_head, target in zip(scores.split(sizes, -1), targets.unbind(-1), strict=True):
        loss = loss + torch.nn.functional.cross_entropy(of_head.flatten(0, -2), target.flatten(), ignore_index=IGNORED)
        right.append((of_head.argmax(-1) == target)[target != IGNORED].float().mean().item())
    return loss / len(right), " ".join(f"{share:.2f}" for share in right)


def imagine_shares(generator, rows: numpy.ndarray, segments: int, keep: int) -> numpy.ndarray:
    """Simulates merging of frames that show `rows`: shares [segments, keep, ROWS].

    The rows of a segment's frames are distributed over its tokens, one row for each token if there are enough, as in
    real merging.
    """
    shares = numpy.zeros((segments, keep, ROWS), numpy.float32)
    for of_segment, frames in zip(shares, numpy.array_split(rows, segments), strict=True):
        shown = generator.permutation(numpy.unique(frames))
        of_tokens = [*shown[:keep], *generator.choice(frames, max(0, keep - len(shown)))]
        of_segment[generator.permutation(keep), of_tokens] = 1
        for row in shown[keep:]:
            of_segment[generator.integers(keep), row] += 1
    return shares / shares.sum(-1, keepdims=True)


@dataclasses.dataclass
class Imagined:
    """A batch of stories without videos."""

    stories: list[tuple[Event, ...]]
    labels: torch.Tensor  # [n, ROWS, attributes]
    shares: torch.Tensor  # [n, tokens, ROWS]
    global_shares: torch.Tensor  # [n, ROWS]


def imagine(
    generator: numpy.random.Generator, count: int, fewest: int, most: int, segments: int, keep: int
) -> Imagined:
    """`count` stories of `fewest` to `most` events each, of any pairs, in `segments` of `keep` tokens."""
    stories, labels, shares, whole = [], [], [], []
    for _ in range(count):
        spans = timeline(generator, int(generator.integers(fewest, most + 1)))
        events = draw_events(generator, spans, left_out=NOTHING)
        times = (numpy.arange(FRAMES) + 0.5) / FRAMES
        shown = numpy.array([next((i for i, (a, b) in enumerate(spans) if a <= t < b), -1) for t in times])
        rows = rows_of_frames(shown, len(events))
        stories.append(events)
        labels.append(pad_labels(events))
        shares.append(imagine_shares(generator, rows, segments, keep).reshape(segments * keep, ROWS))
        whole.append(numpy.bincount(rows, minlength=ROWS).astype(numpy.float32) / FRAMES)
    return Imagined(stories, *(torch.from_numpy(numpy.stack(part)) for part in (labels, shares, whole)))


def drop_part(video: torch.Tensor, generator: numpy.random.Generator) -> torch.Tensor:
    """Randomly drops the global tokens of a batch, some of them, or the local ones, so that ablations are not out of
    distribution."""
    chance = generator.random()
    if chance < 0.08:
        return video[:, GLOBAL_LAYERS:]
    if chance < 0.12:
        return video[:, :GLOBAL_LAYERS]
    return video[:, generator.integers(1, GLOBAL_LAYERS) :] if chance < 0.22 else video


@dataclasses.dataclass
class Drawn:
    """The training data of a step."""

    batch: Batch
    video: torch.Tensor  # [n, tokens, width]
    known: Known


def draw_imagined(
    generator: numpy.random.Generator,
    writer: Writer,
    bundles: Bundles,
    embeddings: torch.Tensor,
    watch: Watch,
    count: int,
    fewest: int,
    most: int,
    size: tuple[int, int],
) -> Drawn:
    """`count` stories without videos, as bundles, of `fewest` to `most` events, in `size` (segments, tokens of
    each)."""
    imagined = imagine(generator, count, fewest, most, *size)
    asked = [ask(events, generator, 6, TAUGHT, left_out=NOTHING) for events in imagined.stories]
    texts = [narrate(events, generator, 4, 2, left_out=NOTHING) for events in imagined.stories]
    written = writer.write(asked, generator, turns=0.25, texts=texts)
    video = bundles(embeddings, imagined.labels, imagined.shares, imagined.global_shares, noise=0.5, dropped=0.05)
    counts = torch.tensor([len(events) for events in imagined.stories])
    return Drawn(written, drop_part(video, generator), watch.known(imagined.labels, imagined.shares, counts, written))


def fit(
    name: str, model, watch: Watch, weights, rate: float, steps: int, draw: Callable, tune=True, check=None
) -> None:
    """Trains `weights` for `steps`; `draw(share of steps done)` returns the training data of a step.

    Prints the loss and the accuracy of greedy decoding every 100 steps; calls `check()` every 500.
    """
    optimizer = Optimizer(weights, matrices_of(model.model.layers) if tune else [], rate, steps, warm_up=30)
    started, tally, losses = time.time(), {}, []
    for step in range(1, steps + 1):
        drawn = draw((step - 1) / steps)
        logits, *states = run_model(model, drawn.batch, drawn.video)
        loss = loss_of(logits, drawn.batch)
        watched, told = watch.loss(*states, drawn.known)
        optimizer.step(loss + watched)
        losses.append(loss.item())
        if step % 100 > 85 or step % 100 == 0 or step == steps:
            count_right(logits.detach(), drawn.batch, tally)
        if step % 100 == 0 or step == steps:
            spent, loss = time.time() - started, numpy.mean(losses)
            print(f"{name} {step}/{steps} {spent:.0f} s: loss {loss:.3f}; {in_words(tally)}; {told}", flush=True)
            tally, losses = {}, []
        if check and (step % 500 == 0 or step == steps):
            check()


# After this share of the steps, stories have up to this many events.
CURRICULUM = {0: 2, 0.03: 3, 0.08: 4, 0.13: 6, 0.18: 8, 0.24: 10, 0.3: 12}


def pretrain(
    writer: Writer, vocabulary, default: tuple, others: list[tuple], steps: int, batch: int, rate=5e-3, check=None
):
    """A language model and the bundles that it reads, in videos of `default` or `others` (segments, tokens of each)."""
    torch.manual_seed(2)
    generator = numpy.random.default_rng(2)
    model = new_language_model(len(vocabulary))
    bundles, watch = Bundles(ARCHITECTURE["hidden_size"], vocabulary), Watch(ARCHITECTURE["hidden_size"])

    def draw(done: float):
        most = [events for start, events in CURRICULUM.items() if start <= done][-1]
        if most < 8:
            size = int(generator.integers(2 * most - 1, default[0] + 1)), 2
        else:
            size = default if generator.random() < 0.7 else others[generator.integers(len(others))]
        embeddings = model.get_input_embeddings().weight
        return draw_imagined(generator, writer, bundles, embeddings, watch, batch, 1 if done < 0.5 else 3, most, size)

    weights = [*model.parameters(), *bundles.parameters(), *watch.parameters()]
    fit("language", model, watch, weights, rate, steps, draw, check=check and (lambda: check(model, bundles, watch)))
    return model.eval(), bundles, watch
