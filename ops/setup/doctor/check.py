"""A check of `ops doctor`: one question about the set-up, with its answers."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from ops.setup.doctor.facts import Facts
from ops.setup.doctor.finding import Finding


class Subject(Protocol):
    """An object that checks examine: the repository, an environment or a service."""

    @property
    def name(self) -> str:
        """Return `ENVIRONMENT`, or `ENVIRONMENT/` with a service or database; empty for the repository."""
        ...


S = TypeVar("S", bound=Subject)
Findings = Iterator[Finding]
Examination = Callable[[], Findings]


@dataclass(frozen=True)
class Check:
    """A question with the same answer for the same state; it writes nothing."""

    id: str
    question: str
    why: str
    """Consequence of a wrong answer during an incident."""
    needs: tuple[str, ...]
    """Checks of the same subject, or of its environment or repository, that must not be wrong."""
    examinations: Callable[[Facts], Iterator[tuple[str, Examination]]]
    """Return name → examination of each subject."""


def check(
    check_id: str, subjects: Callable[[Facts], Iterable[S]], *, why: str, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[S], Findings]], Check]:
    """Make a check of a function that yields the problems of one subject. Its docstring is the question."""

    def made(find: Callable[[S], Findings]) -> Check:
        def examinations(facts: Facts) -> Iterator[tuple[str, Examination]]:
            for subject in subjects(facts):
                yield subject.name, partial(find, subject)

        return Check(check_id, (find.__doc__ or "").strip(), why, needs, examinations)

    return made
