"""Our dataclass is one for everybody: what the standard decorator makes of the same class is the reference."""

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, field
from functools import cached_property
from typing import Any

import pytest

from ops.core.dataclass import dataclass

DECORATORS = {"ours": dataclass, "standard": dataclasses.dataclass}


def classes(decorator: Any) -> tuple[Any, Any, Any]:
    class Release:
        name: str
        at: float = 0.0
        tags: tuple[str, ...] = field(default=(), compare=False)
        secret: str = field(default="", repr=False, hash=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "at", float(self.at))

        @cached_property
        def title(self) -> str:
            return f"{self.name}!"

    class Deployed(Release):
        percent: int = 100

    class Note:
        text: str = ""

    frozen = decorator(frozen=True)
    return frozen(Release), frozen(Deployed), decorator(Note)


def facts(decorator: Any) -> list[object]:
    release, deployed, note = classes(decorator)
    one, same, other = release("a", 1, ("x",), "s"), release("a", 1, ("y",), "s"), release("a", 1, (), "t")
    derived = deployed("a", 1, ("x",), "s", percent=5)
    changed = note("a")
    changed.text = "b"
    return [
        repr(one),
        repr(derived),
        repr(changed),
        one == same,
        one == other,
        one == derived,
        one != object(),
        hash(one) == hash(same) == hash(other),
        len({one, same, other}),
        hash(one) == hash(("a", 1.0)),
        changed == note("b"),
        note.__hash__,
        one.title,
        [each.name for each in dataclasses.fields(derived)],
        dataclasses.asdict(derived),
        repr(dataclasses.replace(derived, name="c", percent=7)),
        copy.copy(derived) == derived == copy.deepcopy(derived),
        release.__match_args__,
        release(float("nan")) == release(float("nan")),
    ]


def test_ours_does_what_the_standard_one_does() -> None:
    assert facts(dataclass) == facts(dataclasses.dataclass)


@pytest.mark.parametrize("base", DECORATORS)
@pytest.mark.parametrize("derived", DECORATORS)
def test_frozen_classes_of_both_kinds_derive_from_each_other(base: str, derived: str) -> None:
    """A runbook of a team derives its steps with the standard decorator."""

    class Change:
        target: str

    class Step(DECORATORS[base](frozen=True)(Change)):  # type: ignore[misc]
        undo: str = "none"

    step = DECORATORS[derived](frozen=True, kw_only=True)(Step)("api", undo="on")

    assert repr(step).endswith("Step(target='api', undo='on')")
    assert step == dataclasses.replace(step)
    for name in ("target", "undo"):
        with pytest.raises(FrozenInstanceError):
            setattr(step, name, "other")
        with pytest.raises(FrozenInstanceError):
            delattr(step, name)
    assert (step.target, step.undo) == ("api", "on")


@pytest.mark.parametrize("decorator", DECORATORS)
def test_frozen_value_takes_no_new_attribute(decorator: str) -> None:
    release, deployed, _ = classes(DECORATORS[decorator])

    for value in (release("a"), deployed("a")):
        with pytest.raises(FrozenInstanceError):
            value.other = 1
    with pytest.raises(TypeError, match="non-frozen"):
        DECORATORS[decorator](type("Loose", (release,), {}))


def test_own_methods_are_kept() -> None:
    class Name:
        text: str

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

    name = dataclass(frozen=True)(Name)("a")  # type: ignore[call-arg]

    assert (repr(name), name == object(), hash(name)) == ("own", True, 7)


def test_values_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Pickled(1))) == Pickled(1)


@dataclass(frozen=True)
class Pickled:
    number: int
