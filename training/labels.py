"""Attributes of events as class indices, for the heads of the tower and the bundles of the language model."""

import numpy

from world.story import BACKGROUNDS, COLOURS, COUNTS, NUMBERS, PLACES, SHAPES, Event

# Attributes and their values. The last class of every attribute except the background means that nothing is shown.
ATTRIBUTES = {
    "shape": SHAPES,
    "colour": COLOURS,
    "count": tuple(range(1, len(COUNTS) + 1)),
    "place": PLACES,
    "number": NUMBERS,
    "background": BACKGROUNDS,
}
CLASSES = {name: len(values) + (name != "background") for name, values in ATTRIBUTES.items()}
ALL_CLASSES = sum(CLASSES.values())
# Maximum number of rows of labels_of_story(): twelve events, and as many pauses.
ROWS = 24


def words_of_classes() -> list[str]:
    """The word of each class of each attribute; '' if nothing is shown."""
    words = []
    for name, values in ATTRIBUTES.items():
        words += COUNTS if name == "count" else values
        words += [""] * (CLASSES[name] - len(values))
    return words


def labels_of(event: Event) -> list[int]:
    """A class for each attribute."""
    labels = []
    for name, values in ATTRIBUTES.items():
        value = getattr(event, name)
        labels.append(values.index(value) if value in values else len(values))
    return labels


def labels_of_pause(before: Event) -> list[int]:
    """The labels of a pause, which shows only the background of the event before it."""
    return [
        BACKGROUNDS.index(before.background) if name == "background" else len(values)
        for name, values in ATTRIBUTES.items()
    ]


def labels_of_story(events: tuple[Event, ...]) -> numpy.ndarray:
    """Classes [2 · events, attributes]: first of all events, then of the pauses after them."""
    return numpy.array([labels_of(event) for event in events] + [labels_of_pause(event) for event in events])


def pad_labels(events: tuple[Event, ...]) -> numpy.ndarray:
    """labels_of_story() padded with rows of zeros [ROWS, attributes]."""
    labels = labels_of_story(events)
    return numpy.concatenate([labels, numpy.zeros((ROWS - len(labels), labels.shape[1]), dtype=labels.dtype)])


def rows_of_frames(shown: numpy.ndarray, events: int) -> numpy.ndarray:
    """The row of labels_of_story() that each frame shows [frames], given the event it shows or -1."""
    rows = numpy.empty(len(shown), dtype=numpy.int64)
    before = 0
    for index, event in enumerate(shown):
        before = max(before, int(event))
        rows[index] = event if event >= 0 else events + before
    return rows
