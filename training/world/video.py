"""Writes stories as video files, and data sets of them with their questions.

python -m world.video FOLDER --videos 64 --seed 2000000 [--held-out]
"""

import argparse
import concurrent.futures
import fractions
import json
import os
import pathlib

import av
import numpy

from .questions import questions_of
from .render import StoryRenderer
from .story import Story, draw_story

# Codec, file extension, and options; `crf` is drawn between two bounds.
CODECS = (
    ("libx264", "mp4", {"preset": "slow", "bf": "3"}, (33, 39)),
    ("libx264", "mkv", {"preset": "medium", "bf": "0", "g": "60"}, (33, 38)),
    ("libx265", "mp4", {"preset": "fast", "x265-params": "log-level=none", "tag": "hvc1"}, (33, 38)),
    ("libvpx-vp9", "webm", {"b": "0", "deadline": "good", "cpu-used": "5"}, (46, 54)),
    ("mpeg4", "avi", {"g": "120"}, (11, 16)),
)
WEIGHTS = (0.5, 0.2, 0.12, 0.12, 0.06)


def write_video(story: Story, folder: pathlib.Path, name: str, codec: int | None = None) -> pathlib.Path:
    """Encodes every frame of a story with a random quality, and a random codec unless one is given."""
    generator = numpy.random.default_rng([story.seed, 11])
    drawn = generator.choice(len(CODECS), p=WEIGHTS)
    codec, ending, options, quality = CODECS[drawn if codec is None else codec]
    file = folder / f"{name}.{ending}"
    rate = fractions.Fraction(story.frame_rate).limit_denominator(1001)
    crf = str(generator.integers(quality[0], quality[1] + 1))
    renderer = StoryRenderer(story)
    unfinished = file.with_name(f"{name}.part.{ending}")
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = story.width, story.height, "yuv420p"
        if codec == "mpeg4":
            stream.codec_context.qmin = stream.codec_context.qmax = int(crf)
            stream.bit_rate = 1
            stream.options = options
        else:
            stream.options = {**options, "crf": crf}
        for index in range(story.frame_count):
            container.mux(stream.encode(av.VideoFrame.from_image(renderer.frame(index))))
        container.mux(stream.encode())
    unfinished.rename(file)
    return file


def make_one(folder: pathlib.Path, seed: int, held_out: bool, questions: int) -> list[dict]:
    story = draw_story(seed, held_out)
    name = f"{'held-out' if held_out else 'world'}-{seed}"
    file = next((f for f in folder.glob(f"{name}.*") if ".part." not in f.name), None) or write_video(
        story, folder, name
    )
    return [
        {"video": file.name, "question": question.text, "answer": question.answer, "kind": question.kind}
        for question in questions_of(story, questions, held_out)
    ]


def make_dataset(
    folder: pathlib.Path, videos: int, seed: int, held_out: bool = False, questions: int = 8
) -> pathlib.Path:
    """Writes videos and questions.jsonl, the data set that `longvlm eval` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        seeds = range(seed, seed + videos)
        lines = pool.map(make_one, *zip(*((folder, each, held_out, questions) for each in seeds), strict=True))
        text = "".join(json.dumps(line) + "\n" for part in lines for line in part)
    file = folder / ("held-out.jsonl" if held_out else "questions.jsonl")
    file.write_text(text)
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--seed", type=int, default=2_000_000, help="training never goes above 999,999")
    parser.add_argument("--questions", type=int, default=8, help="for each video")
    parser.add_argument("--held-out", action="store_true", help="with pairs of colour and shape that training left out")
    flags = parser.parse_args()
    print(make_dataset(flags.folder, flags.videos, flags.seed, flags.held_out, flags.questions))
