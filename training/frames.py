"""Renders the sampled frames of stories, through a video codec, into arrays that training reads.

A shard is three .npy files: pixels [stories, FRAMES, IMAGE_SIZE, IMAGE_SIZE, 3], uint8; what each
frame shows [stories, FRAMES], an event's index or -1; and what each patch covers [stories, FRAMES, patches, 2], the
shares of object and number in units of 1/255. Only the sampled frames are encoded, one after the other, which is far
faster than encoding whole videos and gives the same kind of artefacts.
"""

import concurrent.futures
import io
import os
import pathlib

import av
import numpy

from settings import FRAMES, IMAGE_SIZE, PATCH_SIZE
from world.render import StoryRenderer
from world.story import Story, draw_story

STORIES_PER_SHARD = 50


def frame_indices(total: int, frames: int = FRAMES) -> list[int]:
    """The indices of `frames` uniform samples of a video of `total` frames, as in the library."""
    if total < frames:
        return [i * total // frames for i in range(frames)]
    step = (total - 1) / frames
    return [(int(numpy.rint(step * i)) + int(numpy.rint(step * (i + 1)))) // 2 for i in range(frames)]


def squash(picture: numpy.ndarray, size: int = IMAGE_SIZE) -> numpy.ndarray:
    """A square by nearest neighbour: source = floor(target * in / out)."""
    rows = numpy.arange(size) * picture.shape[0] // size
    columns = numpy.arange(size) * picture.shape[1] // size
    return picture[rows][:, columns]


def through_codec(pictures: list, generator: numpy.random.Generator) -> list[numpy.ndarray]:
    """Encodes and decodes pictures with a random codec and quality."""
    codec = "libx264" if generator.random() < 0.75 else "mpeg4"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "crf": str(generator.integers(18, 37)), "threads": "1"}
        else:
            stream.bit_rate = 0
            stream.options = {
                "qscale": str(generator.integers(2, 16)),
                "flags": "+qscale",
                "global_quality": str(118 * int(generator.integers(2, 16))),
            }
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def patch_cover(cover: numpy.ndarray) -> numpy.ndarray:
    """Shares of object and number in each patch, in units of 1/255 [patches, 2], for a picture of 0, 1 and 2."""
    grid = squash(cover).reshape(IMAGE_SIZE // PATCH_SIZE, PATCH_SIZE, IMAGE_SIZE // PATCH_SIZE, PATCH_SIZE)
    return numpy.stack([(grid == what).mean((1, 3)).ravel() * 255 for what in (1, 2)], -1).astype(numpy.uint8)


def sampled_frames(story: Story) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Pixels, what each frame shows and what each patch covers, of one story."""
    renderer = StoryRenderer(story)
    indices = frame_indices(story.frame_count)
    pictures = [renderer.frame(index) for index in indices]
    generator = numpy.random.default_rng([story.seed, 7])
    pixels = numpy.stack([squash(picture) for picture in through_codec(pictures, generator)])
    shown = [story.at(index / story.frame_rate / story.seconds) for index in indices]
    covers = numpy.stack([patch_cover(numpy.asarray(renderer.cover(index))) for index in indices])
    return pixels, numpy.array([-1 if event is None else event for event in shown], dtype=numpy.int8), covers


def render_shard(folder: pathlib.Path, first_seed: int, stories: int, held_out: bool) -> pathlib.Path:
    pixels_file = folder / f"pixels-{first_seed:07d}.npy"
    if pixels_file.exists():
        return pixels_file
    shots = [sampled_frames(draw_story(seed, held_out)) for seed in range(first_seed, first_seed + stories)]
    numpy.save(folder / f"shown-{first_seed:07d}.npy", numpy.stack([shown for _, shown, _ in shots]))
    numpy.save(folder / f"covers-{first_seed:07d}.npy", numpy.stack([covers for *_, covers in shots]))
    unfinished = pixels_file.with_suffix(".unfinished.npy")
    numpy.save(unfinished, numpy.stack([pixels for pixels, *_ in shots]))
    unfinished.rename(pixels_file)
    return pixels_file


def render(folder: pathlib.Path, first_seed: int, stories: int, held_out: bool = False) -> None:
    """Renders the missing shards for `stories` stories from `first_seed` on."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(first_seed, first_seed + stories, STORIES_PER_SHARD)
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        shards = [pool.submit(render_shard, folder, seed, STORIES_PER_SHARD, held_out) for seed in seeds]
        for done, shard in enumerate(concurrent.futures.as_completed(shards), 1):
            shard.result()
            print(f"\rframes: {done * STORIES_PER_SHARD} of {stories} stories", end="", flush=True)
    print()
