"""Dense texts about a story, in which nearly every word is informative, for training the language model.

A question with its answer contains one fact in twenty words; these texts contain one in two or three words.
"""

import numpy

from .questions import WHEN, WHERE, Asker, article, noun, thing
from .story import COUNTS, Event

LONGEST_RUN = 4


def scene(asker: Asker, index: int, generator: numpy.random.Generator) -> str:
    """All facts about one event and its neighbours, in any order, after words that identify the event.

    'the circles: early, red, two, before them a blue star, on the left.'
    """
    event = asker.events[index]
    cues = [asker.chosen(event)] * 2
    parts = [event.colour, COUNTS[event.count - 1], WHERE[event.place], f"{event.background} background", noun(event)]
    if event.place in asker.unique["place"]:
        cues.append(WHERE[event.place])
    if event.background in asker.unique["background"]:
        cues.append(f"the {event.background} background")
    if event.number:
        parts.append(f"number {event.number}")
        if event.number in asker.unique["number"]:
            cues.append(f"the number {event.number}")
    them = "it" if event.count == 1 else "them"
    if index > 0:
        parts.append(f"before {them} {thing(asker.events[index - 1])}")
    if index < len(asker.events) - 1:
        parts.append(f"after {them} {thing(asker.events[index + 1])}")
    parts += [name for name, low, high in WHEN if low <= event.centre <= high]
    cue = cues[generator.integers(len(cues))]
    return f"{cue}: {', '.join(parts[i] for i in generator.permutation(len(parts)))}."


def run(events: tuple[Event, ...], generator: numpy.random.Generator) -> str:
    """Consecutive events, forwards or backwards: 'a red moon, then two pink circles, then a blue star.'"""
    backwards = generator.random() < 0.5
    ordered = events[::-1] if backwards else events
    start = int(generator.integers(len(events))) if generator.random() < 0.5 else 0
    length = int(generator.integers(2, LONGEST_RUN + 1))
    text = (", before it " if backwards else ", then ").join(thing(event) for event in ordered[start : start + length])
    return text + "." if start else f"{'last' if backwards else 'first'} {text}."


def roll_call(events: tuple[Event, ...], generator: numpy.random.Generator, left_out: frozenset, count: int = 4) -> str:
    """What exists and what does not, without pairs `left_out`: 'a red moon? Yes. a pink star? No.'"""
    pairs = sorted({(event.colour, event.shape) for event in events})
    absent = sorted({(colour, shape) for colour, _ in pairs for _, shape in pairs} - set(pairs) - left_out)
    calls = []
    for _ in range(count):
        among = absent if absent and generator.random() < 0.5 else pairs
        colour, shape = among[generator.integers(len(among))]
        calls.append(f"{article(colour)} {colour} {shape}? {'No' if among is absent else 'Yes'}.")
    return " ".join(calls)
