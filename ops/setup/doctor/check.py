"""A check of `ops doctor`: one question about the set-up, with its answers."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Generic, Protocol, TypeVar


class Answer(Enum):
    RIGHT = "right"
    WRONG = "wrong"
    NOT_PROVABLE = "not_provable"
    """This machine or token cannot tell."""


@dataclass(frozen=True)
class Finding:
    """A problem, the reason why a question has no answer here, or more about a right answer."""

    text: str
    fix: str = ""
    """What a person changes to solve the problem; with `command`, only a remark."""
    answer: Answer = Answer.WRONG
    command: str = ""
    """Command that solves the problem."""
    blocked_by: str = ""
    """The wrong check because of which this one was not examined; else empty."""


def describe_blocked(root: str) -> str:
    """Return the text of a check that was not examined because of a wrong one."""
    return f"not examined, because {root} is wrong"


class NotProvable(Exception):
    """The check cannot be answered here; the text says why."""

    def __init__(self, text: str, fix: str = "", command: str = "") -> None:
        super().__init__(text)
        self.finding = Finding(text, fix, Answer.NOT_PROVABLE, command)


class Subject(Protocol):
    """An object that checks examine: the repository, an environment or a service."""

    @property
    def name(self) -> str:
        """Return `ENVIRONMENT`, or `ENVIRONMENT/` with a service or database; empty for the repository."""
        ...


F = TypeVar("F")
"""The facts that all checks read."""
S = TypeVar("S", bound=Subject)
Findings = Iterator[Finding]
Examination = Callable[[], Findings]


@dataclass(frozen=True)
class Check(Generic[F]):
    """A question with the same answer for the same state; it writes nothing."""

    id: str
    question: str
    why: str
    """Consequence of a wrong answer during an incident."""
    needs: tuple[str, ...]
    """Checks of the same subject, or of its environment or repository, that must not be wrong."""
    examinations: Callable[[F], Iterator[tuple[str, Examination]]]
    """Return name → examination of each subject."""


def check(
    check_id: str, subjects: Callable[[F], Iterable[S]], *, why: str, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[S], Findings]], Check[F]]:
    """Make a check of a function that yields the problems of one subject. Its docstring is the question."""

    def make_check(find: Callable[[S], Findings]) -> Check[F]:
        def examinations(facts: F) -> Iterator[tuple[str, Examination]]:
            for subject in subjects(facts):
                yield subject.name, partial(find, subject)

        return Check(check_id, (find.__doc__ or "").strip(), why, needs, examinations)

    return make_check
