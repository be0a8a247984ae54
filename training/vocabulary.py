"""The SentencePiece vocabulary of the world's language, and the library's layout of conversations."""

from __future__ import annotations

import io
import pathlib
from typing import TYPE_CHECKING

import numpy

from world.questions import ask
from world.story import draw_events, timeline

# Only making and loading a vocabulary need the package; the texts are needed without it, too.
if TYPE_CHECKING:
    import sentencepiece

SIZE = 800
VIDEO_TOKENS = ("<vid_start>", "<vid_end>", "<vid_patch>")
UNKNOWN, BEGIN, END, VIDEO_START, VIDEO_END, VIDEO_PATCH = range(6)


def before_video() -> str:
    return "USER: "


def first_turn(question: str) -> str:
    return f"\n{question} ASSISTANT:"


def next_turn(question: str) -> str:
    return f"USER: {question} ASSISTANT:"


def loosely(question: str, generator: numpy.random.Generator) -> str:
    """Sometimes drops the capital letter or the punctuation at the end, as people do."""
    if generator.random() < 0.12:
        question = question[0].lower() + question[1:]
    return question.rstrip("?.") if generator.random() < 0.12 else question


def corpus(stories: int):
    generator = numpy.random.default_rng(3)
    for _ in range(stories):
        events = draw_events(generator, timeline(generator, int(generator.integers(3, 13))))
        for question in ask(events, generator, 13):
            text = loosely(question.text, generator)
            yield first_turn(text).strip("\n")
            yield next_turn(text)
            yield " " + question.answer


def train_vocabulary(file: pathlib.Path) -> None:
    """Writes a SentencePiece model (BPE, with bytes for what it does not know)."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(3000),
        model_writer=model,
        model_type="bpe",
        vocab_size=SIZE,
        hard_vocab_limit=False,
        byte_fallback=True,
        control_symbols=list(VIDEO_TOKENS),
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        character_coverage=1.0,
        minloglevel=2,
    )
    file.write_bytes(model.getvalue())


def load_vocabulary(file: pathlib.Path) -> sentencepiece.SentencePieceProcessor:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(file))
