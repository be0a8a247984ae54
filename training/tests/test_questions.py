import json
import pathlib
import unittest

import numpy

from world.questions import KINDS, ask, questions_of
from world.story import HELD_OUT, Event, draw_story

WORLD = pathlib.Path(__file__).parents[2] / "test/fixtures/world"

CIRCLE = Event("circle", "red", 1, "left", "plain", "3", 0.0, 0.2)
STARS = Event("star", "blue", 2, "right", "striped", "", 0.3, 0.6)
MOONS = Event("moon", "green", 3, "top", "dotted", "7", 0.7, 1.0)
STORY = (CIRCLE, STARS, MOONS)


def asked_about(events, kinds=KINDS, draws=150):
    """Everything that is ever asked about events: each question's text and the Question."""
    generator = numpy.random.default_rng(0)
    return {question.text: question for _ in range(draws) for question in ask(events, generator, 40, kinds)}


class Answers(unittest.TestCase):
    """What is asked about a circle, then two stars, then three moons."""

    expected = {
        "What is on the striped background?": ("what", "Two blue stars.", 1),
        "What is shown with the number 7?": ("what", "Three green moons.", 2),
        "What is on the left?": ("what", "A red circle.", 0),
        "What is blue?": ("what", "Two blue stars.", 1),
        "What colour is the circle?": ("colour", "Red.", 0),
        "What colour are the moons?": ("colour", "Green.", 2),
        "Where is the red circle?": ("where", "On the left.", 0),
        "Where are the moons?": ("where", "At the top.", 2),
        "How many stars are there?": ("count", "Two.", 1),
        "How many red circles are there?": ("count", "One.", 0),
        "Which number is shown with the green moons?": ("number", "7.", 2),
        "Which background is behind the blue stars?": ("background", "Striped.", 1),
        "What comes first?": ("first", "A red circle.", 0),
        "How does the video end?": ("last", "Three green moons.", 2),
        "What comes right before the green moons?": ("before", "Two blue stars.", 2),
        "What comes right after the red circle?": ("after", "Two blue stars.", 1),
        "When does the red circle appear?": ("when", "Early.", 0),
        "When do the stars appear?": ("when", "In the middle.", 1),
        "When do you see the moons?": ("when", "Late.", 2),
        "Is there a red circle?": ("exist", "Yes.", None),
        "Is there a blue circle?": ("exist", "No.", None),
        "Describe the video.": (
            "describe",
            "First a red circle, then two blue stars, and last three green moons.",
            None,
        ),
    }

    def test_are_what_the_story_shows(self):
        asked = asked_about(STORY)
        for text, answer in self.expected.items():
            with self.subTest(text):
                question = asked[text]
                self.assertEqual((question.kind, question.answer, question.about), answer)

    def test_of_every_kind_are_covered(self):
        self.assertEqual({kind for kind, *_ in self.expected.values()}, set(KINDS))

    def test_say_yes_only_to_what_is_there(self):
        there = {"red circle", "blue star", "green moon"}
        for question in asked_about(STORY, ("exist",)).values():
            named = next((pair for pair in there if f" {pair}" in question.text), None)
            self.assertEqual(question.answer, "Yes." if named else "No.", question.text)


class Ambiguity(unittest.TestCase):
    def test_of_two_circles_each_is_named_with_its_colour(self):
        other = Event("circle", "blue", 1, "right", "plain", "3", 0.3, 0.6)
        for text in asked_about((CIRCLE, other, MOONS)):
            for ambiguous in ("the circle", "many circles", "plain background", "number 3"):
                self.assertNotIn(ambiguous, text)

    def test_nothing_is_asked_about_before_the_first_after_the_last_or_a_missing_number(self):
        asked = asked_about(STORY)
        for text, question in asked.items():
            if question.kind == "before":
                self.assertNotRegex(text, "circle|red thing")
            if question.kind == "after":
                self.assertNotRegex(text, "moons|green thing")
            if question.kind == "number":
                self.assertNotRegex(text, "stars|blue thing")

    def test_no_time_is_asked_of_an_event_at_a_border_between_early_and_middle(self):
        at_border = Event("star", "blue", 2, "right", "striped", "", 0.23, 0.43)
        for question in asked_about((CIRCLE, at_border, MOONS), ("when",)).values():
            self.assertNotEqual(question.about, 1, question.text)


class Ask(unittest.TestCase):
    def test_gives_up_to_so_many_questions_no_two_alike_and_the_same_for_a_seed(self):
        for seed in range(50):
            events = draw_story(seed).events
            first, again = (ask(events, numpy.random.default_rng(seed), 13) for _ in range(2))
            self.assertEqual(first, again)
            self.assertLessEqual(len(first), 13)
            self.assertEqual(len({question.text for question in first}), len(first))

    def test_names_held_out_pairs_only_where_they_are_asked_for(self):
        names = [f"{colour} {shape}" for colour, shape in HELD_OUT]
        named = lambda question: any(name in f"{question.text} {question.answer}".lower() for name in names)  # noqa: E731
        for seed in range(200):
            story = draw_story(seed)
            for question in ask(story.events, numpy.random.default_rng(seed), 30):
                self.assertFalse(named(question), question)
            other = draw_story(seed, held_out=True)
            for question in ask(other.events, numpy.random.default_rng(seed), 30, ("exist",), held_out=True):
                self.assertTrue(named(question), question)


class DataSets(unittest.TestCase):
    """The data sets in test/fixtures/world are what their seeds draw."""

    def same(self, file, videos, count, held_out):
        lines = [json.loads(line) for line in (WORLD / file).read_text().splitlines()]
        drawn = [
            {"question": question.text, "answer": question.answer, "kind": question.kind}
            for seed in range(2_000_000, 2_000_000 + videos)
            for question in questions_of(draw_story(seed, held_out), count, held_out)
        ]
        self.assertEqual([{key: line[key] for key in ("question", "answer", "kind")} for line in lines], drawn)

    def test_of_seen_pairs(self):
        self.same("questions.jsonl", 60, 8, held_out=False)

    def test_of_held_out_pairs(self):
        self.same("held-out.jsonl", 11, 10, held_out=True)
