"""The content of a video of the world: scenes in time, each with one kind of object on a background.

A story is drawn from a seed alone. Times are shares of the video's length, 0 to 1.
"""

import dataclasses
import math

import numpy

SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "cross", "moon")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
COUNTS = ("one", "two", "three")
PLACES = ("left", "right", "top", "bottom", "middle")
BACKGROUNDS = ("plain", "striped", "dotted", "checked", "wavy")
NUMBERS = tuple(str(digit) for digit in range(10))
MOTIONS = ("still", "sway", "bob", "turn", "pulse")
TRANSITIONS = ("cut", "fade")

# Pairs of colour and shape that are in no training video, nor in questions about one: each colour once, each shape
# once. The language model, which is trained without videos, reads about them as about all others.
HELD_OUT = frozenset(zip(COLOURS, SHAPES[3:] + SHAPES[:3], strict=True))

# An event takes at least this share of the video, so that some sampled frames show it.
SHORTEST_EVENT = 1 / 18
SIZES = ((320, 180), (180, 320), (320, 240), (240, 320), (240, 240), (426, 240), (640, 360))
FRAME_RATES = (5.0, 8.0, 10.0, 12.5, 15.0, 24.0, 30000 / 1001)
SHORTEST_SECONDS, LONGEST_SECONDS = 20, 1800
# Long videos have few frames per second, like recordings of cameras and slides, which keeps their files small.
MOST_FRAMES = 600


@dataclasses.dataclass(frozen=True)
class Event:
    """`count` objects of one kind, together at one place; `number` is a digit shown beside them, or ''."""

    shape: str
    colour: str
    count: int
    place: str
    background: str
    number: str
    start: float
    end: float

    @property
    def centre(self) -> float:
        return (self.start + self.end) / 2


@dataclasses.dataclass(frozen=True)
class Look:
    """How an event is drawn; no question asks about this. `seed` is for random details."""

    motion: str
    size: float
    transition: str
    seed: int


@dataclasses.dataclass(frozen=True)
class Story:
    seed: int
    width: int
    height: int
    frame_rate: float
    seconds: float
    events: tuple[Event, ...]
    looks: tuple[Look, ...]

    @property
    def frame_count(self) -> int:
        return max(1, round(self.seconds * self.frame_rate))

    def at(self, time: float) -> int | None:
        """The event at a time, or None in a pause."""
        return next((i for i, event in enumerate(self.events) if event.start <= time < event.end), None)


def timeline(generator: numpy.random.Generator, count: int) -> list[tuple[float, float]]:
    """Start and end of `count` events, with pauses of any length between some of them."""
    pauses = generator.random(count + 1) < 0.3
    free = generator.dirichlet(numpy.full(count + int(pauses.sum()), 1.5)) * (1 - count * SHORTEST_EVENT)
    shares = iter(free)
    spans: list[tuple[float, float]] = []
    time = 0.0
    for index in range(count + 1):
        if pauses[index]:
            time += float(next(shares))
        if index < count:
            end = time + SHORTEST_EVENT + float(next(shares))
            spans.append((time, end))
            time = end
    # A remainder from rounding must not become a pause at the end.
    if not pauses[count]:
        spans[-1] = (spans[-1][0], 1.0 + 1e-9)
    return spans


def draw_pairs(
    generator: numpy.random.Generator, count: int, held_out: bool, left_out=HELD_OUT
) -> list[tuple[str, str]]:
    """Different pairs of colour and shape, without those `left_out`; with `held_out`, some are HELD_OUT."""
    seen = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in left_out]
    pairs = [seen[i] for i in generator.permutation(len(seen))[:count]]
    if held_out:
        unseen = sorted(HELD_OUT)
        some = int(generator.integers(1, max(2, count // 3) + 1))
        for where, which in zip(generator.permutation(count)[:some], generator.permutation(len(unseen)), strict=False):
            pairs[where] = unseen[which]
    return pairs


def draw_events(
    generator: numpy.random.Generator, spans: list[tuple[float, float]], held_out: bool = False, left_out=HELD_OUT
) -> tuple[Event, ...]:
    """An event for each start and end; pairs as in `draw_pairs`."""
    count = len(spans)
    one_background = generator.random() < 0.15
    background = str(generator.choice(BACKGROUNDS))
    events = []
    for (colour, shape), (start, end) in zip(draw_pairs(generator, count, held_out, left_out), spans, strict=True):
        events.append(
            Event(
                shape=shape,
                colour=colour,
                count=int(generator.integers(1, len(COUNTS) + 1)),
                place=PLACES[generator.integers(len(PLACES))],
                background=background if one_background else BACKGROUNDS[generator.integers(len(BACKGROUNDS))],
                number=NUMBERS[generator.integers(10)] if generator.random() < 0.5 else "",
                start=start,
                end=end,
            )
        )
    return tuple(events)


def draw_story(
    seed: int, held_out: bool = False, longest: float = LONGEST_SECONDS, most_frames: int = MOST_FRAMES
) -> Story:
    """The story of a seed: 3 to 12 events in a video of 20 seconds to `longest`."""
    generator = numpy.random.default_rng([seed, int(held_out)])
    spans = timeline(generator, int(generator.integers(3, 13)))
    events = draw_events(generator, spans, held_out)
    width, height = SIZES[generator.integers(len(SIZES))]
    looks = tuple(
        Look(
            motion=MOTIONS[generator.integers(len(MOTIONS))],
            size=float(generator.uniform(0.28, 0.4)),
            transition=TRANSITIONS[generator.integers(len(TRANSITIONS))],
            seed=int(generator.integers(2**31)),
        )
        for _ in events
    )
    frame_rate = FRAME_RATES[generator.integers(len(FRAME_RATES))]
    seconds = float(math.exp(generator.uniform(math.log(SHORTEST_SECONDS), math.log(longest))))
    if seconds * frame_rate > most_frames:
        frame_rate = float(max(1, most_frames // seconds))
    return Story(
        seed=seed,
        width=width,
        height=height,
        frame_rate=frame_rate,
        seconds=seconds,
        events=events,
        looks=looks,
    )
