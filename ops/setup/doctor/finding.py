"""Answers of a check: problems, and reasons why a question has no answer here."""

from dataclasses import dataclass
from enum import Enum


class Answer(Enum):
    RIGHT = "right"
    WRONG = "wrong"
    NOT_PROVABLE = "not_provable"
    """This machine or token cannot tell."""


@dataclass(frozen=True)
class Finding:
    """A problem, or the reason why a question has no answer here."""

    text: str
    fix: str = ""
    """What a person changes to solve the problem; with `command`, only a remark."""
    answer: Answer = Answer.WRONG
    command: str = ""
    """Command that solves the problem."""
    blocked_by: str = ""
    """The wrong check because of which this one was not examined; else empty."""


class NotProvable(Exception):
    """The check cannot be answered here; the text says why."""

    def __init__(self, text: str, fix: str = "", command: str = "") -> None:
        super().__init__(text)
        self.finding = Finding(text, fix, Answer.NOT_PROVABLE, command)
