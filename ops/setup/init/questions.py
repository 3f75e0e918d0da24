"""Ask a person on a terminal, or accept what is proposed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from ops.core.errors import ConfigError
from ops.core.names import join_sentences

T = TypeVar("T")

MAX_QUESTIONS = 7
MAX_ATTEMPTS = 5
"""Answers to one question before the command ends."""
Ask = Callable[[str, str], str]
"""Shows a question and its default; returns the answer."""


class Questions:
    """Asks at most seven questions. Without `ask` each default is the answer."""

    def __init__(self, ask: Ask | None, left_out: Collection[str] = ()) -> None:
        """`left_out`: questions that get their default without being asked."""
        self._ask, self._left_out = ask, left_out
        self.asked = 0

    @property
    def is_interactive(self) -> bool:
        return self._ask is not None

    def answer(self, question: str, parse: Callable[[str], T], default: str = "") -> T:
        """Return the parsed answer. A refused answer repeats the question. Raises ConfigError."""
        if self._ask is None or question in self._left_out:
            return parse(default)
        self.count()
        refused = ""
        for _ in range(MAX_ATTEMPTS - 1):
            try:
                return parse(self._ask(refused + question, default).strip())
            except ConfigError as error:
                refused = f"{join_sentences(error.message, error.hint)}\n"
        return parse(self._ask(refused + question, default).strip())

    def count(self) -> None:
        """Count a question that this class does not ask itself, such as one with a hidden answer."""
        self.asked += 1
        assert self.asked <= MAX_QUESTIONS


def parse_pairs(values: Sequence[str], *, what: str) -> dict[str, str]:
    """Return NAME → VALUE for texts such as `web=https://shop.example`. Raises ConfigError."""
    pairs = {}
    for value in values:
        name, separator, rest = (part.strip() for part in value.partition("="))
        if not separator or not name or not rest:
            raise ConfigError(f'"{value[:60]}" is not {what}', hint=f"Write {what}, such as web=https://shop.example.")
        pairs[name] = rest
    return pairs


def split_answer_list(text: str) -> list[str]:
    """Return the parts of an answer such as `1, 3`."""
    return text.replace(",", " ").split()


def choose_numbered(answer: str, choices: Sequence[str]) -> Mapping[int, str]:
    """Return the index of each chosen row → the name given to it, empty without one.

    Rows are named by number or text, such as `1`, `shop-web` or `web=2`. Raises ConfigError.
    """
    chosen: dict[int, str] = {}
    for part in split_answer_list(answer):
        name, separator, row = part.partition("=")
        row = row if separator else name
        index = int(row) - 1 if row.isdecimal() else next((i for i, each in enumerate(choices) if each == row), -1)
        if not 0 <= index < len(choices):
            raise ConfigError(
                f'"{row[:60]}" is not a row of the list', hint=f"Write numbers from 1 to {len(choices)}, such as 1,2."
            )
        chosen[index] = name if separator else ""
    if not chosen:
        raise ConfigError("nothing is chosen", hint=f"Write numbers from 1 to {len(choices)}, such as 1,2.")
    return chosen
