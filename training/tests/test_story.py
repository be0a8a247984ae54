import itertools
import unittest

import numpy

from world.story import HELD_OUT, MOST_FRAMES, SHORTEST_EVENT, draw_events, draw_story, timeline

SEEDS = range(300)


def pairs(story):
    return {(event.colour, event.shape) for event in story.events}


class DrawStory(unittest.TestCase):
    def test_gives_the_same_story_for_a_seed_and_another_for_the_next(self):
        self.assertEqual(draw_story(7), draw_story(7))
        stories = [draw_story(seed) for seed in range(50)]
        for one, other in itertools.combinations(stories, 2):
            self.assertNotEqual(one.events, other.events)

    def test_lays_3_to_12_events_one_after_the_other_each_long_enough_to_be_sampled(self):
        counts = set()
        for seed in SEEDS:
            events = draw_story(seed).events
            counts.add(len(events))
            for event in events:
                self.assertGreaterEqual(event.end - event.start, SHORTEST_EVENT - 1e-9)
            for earlier, later in itertools.pairwise(events):
                self.assertLessEqual(earlier.end, later.start)
            self.assertGreaterEqual(events[0].start, 0)
            self.assertLessEqual(events[-1].end, 1 + 1e-6)
        self.assertEqual(counts, set(range(3, 13)))

    def test_shows_no_pair_of_colour_and_shape_twice(self):
        for seed in SEEDS:
            story = draw_story(seed)
            self.assertEqual(len(pairs(story)), len(story.events))

    def test_shows_held_out_pairs_only_where_they_are_asked_for(self):
        for seed in SEEDS:
            self.assertFalse(pairs(draw_story(seed)) & HELD_OUT)
            self.assertTrue(pairs(draw_story(seed, held_out=True)) & HELD_OUT)

    def test_has_few_frames_a_second_where_it_is_long_but_one_at_least(self):
        for seed in SEEDS:
            story = draw_story(seed)
            if story.frame_rate > 1:
                self.assertLessEqual(story.frame_count, MOST_FRAMES)
            else:
                self.assertEqual(story.frame_rate, 1)


class At(unittest.TestCase):
    def test_tells_the_event_of_every_time_and_none_in_pauses(self):
        pauses = 0
        for seed in SEEDS:
            story = draw_story(seed)
            for index, event in enumerate(story.events):
                self.assertEqual(story.at(event.centre), index)
                self.assertEqual(story.at(event.start), index)
            for earlier, later in itertools.pairwise(story.events):
                if later.start - earlier.end > 1e-6:
                    pauses += 1
                    self.assertIsNone(story.at((earlier.end + later.start) / 2))
        self.assertGreater(pauses, 0)

    def test_the_last_frame_shows_the_last_event_unless_a_pause_ends_the_video(self):
        for seed in SEEDS:
            story = draw_story(seed)
            last = (story.frame_count - 1) / story.frame_count
            if story.events[-1].end > last:
                self.assertEqual(story.at(last), len(story.events) - 1)
            else:
                self.assertIsNone(story.at(last))


class DrawEvents(unittest.TestCase):
    def test_draws_from_all_pairs_where_none_is_left_out(self):
        generator = numpy.random.default_rng(0)
        drawn = set()
        for _ in SEEDS:
            events = draw_events(generator, timeline(generator, 6), left_out=frozenset())
            drawn |= {(event.colour, event.shape) for event in events}
        self.assertEqual(len(drawn), 64)
