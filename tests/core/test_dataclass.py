"""Dataclasses of ops behave like those of the standard library."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from ops.core.dataclass import dataclass

Decorator = Callable[..., Any]


def frozen(decorator: Decorator) -> Any:
    @decorator(frozen=True)
    class Value:
        name: str
        size: int = 1
        parts: tuple[Any, ...] = ()

    return Value


def of_one_field(decorator: Decorator) -> Any:
    @decorator(frozen=True, slots=True)
    class Value:
        name: str

    return Value


def without_options(decorator: Decorator) -> Any:
    @decorator
    class Value:
        name: str
        size: int = 1

    return Value


def inherited(decorator: Decorator) -> Any:
    @decorator(frozen=True)
    class Value(frozen(decorator)):  # type: ignore[misc]
        more: int = 3

    return Value


def with_field_options(decorator: Decorator) -> Any:
    @decorator(frozen=True, kw_only=True)
    class Value:
        name: str
        hidden: str = dataclasses.field(default="secret", repr=False)
        ignored: list[int] = dataclasses.field(default_factory=list, compare=False)
        unhashed: list[int] = dataclasses.field(default_factory=list, hash=False)

    return Value


def with_own_methods(decorator: Decorator) -> Any:
    @decorator(frozen=True)
    class Value:  # noqa: PLW1641  the decorator sets it
        name: str

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

    return Value


def with_own_hash(decorator: Decorator) -> Any:
    @decorator
    class Value:
        name: str

        def __hash__(self) -> int:
            return 7

    return Value


def empty(decorator: Decorator) -> Any:
    @decorator(frozen=True)
    class Value:
        pass

    return Value


def behavior(kind: Any, **given: Any) -> dict[str, object]:
    """Return the outcome of each operation of a dataclass; for an exception, its class and text."""

    def outcome(call: Callable[[], object]) -> object:
        try:
            return call()
        except Exception as error:  # noqa: BLE001
            return type(error), str(error)

    one, same, other = kind(**given), kind(**given), kind(**dict.fromkeys(given, "other"))
    first = next(iter(given), "name")
    return {
        "equal": (one == same, one == other, one == 1, one != same, one.__eq__(1)),
        "equal to a subclass": one == type("Value", (kind,), {})(**given),
        "hash": outcome(lambda: (hash(one) == hash(same), len({one, same, other}), hash(one))),
        "shown": (repr(one).replace("ops", ""), str(other)),
        "set": outcome(lambda: setattr(one, first, 2)),
        "deleted": outcome(lambda: delattr(one, first)),
        "unknown": outcome(lambda: kind(unknown=1)),
        "pattern": kind.__match_args__,
        "values": outcome(lambda: dataclasses.asdict(same)),
        "replaced": outcome(lambda: repr(dataclasses.replace(same, **dict.fromkeys(given, 3)))),
    }


KINDS: list[tuple[Callable[[Decorator], Any], dict[str, Any]]] = [
    (frozen, {"name": "a"}),
    (frozen, {"name": "a", "size": 2, "parts": (1, "b")}),
    (frozen, {"name": ["not hashable"]}),
    (of_one_field, {"name": "a"}),
    (without_options, {"name": "a"}),
    (inherited, {"name": "a", "more": 4}),
    (with_field_options, {"name": "a"}),
    (with_field_options, {"name": "a", "hidden": "b", "ignored": [1], "unhashed": [2]}),
    (with_own_methods, {"name": "a"}),
    (with_own_hash, {"name": "a"}),
    (empty, {}),
]


@pytest.mark.parametrize(("kind", "given"), KINDS, ids=[f"{kind.__name__} {len(given)}" for kind, given in KINDS])
def test_class_behaves_like_the_standard_library(kind: Callable[[Decorator], Any], given: dict[str, Any]) -> None:
    assert behavior(kind(dataclass), **given) == behavior(kind(dataclasses.dataclass), **given)


def test_value_that_contains_itself_is_shown() -> None:
    parts: list[Any] = []
    value = frozen(dataclass)("a", parts=parts)
    parts.append(value)

    assert repr(value).endswith("Value(name='a', size=1, parts=[...])")


def test_ignored_fields_do_not_count() -> None:
    kind = with_field_options(dataclass)

    assert kind(name="a", ignored=[1]) == kind(name="a", ignored=[2])
    assert kind(name="a", unhashed=[1]) != kind(name="a", unhashed=[2])
