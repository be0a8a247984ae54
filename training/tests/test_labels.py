import unittest

import numpy

from labels import ALL_CLASSES, ATTRIBUTES, CLASSES, ROWS, labels_of_story, pad_labels, rows_of_frames, words_of_classes
from world.story import COUNTS, Event, draw_story

STORIES = [draw_story(seed).events for seed in range(100)]
EVENTS = (
    Event("circle", "red", 1, "left", "plain", "3", 0.0, 0.2),
    Event("star", "blue", 2, "right", "wavy", "", 0.3, 0.6),
)


def in_words(classes):
    """The word of each attribute's class."""
    words, read, offset = words_of_classes(), {}, 0
    for (name, size), label in zip(CLASSES.items(), classes, strict=True):
        read[name] = words[offset + label]
        offset += size
    return read


class LabelsOfStory(unittest.TestCase):
    def test_tell_what_each_event_shows(self):
        for events in STORIES:
            for event, classes in zip(events, labels_of_story(events)[: len(events)], strict=True):
                shown = {name: getattr(event, name) for name in ATTRIBUTES}
                self.assertEqual(in_words(classes), {**shown, "count": COUNTS[event.count - 1]})

    def test_tell_of_a_pause_the_background_before_it_and_nothing_else(self):
        pauses = labels_of_story(EVENTS)[2:]
        nothing = {name: "" for name in ATTRIBUTES}
        self.assertEqual(in_words(pauses[0]), {**nothing, "background": "plain"})
        self.assertEqual(in_words(pauses[1]), {**nothing, "background": "wavy"})

    def test_have_a_word_for_every_class(self):
        self.assertEqual(len(words_of_classes()), ALL_CLASSES)

    def test_are_padded_to_the_rows_of_the_longest_story(self):
        for events in STORIES:
            padded = pad_labels(events)
            self.assertEqual(padded.shape, (ROWS, len(ATTRIBUTES)))
            numpy.testing.assert_array_equal(padded[: 2 * len(events)], labels_of_story(events))
            self.assertFalse(padded[2 * len(events) :].any())


class RowsOfFrames(unittest.TestCase):
    def test_point_to_the_event_shown_or_to_the_pause_behind_the_last_one(self):
        shown = numpy.array([0, 0, -1, 1, -1, -1])
        self.assertEqual(rows_of_frames(shown, 2).tolist(), [0, 0, 2, 1, 3, 3])

    def test_point_to_the_first_pause_before_any_event(self):
        self.assertEqual(rows_of_frames(numpy.array([-1, 0]), 2).tolist(), [2, 0])
