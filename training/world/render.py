"""Draws the frames of a story, with Pillow."""

import functools
import math

import numpy
from PIL import Image, ImageDraw, ImageFont

from .story import Event, Look, Story

RGB = {
    "red": (220, 35, 35),
    "orange": (245, 135, 20),
    "yellow": (245, 225, 40),
    "green": (40, 170, 60),
    "blue": (45, 85, 225),
    "purple": (135, 50, 180),
    "pink": (250, 130, 190),
    "white": (245, 245, 245),
}
# Objects of these colours would not be visible on a light background.
PALE = ("yellow", "pink", "white", "orange")
FADE_SECONDS = 0.4
OVERSAMPLING = 3


def polygon(points, size, angle):
    """Points of the unit circle, rotated and scaled to a picture of `size`."""
    cos, sin = math.cos(angle), math.sin(angle)
    half = size / 2
    return [(half + half * (x * cos - y * sin), half + half * (x * sin + y * cos)) for x, y in points]


def star_points():
    for i in range(10):
        radius, angle = (1.0, 0.42)[i % 2], math.pi * i / 5 - math.pi / 2
        yield radius * math.cos(angle), radius * math.sin(angle)


def heart_points():
    for i in range(40):
        t = 2 * math.pi * i / 40
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        yield x / 17, -y / 17


POLYGONS = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1), (0.95, 0.8), (-0.95, 0.8)],
    "star": list(star_points()),
    "heart": list(heart_points()),
    "cross": [
        *[(-0.32, -1), (0.32, -1), (0.32, -0.32), (1, -0.32), (1, 0.32), (0.32, 0.32)],
        *[(0.32, 1), (-0.32, 1), (-0.32, 0.32), (-1, 0.32), (-1, -0.32), (-0.32, -0.32)],
    ],
}


@functools.lru_cache(maxsize=512)
def shape_mask(shape: str, size: int, angle: float) -> Image.Image:
    """Coverage of a shape in a square of `size` pixels."""
    large = size * OVERSAMPLING
    mask = Image.new("L", (large, large))
    draw = ImageDraw.Draw(mask)
    if shape in POLYGONS:
        draw.polygon(polygon(POLYGONS[shape], large, angle), fill=255)
    else:
        draw.ellipse((0, 0, large - 1, large - 1), fill=255)
        if shape == "ring":
            hole = large * 0.24
            draw.ellipse((hole, hole, large - hole, large - hole), fill=0)
        if shape == "moon":
            (x, y), reach = polygon([(0.55, -0.15)], large, angle)[0], large * 0.42
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=0)
    return mask.resize((size, size), Image.Resampling.BOX)


def draw_background(pattern: str, light: bool, width: int, height: int, generator) -> Image.Image:
    """A picture in two muted tones."""
    base = generator.uniform(185, 225) if light else generator.uniform(18, 70)
    step = generator.uniform(22, 40) * (-1 if light else 1)
    tint = generator.uniform(-9, 9, 3)
    unit = math.sqrt(width * height) * generator.uniform(0.09, 0.15)
    phase_x, phase_y = generator.uniform(0, unit, 2)
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.float32)
    x, y = (x + phase_x) / unit, (y + phase_y) / unit
    match pattern:
        case "plain":
            level = y * unit / height * generator.uniform(-0.6, 0.6)
        case "striped":
            angle = generator.uniform(0, math.pi)
            level = numpy.floor(x * math.cos(angle) + y * math.sin(angle)) % 2
        case "dotted":
            level = ((x % 1 - 0.5) ** 2 + (y % 1 - 0.5) ** 2 < 0.09).astype(numpy.float32)
        case "checked":
            level = (numpy.floor(x) + numpy.floor(y)) % 2
        case "wavy":
            level = numpy.floor(y + 0.45 * numpy.sin(x * 2.2)) % 2
    picture = numpy.clip(base + level[..., None] * step + tint, 0, 255)
    return Image.fromarray(picture.astype(numpy.uint8))


class SceneRenderer:
    """Frames of one event, or of a pause if `event` is None."""

    def __init__(self, event: Event | None, look: Look, pattern: str, width: int, height: int):
        self.event, self.look = event, look
        self.width, self.height = width, height
        generator = numpy.random.default_rng(look.seed)
        self.light = bool(generator.random() < 0.35) and (event is None or event.colour not in PALE)
        self.background = draw_background(pattern, self.light, width, height, generator)
        self.period = generator.uniform(1.5, 5)
        self.phase = generator.uniform(0, 2 * math.pi)
        if event is None:
            return
        self.colour = tuple(int(numpy.clip(value + generator.uniform(-10, 10), 0, 255)) for value in RGB[event.colour])
        self.tilt = float(generator.uniform(-0.15, 0.15))
        self.jitter = generator.uniform(-0.03, 0.03, 2)
        self.corner = int(generator.integers(4))
        self.number_size = int(
            min(math.sqrt(width * height) * generator.uniform(0.26, 0.34), 0.36 * min(width, height))
        )

    def frame(self, seconds: float) -> Image.Image:
        picture = self.background.copy()
        if self.event is not None:
            self.draw(picture, seconds, self.colour, (15, 15, 15) if self.light else (255, 255, 255))
        return picture

    def cover(self, seconds: float) -> Image.Image:
        """A mask: 1 for objects, 2 for a number, 0 for neither."""
        picture = Image.new("L", (self.width, self.height))
        if self.event is not None:
            self.draw(picture, seconds, 1, 2)
        return picture

    def draw(self, picture: Image.Image, seconds: float, object_tone, number_tone) -> None:
        self.draw_objects(picture, math.sin(2 * math.pi * seconds / self.period + self.phase), object_tone)
        if self.event.number:
            self.draw_number(picture, number_tone)

    def draw_objects(self, picture: Image.Image, wave: float, tone) -> None:
        event, motion = self.event, self.look.motion
        width, height = self.width, self.height
        upright = event.place in ("left", "right")
        room = height if upright else width
        size = min(
            self.look.size * math.sqrt(width * height), 0.94 * room / (1.12 * event.count), 0.5 * min(width, height)
        )
        if motion == "pulse":
            size *= 1 + 0.12 * wave
        size = max(8, round(size))
        angle = self.tilt + (0.3 * wave if motion == "turn" else 0)
        mask = shape_mask(event.shape, size, round(angle, 2))
        x = {"left": 0.19, "right": 0.81}.get(event.place, 0.5) + self.jitter[0]
        y = {"top": 0.22, "bottom": 0.78}.get(event.place, 0.5) + self.jitter[1]
        x, y = x * width, y * height
        if motion == "sway":
            x += 0.035 * width * wave
        if motion == "bob":
            y += 0.035 * height * wave
        for i in range(event.count):
            shift = (i - (event.count - 1) / 2) * 1.12 * size
            left, top = x - size / 2 + (0 if upright else shift), y - size / 2 + (shift if upright else 0)
            picture.paste(tone, (round(left), round(top)), mask)

    def draw_number(self, picture: Image.Image, tone) -> None:
        mask = number_mask(self.event.number, self.number_size)
        margin = 0.04
        # The corner opposite to the objects, so that they do not cover each other.
        corner = {"left": (1, 3), "right": (0, 2), "top": (2, 3), "bottom": (0, 1)}.get(self.event.place, (0, 1, 2, 3))
        corner = corner[self.corner % len(corner)]
        left = margin * self.width if corner % 2 == 0 else self.width * (1 - margin) - mask.width
        top = margin * self.height if corner < 2 else self.height * (1 - margin) - mask.height
        picture.paste(tone, (round(left), round(top)), mask)


@functools.lru_cache(maxsize=256)
def number_mask(number: str, size: int) -> Image.Image:
    """Coverage of a digit `size` pixels high, without margins."""
    font = ImageFont.load_default(size * 1.4)
    box = font.getbbox(number, stroke_width=size // 28)
    mask = Image.new("L", (math.ceil(box[2] - box[0]), math.ceil(box[3] - box[1])))
    ImageDraw.Draw(mask).text((-box[0], -box[1]), number, fill=255, font=font, stroke_width=size // 28)
    return mask


class StoryRenderer:
    """Frames of a story, at any time."""

    def __init__(self, story: Story):
        self.story = story
        self.scenes: dict[int | None, SceneRenderer] = {}

    def scene(self, index: int | None, time: float) -> SceneRenderer:
        story = self.story
        if index is not None:
            key = index
            event, look = story.events[index], story.looks[index]
            pattern = event.background
        else:
            # A pause shows the background of the event before it, empty.
            before = max((i for i, event in enumerate(story.events) if event.end <= time), default=0)
            key = -1 - before
            event, look = None, story.looks[before]
            pattern = story.events[before].background
        if key not in self.scenes:
            self.scenes[key] = SceneRenderer(event, look, pattern, story.width, story.height)
        return self.scenes[key]

    def cover(self, index: int) -> Image.Image:
        """Mask of objects (1) and a number (2) in the frame with that index; a fade counts as finished."""
        seconds = index / self.story.frame_rate
        time = seconds / self.story.seconds
        return self.scene(self.story.at(time), time).cover(seconds)

    def frame(self, index: int) -> Image.Image:
        """The frame with that index, as displayed."""
        story = self.story
        seconds = index / story.frame_rate
        time = seconds / story.seconds
        shown = story.at(time)
        picture = self.scene(shown, time).frame(seconds)
        if shown is not None and story.looks[shown].transition == "fade":
            since = (time - story.events[shown].start) * story.seconds
            earlier = story.events[shown].start - 1e-6
            if since < FADE_SECONDS and earlier > 0:
                before = self.scene(story.at(earlier), earlier).frame(seconds)
                picture = Image.blend(before, picture, since / FADE_SECONDS)
        return picture
