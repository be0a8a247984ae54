"""Training texts of the language model, as token ids: questions with their answers, and dense texts."""

import dataclasses
from typing import NamedTuple

import numpy
import torch

from vocabulary import BEGIN, END, VIDEO_END, VIDEO_START, before_video, first_turn, loosely, next_turn
from world.narration import roll_call, run, scene
from world.questions import Asker, Question
from world.story import Event

IGNORED = -100
# Loss weights of a token of a question and of a dense text; a token of an answer has 1 / sqrt(length of the answer).
QUESTION_WEIGHT, NARRATION_WEIGHT = 0.1, 0.3


class Answer(NamedTuple):
    """The position of an answer; `about` as in Question."""

    row: int
    start: int  # position of the token before the answer
    end: int
    kind: str
    about: int | None


@dataclasses.dataclass
class Batch:
    """Padded texts about videos with equal numbers of tokens."""

    prefix: torch.Tensor  # ids before the video
    ids: torch.Tensor  # [n, text], from the token that closes the video on
    targets: torch.Tensor  # [n, text]: the next token
    weights: torch.Tensor  # [n, text]: loss weight of each token
    block: torch.Tensor  # [n, text]: tokens see the video and their own block
    positions: torch.Tensor  # [n, text], from 0 at the token that closes the video
    answers: list[Answer]


class Row:
    """All texts about one video, in blocks that do not attend to each other."""

    def __init__(self):
        self.ids, self.targets, self.weights, self.block, self.positions = [VIDEO_END], [IGNORED], [0.0], [0], [0]

    def add(self, asked: list[int], answer: list[int], weights: tuple[float, float], block: int, first: int) -> int:
        """Adds `asked`, `answer` and END with the loss `weights` of their tokens. Returns where the answer begins."""
        start = len(self.ids) + len(asked) - 1
        self.ids += asked + answer
        self.targets += [*asked[1:], *answer, END]
        self.weights += [weights[0]] * (len(asked) - 1) + [weights[1]] * (len(answer) + 1)
        self.block += [block] * (len(asked) + len(answer))
        self.positions += range(first, first + len(asked) + len(answer))
        return start


class Writer:
    """Converts texts about events to token ids."""

    def __init__(self, vocabulary):
        self.encode = vocabulary.encode
        self.prefix = [BEGIN, *self.encode(before_video()), VIDEO_START]
        self.cache: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        if text not in self.cache:
            if len(self.cache) > 200_000:
                self.cache.clear()
            self.cache[text] = self.encode(text)
        return self.cache[text]

    def write(
        self, stories: list[list[Question]], generator: numpy.random.Generator, turns=0.0, texts=None, loose=True
    ) -> Batch:
        """`stories` holds the questions about each story; for a share of `turns` they form one conversation of many
        turns. `texts` holds the dense texts about each story."""
        rows, answers = [], []
        for index, questions in enumerate(stories):
            row, blocks = Row(), 0
            conversation = generator.random() < turns
            for question in questions:
                text = loosely(question.text, generator) if loose else question.text
                follows = conversation and blocks > 0
                blocks += not follows
                asked = [END, *self.ids(next_turn(text))] if follows else self.ids(first_turn(text))
                answer = self.ids(" " + question.answer)
                weights = (QUESTION_WEIGHT, (len(answer) + 1) ** -0.5)
                start = row.add(asked, answer, weights, blocks, row.positions[-1] + 1 if follows else 1)
                answers.append(Answer(index, start, start + len(answer) + 1, question.kind, question.about))
            for text in texts[index] if texts else ():
                blocks += 1
                first, *rest = self.encode(f"\n {text}")
                row.add([first], rest, (0, NARRATION_WEIGHT), blocks, 1)
            rows.append(row)
        length = max(len(row.ids) for row in rows)
        pad = lambda name, value: torch.tensor(  # noqa: E731
            [getattr(row, name) + [value] * (length - len(row.ids)) for row in rows]
        )
        parts = pad("ids", 0), pad("targets", IGNORED), pad("weights", 0.0), pad("block", -1), pad("positions", 0)
        return Batch(torch.tensor(self.prefix), *parts, answers)


def narrate(
    events: tuple[Event, ...], generator: numpy.random.Generator, scenes: int, runs: int, left_out: frozenset
) -> list[str]:
    """Dense texts about a story: about some scenes, about consecutive events, and about what exists.

    The last one does not mention pairs that are `left_out`.
    """
    asker = Asker(events, generator)
    shown = [scene(asker, int(generator.integers(len(events))), generator) for _ in range(scenes)]
    return [*shown, *(run(events, generator) for _ in range(runs)), roll_call(events, generator, left_out)]
