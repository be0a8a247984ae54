import re
import unittest

import numpy

from vocabulary import corpus, loosely
from world.narration import LONGEST_RUN, roll_call, run, scene
from world.questions import WHERE, Asker, thing
from world.story import HELD_OUT, draw_story

STORIES = [draw_story(seed).events for seed in range(100)]


def generator(seed=0):
    return numpy.random.default_rng(seed)


class Scene(unittest.TestCase):
    def test_tells_of_an_event_what_is_shown_and_its_neighbours(self):
        for events in STORIES:
            for index, event in enumerate(events):
                _, told = scene(Asker(events, generator()), index, generator()).rstrip(".").split(": ")
                facts = told.split(", ")
                self.assertIn(event.colour, facts)
                self.assertIn(WHERE[event.place], facts)
                self.assertIn(f"{event.background} background", facts)
                self.assertEqual(f"number {event.number}" in facts, event.number != "")
                them = "it" if event.count == 1 else "them"
                neighbours = [("before", events[index - 1])] if index > 0 else []
                neighbours += [("after", events[index + 1])] if index + 1 < len(events) else []
                self.assertEqual(
                    sorted(fact for fact in facts if re.match("before|after", fact)),
                    sorted(f"{side} {them} {thing(neighbour)}" for side, neighbour in neighbours),
                )

    def test_begins_with_words_that_fit_no_other_event(self):
        for events in STORIES:
            for index, event in enumerate(events):
                cue = scene(Asker(events, generator()), index, generator(index)).split(":")[0]
                shape, colour = f"the {event.shape}", f"the {event.colour} "
                if cue.startswith(shape):
                    self.assertEqual([other.shape for other in events].count(event.shape), 1)
                elif cue.startswith(colour) and "thing" in cue:
                    self.assertEqual([other.colour for other in events].count(event.colour), 1)


class Run(unittest.TestCase):
    def test_names_events_in_their_order_forwards_or_backwards(self):
        for events in STORIES:
            order = [thing(event) for event in events]
            text = run(events, generator(len(events)))
            backwards = text.startswith("last ") or ", before it " in text
            named = re.sub(r"^(first|last) |\.$", "", text).split(", before it " if backwards else ", then ")
            self.assertLessEqual(len(named), LONGEST_RUN)
            expected = order[::-1] if backwards else order
            start = expected.index(named[0])
            self.assertEqual(named, expected[start : start + len(named)])
            self.assertEqual(bool(re.match("first|last", text)), start == 0)


class RollCall(unittest.TestCase):
    def test_says_yes_to_what_is_there_and_no_to_what_is_not(self):
        for seed, events in enumerate(STORIES):
            there = {f"{event.colour} {event.shape}" for event in events}
            calls = re.findall(r"an? (\w+ \w+)\? (Yes|No)\.", roll_call(events, generator(seed), HELD_OUT))
            self.assertEqual(len(calls), 4)
            for name, answer in calls:
                self.assertEqual(answer, "Yes" if name in there else "No")

    def test_names_no_pair_that_is_left_out(self):
        for seed, events in enumerate(STORIES):
            text = roll_call(events, generator(seed), HELD_OUT)
            for colour, shape in HELD_OUT:
                self.assertNotIn(f"{colour} {shape}", text)


class Corpus(unittest.TestCase):
    """What the vocabulary is made from."""

    # Only narration says these; they are spelled from pieces of other words.
    spelled = {"one", "it", "them"}

    def test_holds_every_word_that_narration_says(self):
        words = lambda text: set(re.findall(r"\w+|[^\w\s]", text))  # noqa: E731
        known = set().union(*map(words, corpus(300)))
        said = set()
        for events in STORIES:
            draw = generator()
            said |= words(roll_call(events, draw, HELD_OUT))
            for index in range(len(events)):
                said |= words(scene(Asker(events, draw), index, draw)) | words(run(events, draw))
        self.assertEqual(said - known, self.spelled)
        self.assertLessEqual(set("".join(self.spelled)), set("".join(known)))

    def test_keeps_the_words_of_a_question_that_is_typed_loosely(self):
        question = "What comes first?"
        typed = {loosely(question, generator(seed)) for seed in range(300)}
        self.assertEqual(typed, {question, "what comes first?", "What comes first", "what comes first"})
