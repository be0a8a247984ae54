"""Questions about a story, each with its only right answer."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator

import numpy

from .story import COLOURS, COUNTS, HELD_OUT, SHAPES, Event, Story

KINDS = (
    "what",
    "colour",
    "where",
    "count",
    "number",
    "background",
    "first",
    "last",
    "before",
    "after",
    "when",
    "exist",
    "describe",
)
PLURALS = {"cross": "crosses"}
WHERE = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
# An event counts as early, in the middle or late only if its centre is not close to the borders at 1/3 and 2/3.
WHEN = (("early", 0.0, 0.29), ("in the middle", 0.38, 0.62), ("late", 0.71, 1.0))


@dataclasses.dataclass(frozen=True)
class Question:
    """`about` is the event that contains the answer, or None: usually the one in the question, for 'after' the next."""

    kind: str
    text: str
    answer: str
    about: int | None = None


def plural(shape: str) -> str:
    return PLURALS.get(shape, shape + "s")


def noun(event: Event) -> str:
    return event.shape if event.count == 1 else plural(event.shape)


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def thing(event: Event) -> str:
    """'a red circle', 'two red circles'"""
    if event.count == 1:
        return f"{article(event.colour)} {event.colour} {event.shape}"
    return f"{COUNTS[event.count - 1]} {event.colour} {noun(event)}"


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def describe(events: tuple[Event, ...]) -> str:
    """'First a red circle, then two blue stars, and last a green moon.'"""
    parts = [thing(event) for event in events]
    return sentence(
        ", ".join([f"first {parts[0]}", *(f"then {part}" for part in parts[1:-1]), f"and last {parts[-1]}"])
    )


class Asker:
    """Draws questions about the events of one story."""

    def __init__(self, events: tuple[Event, ...], generator: numpy.random.Generator, left_out=HELD_OUT):
        self.events = events
        self.generator = generator
        self.left_out = left_out
        self.unique = {
            field: {value for value, times in Counter(getattr(event, field) for event in events).items() if times == 1}
            for field in ("shape", "colour", "place", "background", "number")
        }

    def pick(self, *options: str) -> str:
        return options[self.generator.integers(len(options))]

    def chosen(self, event: Event) -> str:
        """Words that identify an event uniquely: 'the red circle', 'the circle', 'the red thing'."""
        options = [f"the {event.colour} {noun(event)}"] * 2
        if event.shape in self.unique["shape"]:
            options.append(f"the {noun(event)}")
        if event.colour in self.unique["colour"]:
            options.append(f"the {event.colour} thing" + ("s" if event.count > 1 else ""))
        return self.pick(*options)

    def what(self, event: Event) -> Iterator[str]:
        if event.background in self.unique["background"]:
            yield f"What is on the {event.background} background?"
            yield f"What is shown on the {event.background} background?"
            yield f"What do you see on the {event.background} background?"
        if event.number and event.number in self.unique["number"]:
            yield f"What is shown with the number {event.number}?"
            yield f"What do you see with the number {event.number}?"
        if event.place in self.unique["place"]:
            yield f"What is {WHERE[event.place]}?"
            yield f"What do you see {WHERE[event.place]}?"
        if event.colour in self.unique["colour"]:
            yield f"What is {event.colour}?"
            yield f"Which thing is {event.colour}?"

    def colour(self, event: Event) -> Iterator[str]:
        if event.shape in self.unique["shape"]:
            verb = "is" if event.count == 1 else "are"
            yield f"What colour {verb} the {noun(event)}?"
            yield f"Which colour {verb} the {noun(event)}?"
            yield f"Which colour {'does' if event.count == 1 else 'do'} the {noun(event)} have?"

    def where(self, event: Event) -> Iterator[str]:
        verb = "is" if event.count == 1 else "are"
        yield f"Where {verb} {self.chosen(event)}?"
        yield f"Where do you see {self.chosen(event)}?"
        yield f"In which place {verb} {self.chosen(event)}?"

    def count(self, event: Event) -> Iterator[str]:
        for name in [f"{event.colour} {plural(event.shape)}"] + (
            [plural(event.shape)] if event.shape in self.unique["shape"] else []
        ):
            yield f"How many {name} are there?"
            yield f"How many {name} do you see?"
            yield f"What is the count of {name}?"

    def number(self, event: Event) -> Iterator[str]:
        if event.number:
            yield f"Which number is shown with {self.chosen(event)}?"
            yield f"What number is shown with {self.chosen(event)}?"
            yield f"Which number do you see with {self.chosen(event)}?"

    def background(self, event: Event) -> Iterator[str]:
        yield f"Which background is behind {self.chosen(event)}?"
        yield f"What background is behind {self.chosen(event)}?"
        yield f"What is behind {self.chosen(event)}?"

    def beside(self, side: str, event: Event) -> Iterator[str]:
        yield f"What comes right {side} {self.chosen(event)}?"
        yield f"What happens just {side} {self.chosen(event)}?"
        yield f"What is shown {side} {self.chosen(event)}?"

    def before(self, event: Event) -> Iterator[str]:
        return self.beside("before", event)

    def after(self, event: Event) -> Iterator[str]:
        return self.beside("after", event)

    def when(self, event: Event) -> Iterator[str]:
        verb = "does" if event.count == 1 else "do"
        yield f"When {verb} {self.chosen(event)} appear?"
        yield f"When do you see {self.chosen(event)}?"
        yield f"{verb.capitalize()} {self.chosen(event)} appear early, in the middle or late?"

    def first(self) -> str:
        return self.pick(
            "What comes first?", "What happens first?", "What is shown first?", "How does the video begin?"
        )

    def last(self) -> str:
        return self.pick("What comes last?", "What happens last?", "What is shown last?", "How does the video end?")

    def description(self) -> str:
        return self.pick("Describe the video.", "What happens in the video?", "Tell me what happens in order.")

    def exist(self, colour: str, shape: str) -> str:
        one = f"{article(colour)} {colour} {shape}"
        return self.pick(f"Is there {one}?", f"Does {one} appear?", f"Do you see {one}?", f"Does the video show {one}?")

    def of(self, kind: str, held_out: bool = False) -> Question | None:
        """A question of that kind, or None if this story allows none. With `held_out`, about a held-out pair."""
        events, generator = self.events, self.generator
        match kind:
            case "first":
                return Question(kind, self.first(), sentence(thing(events[0])), 0)
            case "last":
                return Question(kind, self.last(), sentence(thing(events[-1])), len(events) - 1)
            case "describe":
                return Question(kind, self.description(), describe(events))
            case "exist":
                return self.exists(held_out)
        order = generator.permutation(len(events))
        for index in map(int, order):
            event = events[index]
            if held_out and not self.touches(kind, index):
                continue
            if (kind == "before" and index == 0) or (kind == "after" and index == len(events) - 1):
                continue
            answer = self.answer(kind, index)
            texts = list(ASK[kind](self, event)) if answer else []
            if texts:
                return Question(kind, self.pick(*texts), sentence(answer), index + (kind == "after"))
        return None

    def touches(self, kind: str, index: int) -> bool:
        """Whether the question or its answer mentions a held-out pair."""
        indices = {index, {"before": index - 1, "after": index + 1}.get(kind, index)}
        return any(
            (self.events[i].colour, self.events[i].shape) in HELD_OUT for i in indices if 0 <= i < len(self.events)
        )

    def answer(self, kind: str, index: int) -> str:
        event = self.events[index]
        match kind:
            case "what":
                return thing(event)
            case "colour":
                return event.colour
            case "where":
                return WHERE[event.place]
            case "count":
                return COUNTS[event.count - 1]
            case "number":
                return event.number
            case "background":
                return event.background
            case "before":
                return thing(self.events[index - 1])
            case "after":
                return thing(self.events[index + 1])
        return next((name for name, low, high in WHEN if low <= event.centre <= high), "")

    def exists(self, held_out: bool) -> Question | None:
        generator = self.generator
        pairs = {(event.colour, event.shape) for event in self.events}
        allowed = lambda pair: (pair in self.left_out) == held_out  # noqa: E731
        if generator.random() < 0.5:
            present = sorted(filter(allowed, pairs))
            if not present:
                return None
            colour, shape = present[generator.integers(len(present))]
            return Question("exist", self.exist(colour, shape), "Yes.")
        # Most of the absent pairs combine a colour and a shape that occur in the story, but not together.
        near = {(c, s) for c, _ in pairs for _, s in pairs} - pairs
        anything = {(c, s) for c in COLOURS for s in SHAPES} - pairs
        absent = sorted(filter(allowed, near if generator.random() < 0.6 else anything))
        if not absent:
            return None
        colour, shape = absent[generator.integers(len(absent))]
        return Question("exist", self.exist(colour, shape), "No.")


ASK: dict[str, Callable[[Asker, Event], Iterator[str]]] = {
    kind: getattr(Asker, kind)
    for kind in ("what", "colour", "where", "count", "number", "background", "before", "after", "when")
}


def ask(
    events: tuple[Event, ...],
    generator: numpy.random.Generator,
    count: int,
    kinds=KINDS,
    held_out: bool = False,
    left_out=HELD_OUT,
) -> list[Question]:
    """Up to `count` different questions, with kinds in turn and in random order. With `held_out` all of them mention a
    held-out pair; otherwise none mentions a pair that is `left_out`."""
    asker = Asker(events, generator, left_out)
    questions: dict[str, Question] = {}
    for _ in range(3):
        for kind in generator.permutation(kinds):
            if len(questions) == count:
                return list(questions.values())
            question = asker.of(str(kind), held_out)
            if question:
                questions.setdefault(question.text, question)
    return list(questions.values())


def questions_of(story: Story, count: int, held_out: bool) -> list[Question]:
    """What a data set asks about a story, up to `count`; with `held_out`, questions that a held-out pair is part of."""
    generator = numpy.random.default_rng([story.seed, 13])
    if not held_out:
        return ask(story.events, generator, count)
    kinds = [kind for kind in KINDS if kind not in ("first", "last", "describe")]
    ends = (("first", story.events[0]), ("last", story.events[-1]))
    kinds += [kind for kind, event in ends if (event.colour, event.shape) in HELD_OUT]
    return ask(story.events, generator, count, kinds, held_out=True)
