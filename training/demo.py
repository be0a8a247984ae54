"""Writes the demo video: a story of four minutes that is not in the training data.

python training/demo.py models/nano
"""

import dataclasses
import pathlib
import sys

from settings import TEST_SEED
from world.questions import describe
from world.story import draw_story
from world.video import write_video

SEED = TEST_SEED + 500_016

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    story = dataclasses.replace(draw_story(SEED), seconds=240.0, frame_rate=10.0, width=320, height=180)
    print(write_video(story, folder, "demo", codec=0), describe(story.events))
